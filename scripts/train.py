"""Trains an autoencoder and leaves its run in a folder: checkpoints, metrics, figures.

Without arguments a denoising one, on digits. Others, for example:

python scripts/train.py deep --data mnist --hidden-dims 300 150 --latent-dim 32

python scripts/train.py denoising --data table.csv --label species --scale standard
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Union

import jax
import tyro

import jaxae
from configs import VARIANTS, Common, Denoising, to_json, variant_of
from jaxae import evaluation
from reports import load_splits, report


def train(config: Common) -> Path:
    """Trains, evaluates and draws what the configuration says; returns the run's folder."""
    start = time.perf_counter()
    splits = load_splits(config)
    folder = _folder(config)
    print(f"{variant_of(config)} on {config.data}: {splits.describe()}", flush=True)

    model = config.build(splits.train["x"].shape[1:])
    steps = len(splits.train["x"]) // config.batch_size * config.epochs
    learner = jaxae.gradient(model.loss, config.optimizer(steps))
    init_key, state_key, fit_key, loss_key = jax.random.split(jax.random.key(config.seed), 4)
    train = {"x": splits.train["x"]}
    state = learner.init(model.init(init_key, train), state_key)
    advance = jaxae.over_arrays(
        learner,
        train,
        fit_key,
        batch_size=config.batch_size,
        evaluate=evaluation.validation(model, loss_key),
        validation={"x": splits.validation["x"]},
    )
    result = jaxae.run(
        advance,
        state,
        folder,
        epochs=config.epochs,
        examples=len(train["x"]),
        config=to_json(config),
        monitor="validation_loss",
        patience=config.patience,
        resume=config.resume,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    if result.stopped == "interrupted":
        print(f"Interrupted after epoch {len(result.rows)}; the checkpoint is in {folder}.")
        print(f"To go on, give the same command with --resume --folder {folder}")
        raise SystemExit(130)
    rows = report(folder, config, model, result.best, splits)
    print(f"\nTest rows; parameters of epoch {result.best_epoch}, the best on validation rows.")
    print(evaluation.format_table(rows))
    print(f"\n{time.perf_counter() - start:.0f} s. Config, metrics, checkpoints, figures: {folder}")
    return folder


def _folder(config: Common) -> Path:
    """The folder given, or the first free name (for a resume: the last one taken) in runs/."""
    if config.folder is not None:
        return Path(config.folder)
    stem = f"{variant_of(config)}-{Path(config.data.replace(':', '-')).stem}"
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{max(1, number - 1) if config.resume else number}")


def main() -> None:
    """Reads the command line; a mistake of the user's ends in one line, not a traceback."""
    kinds: Any = tuple(
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        for name, kind in VARIANTS.items()
    )
    config = tyro.cli(Union[kinds], default=Denoising(), description=__doc__)  # noqa: UP007
    try:
        train(config)
    except (ValueError, jaxae.DivergenceError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("Stopped at once; the checkpoint has the last finished epoch. --resume goes on.")
        sys.exit(130)


if __name__ == "__main__":
    main()
