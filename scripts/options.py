"""Options that variants share, and what they make of them: parts, and an optimiser."""

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import jax
import optax

import jaxae
from data_options import DataOptions as DataOptions
from jaxae.base import Autoencoder, Batch, Learner, is_traced
from jaxae.models.likelihoods import Likelihood
from network_options import NetworkOptions

CORRUPTIONS = {
    "masking": jaxae.corruptions.masking,
    "gaussian": jaxae.corruptions.gaussian,
    "salt-and-pepper": jaxae.corruptions.salt_and_pepper,
    "dropout": jaxae.corruptions.dropout,
}


VALIDATION = 1
"""Folded into a run's key, the noise of validation losses."""
Config = TypeVar("Config")


def call(work: Callable[[Config], Any], config: Config) -> None:
    """Does a script's work; a mistake of the user's ends in one line, not a traceback."""
    try:
        work(config)
    except (ValueError, jaxae.DivergenceError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("Stopped at once; the checkpoint has the last finished epoch. --resume goes on.")
        sys.exit(130)


def stop_if_interrupted(result: jaxae.Run, folder: Path, phase: str = "") -> None:
    """Says how a run that a signal has ended goes on, and ends the script."""
    if result.stopped == "interrupted":
        of = f" of {phase}" if phase else ""
        print(f"Interrupted after epoch {len(result.rows)}{of}; the checkpoint is in {folder}.")
        print(f"To go on, give the same command with --resume --folder {folder}")
        raise SystemExit(130)


def use_devices(count: int | None = None) -> None:
    """Divides a CPU into so many devices, by default one for each core; others stay as they are.

    Before JAX computes anything.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", count or cores or 1)


def in_use(value: Any) -> bool:
    """Whether an option is in use: one that a sweep varies is, and any number but 0."""
    return is_traced(value) or bool(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run lies and how it goes on, and its randomness."""

    seed: int = 0
    """Of the split, the initialisation, the order and the noise."""

    folder: str | None = None
    """Folder of the run; by default a fresh one in runs/."""
    resume: bool = False
    """Go on with the run in --folder (by default the newest of this variant and data)."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints."""

    NOT_CONFIGURATION: ClassVar = ("folder", "resume", "checkpoint_seconds", "data_dir")

    def run_folder(self, name: str, data: str) -> Path:
        """The folder given, or the first free name (for a resume: the last one taken) in runs/."""
        if self.folder is not None:
            return Path(self.folder)
        path = Path(data.replace(":", "-"))
        plain = (re.sub(r"[^\w.-]+", "-", n).strip("-.") for n in (path.stem, path.parent.name))
        stem = f"{name}-{next(filter(None, plain), 'data')}"
        number = 1
        while Path("runs", f"{stem}-{number}").exists():
            number += 1
        return Path("runs", f"{stem}-{max(1, number - 1) if self.resume else number}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The width of the code, and one fit of all parameters at once."""

    latent_dim: int = 16
    """Width of the code."""

    epochs: int = 300
    """Passes over the training rows."""
    batch_size: int = 64
    """Examples in a step."""
    learning_rate: float = 2e-3
    """Of Adam; the peak of the schedule."""
    schedule: Literal["constant", "cosine", "onecycle"] = "onecycle"
    """How the learning rate changes over the run."""
    patience: int | None = None
    """Stop after so many epochs without a better one on validation rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant(RunOptions, FitOptions, DataOptions):
    """Options of every variant, and what the scripts ask of one."""

    MONITOR: ClassVar = "validation_loss"
    """The metric whose lowest value marks the best epoch."""
    MEASURES: ClassVar[str] = ""
    """What is measured and drawn beside errors and probes: sparsity, contraction, boltzmann,
    or variational, codebook, mmd, bits."""

    def steps(self, examples: int) -> int:
        """The number of steps in all, with so many training rows."""
        return examples // self.batch_size * self.epochs

    def peak(self) -> float:
        """The highest learning rate."""
        return self.learning_rate

    def rate(self, steps: int) -> optax.ScalarOrSchedule:
        """The learning rate over so many steps."""
        if self.schedule == "constant":
            return self.peak()
        if self.schedule == "cosine":
            return optax.cosine_decay_schedule(self.peak(), steps)
        return optax.cosine_onecycle_schedule(max(steps, 2), self.peak())

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam with the schedule over so many steps."""
        return optax.adam(self.rate(steps))

    def learner(self, model: Autoencoder, steps: int) -> Learner:
        """How that model is trained for so many steps."""
        return jaxae.gradient(model.loss, self.optimizer(steps))

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        """The model of this configuration for examples like `rows`, trained for so many steps."""
        raise TypeError("No variant in itself; take one of VARIANTS.")

    def judged(self, model: Autoencoder, rows: Batch) -> Autoencoder:
        """The model with the loss that compares epochs, where that of training changes."""
        del rows
        return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common(Variant):
    """Options of every variant with networks and a likelihood to choose."""

    likelihood: Literal["gaussian", "bernoulli", "gaussian-shared", "gaussian-per-entry"] = (
        "gaussian"
    )
    """p(x | code): squared error, cross-entropy, or a Gaussian with one learned scale or many."""
    l2: float = 0.0
    """Weight of half the squared norm of all kernels."""
    kernel_init: str | None = None
    """Such as he_normal or glorot_uniform; by default what suits the activation."""
    use_bias: bool = True
    """Whether layers have biases."""

    def parts(self) -> dict[str, Any]:
        """The arguments that every preset takes; what was not given is the preset's choice."""
        given: dict[str, Any] = {}
        if self.kernel_init is not None:
            given["kernel_init"] = self.kernel_init
        if not self.use_bias:
            given["use_bias"] = False
        return given | {
            "likelihood": self.likelihood_part(),
            "penalties": [jaxae.penalties.l2(self.l2)] if in_use(self.l2) else [],
        }

    def likelihood_part(self) -> Likelihood:
        """The likelihood of that name."""
        if self.likelihood == "bernoulli":
            return jaxae.likelihoods.bernoulli()
        scales = {"gaussian-shared": "shared", "gaussian-per-entry": "per_entry"}
        return jaxae.likelihoods.gaussian(scales.get(self.likelihood, 1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers(NetworkOptions, Common):
    """Options of the variants with hidden layers."""

    hidden_dims: tuple[int, ...] = ()
    """Widths between input and code, from the input on; the decoder mirrors them. Convolutional
    and recurrent networks have 16 32 and 64 unless told otherwise."""
    activation: Literal[jaxae.networks.ACTIVATIONS] = "gelu"  # type: ignore[valid-type]
    """Of the hidden layers; recurrent ones have tanh unless told otherwise."""
    latent_activation: str | None = None
    """Of the code; by default none where there are hidden layers, else the activation."""
    decoder: Literal["mirrored", "tied"] = "mirrored"
    """Whether the decoder has kernels of its own or the encoder's, transposed."""

    def parts(self) -> dict[str, Any]:
        """The arguments that every preset takes; what was not given is the preset's choice."""
        latent = self.latent_activation
        given = {} if latent is None else {"latent_activation": latent}
        layers = {
            "hidden_dims": self.widths(self.hidden_dims),
            "activation": self.activation,
            "decoder": self.decoder,
        }
        return super().parts() | layers | given | self.builder()
