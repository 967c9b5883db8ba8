"""Compresses data with a trained model, and restores it.

Without loss, by bits back (Townsend et al., 2019), with runs of vae, beta-vae and iwae whose
entries have levels: binary ones of --likelihood bernoulli, grey ones of discretised-logistic.
With any other run of train.py by its codes, rounded, with loss. For example:

python scripts/compress.py runs/vae-digits-1 digits --threshold

python scripts/compress.py runs/vae-digits-1 digits.jaxae --decompress --output digits.npy

python scripts/compress.py runs/denoising-mnist-1 a.npy b.npy --method codes --step 0.5
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxae
import stack_configs
from configs import variant_of
from evaluate import Trained, load_run
from jaxae import evaluation
from jaxae.base import as_float
from jaxae.data.files import SUFFIXES
from jaxae.deploy.coding import compression
from jaxae.deploy.coding.containers import library
from jaxae.deploy.coding.general import general_rates
from jaxae.training.folders import read_config
from options import call
from reports import Table

ENDING = ".jaxae"
LEVELS = (2, 17, 256)
"""Of data that other compressors get as bytes: bits, scikit-learn's digits, bytes."""
DRAWS = 10
"""Codes of each row in the ELBO."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compress:
    """What is compressed, or restored."""

    run: tyro.conf.Positional[Path]
    """Folder of a run of train.py."""
    files: tyro.conf.Positional[tuple[str, ...]]
    """Of rows (npy, npz, ...), or names of data sets; with --decompress compressed ones."""
    output: Path | None = None
    """The file to write, or the folder where several are to be; by default a file beside
    each, with another ending. What is there is kept, unless it is named here."""
    method: Literal["bits-back", "codes"] = "bits-back"
    """bits-back: without loss, as long as the negative ELBO. codes: with loss."""
    step: float = 0.1
    """Of codes: they are rounded to multiples of it."""
    threshold: bool = False
    """Cut grey entries to 0 or 1 at 0.5 before, for models of binary data."""
    split: str | None = None
    """Which rows, such as train[:10%]; by default all of a file, and test of a data set."""
    decompress: bool = False
    """Restore files instead: bits-back gives levels as integers (0 and 1, or bytes),
    codes a reconstruction."""
    batch_size: int = 256
    """Rows that are evaluated at a time."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""


def compress(options: Compress) -> list[Path]:
    """Compresses or restores each file, and says what it costs; returns what was written."""
    if not options.files:
        raise ValueError("Give at least one file, or the name of a data set such as digits.")
    outputs = [_output(options, name) for name in options.files]
    if len({*outputs}) < len(outputs):
        raise ValueError(f"Two of {list(options.files)} would be written to the same file.")
    if read_config(options.run).get("variant") == stack_configs.KIND:
        raise ValueError("This run is of pretrain.py; compress.py takes runs of train.py.")
    found = load_run(options.run, options.data_dir)
    _check(options, found)
    try:
        library()
    except ImportError as error:
        raise ValueError(str(error)) from error
    for name, output in zip(options.files, outputs, strict=True):
        if options.decompress:
            _restore(options, found, name, output)
        else:
            _squeeze(options, found, name, output)
    return outputs


def _output(options: Compress, name: str) -> Path:
    """Where the result of a file is written."""
    suffix = ".npy" if options.decompress else ENDING
    path = Path(name.replace(":", "-"))
    beside = path.with_suffix(suffix)
    if options.output is None:
        if beside.exists():
            raise ValueError(f"{beside} is there already; name it with --output to replace it.")
        return beside
    if len(options.files) == 1 and not options.output.is_dir():
        return options.output
    return options.output / beside.name


def _check(options: Compress, found: Trained) -> None:
    """Refuses runs whose models need more than rows, or have another prior than the coder."""
    config: Any = found.config
    if config.scale != "none" or config.INPUTS != ("x",):
        raise ValueError(
            "compress.py takes runs with --scale none of models that see x alone; "
            f"{options.run} is of {variant_of(config)} with --scale {config.scale}."
        )
    prior = "layered" if getattr(config, "upper_dim", None) else getattr(config, "prior", None)
    if options.method == "bits-back" and not options.decompress and prior not in (None, "standard"):
        raise ValueError(
            f"bits-back codes z with a standard normal prior; that of {options.run} is {prior}. "
            "Train with --prior standard, or take --method codes."
        )


def _squeeze(options: Compress, found: Trained, name: str, output: Path) -> None:
    """Compresses one file or data set."""
    split = options.split or ("all" if Path(name).suffix.lower() in SUFFIXES else "test")
    x = jaxae.load(name, split, data_dir=options.data_dir)["x"]
    model, params = found.model, found.params
    if options.threshold:
        top = 255 if x.dtype == np.uint8 and x.max() > 1 else 1
        x = (x > top / 2).astype(np.uint8)
    levels = None
    if options.method == "bits-back":
        levels = compression.levels_of(model, params, x.shape[1:])
        x = to_levels(x, levels)
    given: Any = {"method": options.method, "step": options.step, "batch_size": options.batch_size}
    packed = compression.compress(model, params, x, **given)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(packed)
    kind = f"{levels} levels" if levels else f"codes in steps of {options.step:g}"
    print(f"\n{output}: {len(x):,} rows of {x[0].size:,} entries, {kind}")
    print(evaluation.format_table(_rates(found, x, packed, levels)))


def to_levels(x: np.ndarray, levels: int) -> np.ndarray:
    """Rows as integers from 0 to levels - 1.

    Bytes are pixels, 255 is the highest level, unless all are levels already; floats lie in
    [0, 1].

    Raises:
        ValueError: entries between two levels, or outside of them.
    """
    if x.dtype.kind in "bui" and x.min() >= 0 and x.max() < levels:
        return np.asarray(x)
    places = (x / np.float32(255) if x.dtype == np.uint8 else x) * (levels - 1)
    near = np.rint(places)
    if not (np.abs(places - near).max() < 1e-3 and near.min() >= 0 and near.max() < levels):
        more = " Give --threshold, or train on grey levels." if levels == 2 else ""
        raise ValueError(
            f"The model is of entries on {levels} levels, evenly from 0 to 1; these are others, "
            f"from {x.min():g} to {x.max():g}.{more}"
        )
    return near.astype(np.uint8 if levels <= 256 else np.uint16)


def _rates(found: Trained, x: np.ndarray, packed: bytes, levels: int | None) -> Table:
    """Bits per entry of the file and of what else the data could be written as."""
    rate = compression.rate(packed)
    rows: Table = [{"name": "jaxae", "bits per dim": rate.file}]
    if levels:
        data = {"x": x.astype(np.float32) / (levels - 1)}
        measure = jax.jit(evaluation.elbo(found.model, samples=DRAWS))
        nats = -float(measure(found.params, jax.random.key(0), data)["elbo"])
        rows += [
            {"name": "of it the payload", "bits per dim": rate.payload},
            {"name": "negative ELBO", "bits per dim": evaluation.bits_per_dim(nats, x[0].size)},
        ]
    else:
        back = compression.decompress(found.model, found.params, packed)
        rows[0]["mse"] = float(np.mean(np.square(back - as_float(jnp.asarray(x)))))
    whole = _bytes(x)
    if whole is not None:
        rates = general_rates(whole)
        rows += [{"name": name, "bits per dim": value} for name, value in rates.items()]
    for row in rows:
        row["bytes"] = round(row["bits per dim"] * x.size / 8)
    return rows


def _bytes(x: np.ndarray) -> np.ndarray | None:
    """Rows as bytes for other compressors, where they are levels."""
    if x.dtype in (np.uint8, np.bool_):
        return x
    for levels in LEVELS:
        try:
            return to_levels(x, levels).astype(np.uint8)
        except ValueError:
            pass
    return None


def _restore(options: Compress, found: Trained, name: str, output: Path) -> None:
    """Restores one compressed file."""
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name} is no file; --decompress takes what compress.py wrote.")
    given: Any = {"batch_size": options.batch_size}
    x = compression.decompress(found.model, found.params, path.read_bytes(), **given)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as file:  # np.save would add an ending
        np.save(file, x)
    print(f"{output}: {len(x):,} rows of shape {x.shape[1:]}, {x.dtype}")


def main() -> None:
    """Reads the command line."""
    call(compress, tyro.cli(Compress, description=__doc__))


if __name__ == "__main__":
    main()
