"""Trains many autoencoders as one program: any number among the options may be several.

Each combination of values, with each seed, is a member. Some examples:

python scripts/sweep.py denoising --noise-level 0 0.1 0.25 0.4 0.6 --seeds 5

python scripts/sweep.py contractive --contractive-weight 0.01..10 --samples 20 --data mnist

python scripts/sweep.py rbm --learning-rate 0.01 0.03 0.1 --momentum 0.5 0.9
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Union

import jax
import tyro

import jaxae
from jaxae import evaluation
from jaxae.base import Autoencoder, Learner
from jaxae.data import Shards
from options import VALIDATION, call, stop_if_interrupted, use_devices
from reports import load_splits
from sweep_configs import SWEPT, axes_of, base_of, name_of, points_of, to_json_of
from sweep_reports import Swept, report


def sweep(config: Any) -> Path:
    """Trains, evaluates and draws what the configuration says; returns the run's folder."""
    began = time.perf_counter()
    points, base = points_of(config), base_of(config)
    splits = load_splits(base)
    if isinstance(splits.train["x"], Shards):
        raise ValueError("Members share rows in memory, so shards do not sweep; take one file.")
    examples, count = len(splits.train["x"]), len(points["seed"])
    steps, axes = base.steps(examples), {n: a for n, a in points.items() if n != "seed"}

    def member(point: dict[str, Any]) -> tuple[Autoencoder, Learner]:
        own = dataclasses.replace(base, **point)
        model = own.build(splits.sample, steps)
        return own.judged(model, splits.sample), own.learner(model, steps)

    for i in range(count):  # what a model refuses, before anything is traced
        member({name: a[i].item() for name, a in axes.items()})
    key = jax.random.fold_in(jax.random.key(base.seed), VALIDATION)
    state, advance = jaxae.over_members(
        member,
        base.seen(splits.train),
        axes,
        jax.vmap(jax.random.key)(points["seed"]),
        batch_size=base.batch_size,
        evaluate=lambda model: evaluation.validation(model, key),
        validation=base.seen(splits.validation),
        chunk=config.chunk,
    )
    folder = base.run_folder(f"{name_of(config)}-sweep", base.data)
    print(f"{name_of(config)} on {base.data}: {splits.describe()}")
    print(f"{count} members over {jax.local_device_count()} device(s): {_axes(config)}", flush=True)
    result = jaxae.run(
        advance,
        state,
        folder,
        epochs=base.epochs,
        examples=examples * count,
        config=to_json_of(config),
        monitor=base.MONITOR,
        patience=base.patience,
        resume=base.resume,
        checkpoint_seconds=base.checkpoint_seconds,
    )
    stop_if_interrupted(result, folder)
    print(report(folder, config, Swept(base, points, member, result), splits))
    print(f"\n{time.perf_counter() - began:.0f} s. Config, metrics, checkpoints, figures: {folder}")
    return folder


def _axes(config: Any) -> str:
    swept = {name: len(values) for name, values in axes_of(config).items()}
    words = [f"{name} ({n} values)" if n > 1 else f"{name} (drawn)" for name, n in swept.items()]
    return ", ".join([*words, f"{config.seeds} seed(s)"])


def main() -> None:
    """Reads the command line, and takes as many devices as it says."""
    kinds: Any = tuple(
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        for name, kind in SWEPT.items()
    )
    config = tyro.cli(Union[kinds], description=__doc__)  # noqa: UP007
    use_devices(config.devices)
    call(sweep, config)


if __name__ == "__main__":
    main()
