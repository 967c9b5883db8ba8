"""Recomputes a run's metrics and figures from its checkpoint alone.

python scripts/evaluate.py runs/denoising-digits-1
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import tyro

import stack_configs
import stack_reports
from configs import from_json, variant_of
from jaxae.base import Autoencoder, Params
from jaxae.training.checkpoints import open_checkpoints, restore
from jaxae.training.folders import read_config
from options import Variant
from reports import Splits, load_splits, report
from stack_phases import Phase, chain, plan


def evaluate(run: tyro.conf.Positional[Path], data_dir: str | None = None) -> None:
    """Recomputes a run's metrics and figures from its checkpoint alone.

    Args:
        run: Folder of the run.
        data_dir: Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise.
    """
    values = read_config(run)
    if values.get("variant") == stack_configs.KIND:
        evaluate_stack(run, stack_configs.from_json(values, data_dir=data_dir))
        return
    found = load_run(run, data_dir)
    config, splits = found.config, found.splits
    tables = report(run, config, found.model, found.params, splits)
    print(f"{variant_of(config)} on {config.data}: {splits.describe()}")
    print(f"Test rows; best parameters among {found.epochs} epochs.")
    print(tables)
    print(f"\nFigures and summary.json: {run}")


class Trained(NamedTuple):
    """A run of `train.py`.

    Attributes:
        config: its options.
        splits: its rows.
        model: of the options.
        params: the best of the checkpoint.
        epochs: among which they are the best.
    """

    config: Variant
    splits: Splits
    model: Autoencoder
    params: Params
    epochs: int


def load_run(run: Path, data_dir: str | None = None) -> Trained:
    """What a run's folder and its data have."""
    config = from_json(read_config(run), data_dir=data_dir)
    splits = load_splits(config)
    model = config.build(splits.sample, config.steps(len(splits.train["x"])))
    row = {name: a[:1] for name, a in config.seen(splits.sample).items()}
    like = jax.eval_shape(model.init, jax.random.key(0), row)
    saved = _saved(run, best=like)
    return Trained(config, splits, model, saved["best"], saved["epoch"])


def evaluate_stack(run: Path, config: stack_configs.Stack) -> None:
    """The same for a pretraining, of the checkpoints of its phases."""
    splits = load_splits(cast(Any, config))

    def fetch(phase: Phase) -> Params:
        like = {"best": phase.state.params} if phase.take_best else {"state": phase.state}
        saved = _saved(run / phase.name, **like)
        if saved["epoch"] < phase.epochs:
            raise ValueError(
                f"{phase.title} has {saved['epoch']} of {phase.epochs} epochs: "
                f"give the same command of pretrain.py with --resume --folder {run}"
            )
        return saved["best"] if phase.take_best else saved["state"].params

    tables = stack_reports.report(run, config, chain(plan(config, splits), fetch), splits)
    print(f"{config.describe(splits.train)} on {config.data}: {splits.describe()}")
    print(f"\n{tables}\n\nFigures and summary.json: {run}")


def _saved(run: Path, **like: Any) -> dict[str, Any]:
    """What the checkpoint in a run's folder has, in the structure of the trees given."""
    manager = open_checkpoints(run / "checkpoints", write=False)
    saved = restore(manager, **like)
    manager.close()
    if not saved:
        raise ValueError(f"{run} has no checkpoint yet.")
    return saved


if __name__ == "__main__":
    try:
        tyro.cli(evaluate)
    except ValueError as error:
        sys.exit(f"{type(error).__name__}: {error}")
