"""Pretrains a stack layer by layer, fine-tunes it as a whole, and gives it a few labels.

Without arguments restricted Boltzmann machines, then Adam, on digits. Others, for example:

python scripts/pretrain.py --layers 1000 500 250 30 --data mnist --labels 1000

python scripts/pretrain.py --layer denoising --layers 256 64 --code sigmoid --twin

python scripts/pretrain.py --layer denoising --sweep noise-level=0,0.1,0.25,0.4 --seeds 5
"""

import sys
import time
from pathlib import Path
from typing import Any, cast

import tyro

import jaxae
from jaxae.base import Params, as_float
from jaxae.data import Shards
from jaxae.training.folders import open_folder
from options import call, stop_if_interrupted, use_devices
from reports import Splits, load_splits
from stack_configs import Stack, to_json
from stack_phases import Follow, Phase, chain, plan
from stack_reports import report
from stack_sweeps import sweep

POSITIVE = (
    *("pretrain_epochs", "finetune_epochs", "label_epochs", "batch_size", "label_batch_size"),
    "cd_steps",
)
OWN = {
    "rbm": ("weight_cost", "cd_steps"),
    "denoising": ("noise_level", "corruption"),
    "contractive": ("contractive_weight",),
    "sparse": ("sparsity_target", "sparsity_weight"),
}
"""Options of one kind of layer alone."""


def pretrain(config: Stack) -> Path:
    """Trains, evaluates and draws what the configuration says; returns the run's folder."""
    start = time.perf_counter()
    splits = load_splits(cast(Any, config))
    if config.sweep or config.seeds > 1:
        folder = sweep(config, splits, check)
        print(f"\n{time.perf_counter() - start:.0f} s. Phases, figures, summary.json: {folder}")
        return folder
    check(config, splits)
    made = plan(config, splits)
    folder = config.run_folder(f"{config.layer}-stack", config.data)
    print(f"{config.describe(splits.train)} on {config.data}: {splits.describe()}", flush=True)
    open_folder(folder, to_json(config), config.resume)
    trained = chain(made, _trained_in(folder, config))
    print(f"\n{report(folder, config, trained, splits)}")
    print(f"\n{time.perf_counter() - start:.0f} s. Phases, figures, summary.json: {folder}")
    return folder


def check(config: Stack, splits: Splits) -> None:
    """Raises `ValueError` for what would otherwise fail late, or be left out in silence."""
    if isinstance(splits.train["x"], Shards):
        raise ValueError(
            "Codes of all rows are kept in memory, so shards do not pretrain; take one file."
        )
    if not config.layers or min(config.layers) < 1:
        raise ValueError(f"layers are positive widths, such as 256 16; got {config.layers}.")
    for name in POSITIVE:
        if (value := getattr(config, name)) is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    for kind, names in OWN.items():
        for name in names if kind != config.layer else ():
            if getattr(config, name) != getattr(Stack(), name):
                raise ValueError(f"{name} is of {kind} layers, and these are {config.layer}.")
    rows, count = len(splits.train["x"]), len(config.layers)
    if config.batch_size > rows:
        raise ValueError(f"batch_size is at most {rows}, the rows; got {config.batch_size}.")
    if config.labels < 0 or not 0 <= config.freeze_layers <= (count if config.labels else 0):
        raise ValueError(
            f"labels is 0 (none) or more, freeze_layers from 0 to {count} and with labels only; "
            f"got {config.labels} and {config.freeze_layers}."
        )
    if config.finetune == "none" and (config.twin or config.frozen):
        raise ValueError("twin and frozen are of fine-tuning, which finetune=none leaves out.")
    if config.layer == "sparse" and config.units == "linear":
        raise ValueError("Sparse layers have sigmoid codes: leave code=linear out.")
    if config.layer == "rbm" and config.sides(0) == ("gaussian", "gaussian"):
        raise ValueError(
            "An RBM has Gaussian units on one side only: take code=sigmoid, more layers, or "
            "visible=bernoulli."
        )
    low, high = (float(as_float(a)) for a in (splits.train["x"].min(), splits.train["x"].max()))
    if config.visible == "bernoulli" and not 0 <= low <= high <= 1:
        raise ValueError(
            f"visible=bernoulli is for x in [0, 1]; the training rows lie in [{low:.4g}, "
            f"{high:.4g}]. Take --scale minmax, or --visible gaussian --scale standard."
        )


def _trained_in(folder: Path, config: Stack) -> Follow:
    """Trains each phase in its folder, or goes on where the checkpoint there says."""

    def follow(phase: Phase) -> Params:
        if not sys.stderr.isatty():  # where no bar is shown
            print(phase.title, flush=True)
        rows, validation = phase.rows
        result = jaxae.run(
            jaxae.over_arrays(
                phase.learner,
                rows,
                phase.key,
                batch_size=phase.batch_size,
                evaluate=phase.judge,
                validation=validation,
            ),
            phase.state,
            folder / phase.name,
            epochs=phase.epochs,
            examples=len(rows["x"]),
            config={"phase": phase.title},
            monitor=phase.monitor,
            resume=(folder / phase.name).exists(),
            checkpoint_seconds=config.checkpoint_seconds,
            title=phase.title,
        )
        stop_if_interrupted(result, folder, phase.title)
        return result.best if phase.take_best else result.state.params

    return follow


def main() -> None:
    """Reads the command line."""
    config = tyro.cli(Stack, description=__doc__)
    if config.sweep or config.seeds > 1:
        use_devices()
    call(pretrain, config)


if __name__ == "__main__":
    main()
