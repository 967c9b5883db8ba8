"""Trains an autoencoder and leaves its run in a folder: checkpoints, metrics, figures.

Without arguments a denoising one, on digits. Others, for example:

python scripts/train.py deep --data mnist --hidden-dims 300 150 --latent-dim 32

python scripts/train.py denoising --data table.csv --label species --scale standard

python scripts/train.py top-k --data 'activations/*.npy' --latent-dim 4096 --k 32 --epochs 1
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union

import jax
import tyro

import jaxae
from configs import VARIANTS, Denoising, to_json, variant_of
from jaxae import evaluation
from jaxae.base import Batch, Key, Learner, Metrics, Params
from jaxae.data import Shards
from options import VALIDATION, Variant, call, stop_if_interrupted
from reports import Splits, load_splits, report


def train(config: Variant) -> Path:
    """Trains, evaluates and draws what the configuration says; returns the run's folder."""
    start = time.perf_counter()
    splits = load_splits(config)
    folder = config.run_folder(variant_of(config), config.data)
    print(f"{variant_of(config)} on {config.data}: {splits.describe()}", flush=True)

    examples = len(splits.train["x"])
    steps = config.steps(examples)
    model = config.build(splits.sample, steps)
    learner = config.learner(model, steps)
    key = jax.random.key(config.seed)
    state, fit_key = jaxae.start(model, learner, config.seen(splits.sample), key)
    judged = config.judged(model, splits.sample)
    judge = evaluation.validation(judged, jax.random.fold_in(key, VALIDATION))
    result = jaxae.run(
        _advance(learner, splits, config, fit_key, judge),
        state,
        folder,
        epochs=config.epochs,
        examples=examples,
        config=to_json(config),
        monitor=config.MONITOR,
        patience=config.patience,
        resume=config.resume,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    stop_if_interrupted(result, folder)
    tables = report(folder, config, model, result.best, splits)
    print(f"\nTest rows; parameters of epoch {result.best_epoch}, the best on validation rows.")
    print(tables)
    print(f"\n{time.perf_counter() - start:.0f} s. Config, metrics, checkpoints, figures: {folder}")
    return folder


def _advance(
    learner: Learner,
    splits: Splits,
    config: Variant,
    key: Key,
    judge: Callable[[Params, Batch], Metrics],
) -> Callable[[Any, int], tuple[Any, Metrics]]:
    """One epoch over rows in memory, or over shuffled batches of shards, and its validation."""
    validation = config.seen(splits.validation)
    if not isinstance(splits.train["x"], Shards):
        return jaxae.over_arrays(
            learner,
            config.seen(splits.train),
            key,
            batch_size=config.batch_size,
            evaluate=judge,
            validation=validation,
        )

    def shuffled(epoch: int) -> Iterator[Batch]:
        for batch in jaxae.batches(splits.train, config.batch_size, config.seed, epoch=epoch):
            yield {"x": splits.scaled(batch["x"])}

    validation, compiled = jax.device_put(validation), jax.jit(judge)
    return jaxae.over_batches(
        learner, shuffled, key, evaluate=lambda params: compiled(params, validation)
    )


def main() -> None:
    """Reads the command line."""
    kinds: Any = tuple(
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        for name, kind in VARIANTS.items()
    )
    config = tyro.cli(Union[kinds], default=Denoising(), description=__doc__)  # noqa: UP007
    call(train, config)


if __name__ == "__main__":
    main()
