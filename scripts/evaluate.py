"""Recomputes a run's metrics and figures from its checkpoint alone.

python scripts/evaluate.py runs/denoising-digits-1
"""

import sys
from pathlib import Path

import jax
import tyro

from configs import from_json, variant_of
from jaxae.training.checkpoints import open_checkpoints, restore
from jaxae.training.folders import read_config
from reports import load_splits, report


def evaluate(run: tyro.conf.Positional[Path], data_dir: str | None = None) -> None:
    """Recomputes a run's metrics and figures from its checkpoint alone.

    Args:
        run: Folder of the run.
        data_dir: Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise.
    """
    config = from_json(read_config(run), data_dir=data_dir)
    splits = load_splits(config)
    model = config.build(splits.sample, config.steps(len(splits.train["x"])))
    row = {"x": splits.sample["x"][:1]}
    like = jax.eval_shape(model.init, jax.random.key(0), row)
    manager = open_checkpoints(run / "checkpoints", write=False)
    saved = restore(manager, best=like)
    manager.close()
    if not saved:
        raise ValueError(f"{run} has no checkpoint yet.")
    tables = report(run, config, model, saved["best"], splits)
    print(f"{variant_of(config)} on {config.data}: {splits.describe()}")
    print(f"Test rows; best parameters among {saved['epoch']} epochs.")
    print(tables)
    print(f"\nFigures and summary.json: {run}")


if __name__ == "__main__":
    try:
        tyro.cli(evaluate)
    except ValueError as error:
        sys.exit(f"{type(error).__name__}: {error}")
