"""Finds anomalies with an autoencoder of normal rows, and bounds its false alarms.

Trains as train.py does, on rows that are taken for normal. A fifth of them, on which nothing is
trained, is then split: one half calibrates p-values, the other shows how many false alarms there
are; for rows of --score both calibrate. Without arguments the digits but 4 are normal, and 4 is to
be found. Others, for example:

python scripts/detect.py vae --data mnist --anomalous 4 --kind elbo --epochs 20

python scripts/detect.py denoising --data normal.csv --scale standard --score new.csv

python scripts/detect.py run runs/denoising-normal-1 --score new.csv --level 0.01
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args

import numpy as np
import tyro

import detect_reports
import jaxae
import stack_configs
from configs import VARIANTS, variant_of
from evaluate import Trained, load_run
from jaxae.base import Batch
from jaxae.data.files import SUFFIXES
from jaxae.deploy.anomaly import Kind
from jaxae.training.folders import read_config
from options import Variant, call
from train import train

KINDS = (*get_args(Kind), "density")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
    """How rows are scored, and which."""

    kind: Literal[KINDS] = "reconstruction"  # type: ignore[valid-type]
    """Squared error, -log p(x | code), or of variational variants the negative ELBO or an
    estimate of -log p(x); each a mean over entries. Of rbm also free_energy. Of any variant
    density: how rare the code is among those of the training rows, by a mixture of Gaussians."""
    gaussians: int = 20
    """Components of the mixture for density."""
    score: str | None = None
    """A file of rows to score (csv, parquet, npy, npz or safetensors), or a data set's name."""
    score_label: str | None = None
    """Its column that is no feature, if there is one; it is copied."""
    level: float = 0.05
    """Flag rows with p <= level: so large a share of normal rows, in the mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Detection):
    """What is normal among the rows that --data has."""

    anomalous: tuple[int, ...] = ()
    """Classes that are anomalies and never trained on. Of digits 4 where nothing is to be scored;
    else by default none: all rows are normal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfRun(Detection):
    """Scores by a run of train.py, whose test rows calibrate: all of them taken for normal."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""


def _kind(kind: type[Variant]) -> Any:
    """The options of a variant, and those of detection."""
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__}  # where tyro finds the help
    return dataclasses.make_dataclass(
        kind.__name__, [], bases=(Training, kind), namespace=names, frozen=True, kw_only=True
    )


DETECTING = {name: _kind(kind) for name, kind in VARIANTS.items()}


def detect(options: Any) -> Path:
    """Trains or loads, scores, and writes scores and figures; returns their folder."""
    if not 0 < options.level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.05; got {options.level}.")
    if isinstance(options, OfRun):
        if read_config(options.run).get("variant") == stack_configs.KIND:
            raise ValueError("This run is of pretrain.py; detect.py takes runs of train.py.")
        found, strange, folder = load_run(options.run, options.data_dir), None, options.run
        folder = folder / "detection"
    else:
        found, strange, folder = _trained(options)
    new = None if options.score is None else _rows(options, found)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\n{detect_reports.report(folder, options, found, strange, new)}")
    written = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
    print(f"\n{folder}: {written}")
    return folder


def _trained(options: Any) -> tuple[Trained, Batch | None, Path]:
    """What train.py makes of the normal rows, the anomalies, and the folder of both."""
    kind = next(VARIANTS[name] for name, made in DETECTING.items() if type(options) is made)
    config = kind(**{f.name: getattr(options, f.name) for f in dataclasses.fields(kind)})
    folder = config.run_folder(f"detect-{variant_of(config)}", config.data)
    classes = options.anomalous
    if not classes and options.data == "digits" and options.score is None:
        classes = (4,)
    strange = None
    if classes:
        path = folder / "normal.npz"
        strange = _held_out(config, classes, path)
        print(f"Classes {', '.join(map(str, classes))} are anomalies; the others are in {path}.")
        config = dataclasses.replace(config, data=str(path), label=None)
    run = train(dataclasses.replace(config, folder=str(folder / "run")))
    found = load_run(run, config.data_dir)
    return found, None if strange is None else _prepared(found, strange), folder


def _held_out(config: Variant, classes: tuple[int, ...], path: Path) -> Batch:
    """The rows of these classes; all others are written to `path`."""
    if Path(config.data).suffix.lower() in SUFFIXES:
        parts = [jaxae.load(config.data, config.train_split, label=config.label)]
    else:
        splits = config.train_split, config.test_split
        parts = [jaxae.load(config.data, split, data_dir=config.data_dir) for split in splits]
    if "y" not in parts[0]:
        raise ValueError(f"{config.data} has no labels: give --label, or leave --anomalous out.")
    rows: Any = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    strange = np.isin(rows["y"], classes)
    if missing := sorted(set(classes) - set(rows["y"].tolist())):
        raise ValueError(f"There are no rows of class {missing}; take of {np.unique(rows['y'])}.")
    if strange.all():
        raise ValueError("No row is left that is normal; leave some class out of --anomalous.")
    path.parent.mkdir(parents=True, exist_ok=True)
    normal: Any = {name: a[~strange] for name, a in rows.items()}
    np.savez(path, **normal)
    return {name: a[strange] for name, a in rows.items()}


def _rows(options: Detection, found: Trained) -> Batch:
    """The rows to score, as the model is to have them."""
    source = str(options.score)
    split = "train" if Path(source).suffix.lower() in SUFFIXES else "test"
    rows = jaxae.load(source, split, label=options.score_label)
    wanted, given = np.shape(found.splits.test["x"])[1:], np.shape(rows["x"])[1:]
    if given != wanted:
        raise ValueError(
            f"{source} has rows of shape {given}, the model takes {wanted}. A column that is no "
            "feature is named by --score-label."
        )
    return _prepared(found, rows)


def _prepared(found: Trained, rows: Batch) -> Batch:
    x = found.config.prepare(found.splits.scaled(np.asarray(rows["x"])), 2)
    return found.config.complete(found.splits.sample, {**rows, "x": x})[-1]


def main() -> None:
    """Reads the command line."""
    kinds: Any = tuple(
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        for name, kind in {**DETECTING, "run": OfRun}.items()
    )
    default: Any = DETECTING["denoising"]()
    options: Any = tyro.cli(Union[kinds], default=default, description=__doc__)  # noqa: UP007
    call(detect, options)


if __name__ == "__main__":
    main()
