"""What the scripts can be told: one dataclass for each variant, one field for each option."""

import dataclasses
from typing import Any, ClassVar, Literal, TypeVar

import optax

import jaxae
from jaxae.base import Autoencoder
from jaxae.models import variants
from jaxae.models.likelihoods import Likelihood

CORRUPTIONS = {
    "masking": jaxae.corruptions.masking,
    "gaussian": jaxae.corruptions.gaussian,
    "salt-and-pepper": jaxae.corruptions.salt_and_pepper,
    "dropout": jaxae.corruptions.dropout,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every variant."""

    data: str = "digits"
    """digits, a tensorflow-datasets name (mnist, mnist:3.0.1), or a npy, npz, csv, parquet file."""
    train_split: str = "train"
    """Rows to train on, such as train[:10%]."""
    test_split: str = "test"
    """Rows to test on; a file without one gives a fifth of its rows."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""
    label: str | None = None
    """Column of a table that holds the labels."""
    scale: Literal["none", "standard", "minmax"] = "none"
    """Scale each feature by the statistics of the training rows."""
    validation_fraction: float = 0.1
    """Share of the training rows held out to choose the best epoch."""

    latent_dim: int = 16
    """Width of the code."""
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

    epochs: int = 300
    """Passes over the training rows."""
    batch_size: int = 64
    """Examples in a step."""
    learning_rate: float = 2e-3
    """Of Adam; the peak of the schedule."""
    schedule: Literal["constant", "cosine", "onecycle"] = "onecycle"
    """How the learning rate changes over the run."""
    patience: int | None = None
    """Stop after so many epochs without a better validation loss."""
    seed: int = 0
    """Of the split, the initialisation, the order and the noise."""

    folder: str | None = None
    """Folder of the run; by default a fresh one in runs/."""
    resume: bool = False
    """Go on with the run in --folder (by default the newest of this variant and data)."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints."""

    NOT_CONFIGURATION: ClassVar = ("folder", "resume", "checkpoint_seconds", "data_dir")

    def parts(self) -> dict[str, Any]:
        """The arguments that every preset takes."""
        return {
            "likelihood": self.likelihood_part(),
            "penalties": [jaxae.penalties.l2(self.l2)] if self.l2 else [],
            "kernel_init": self.kernel_init,
            "use_bias": self.use_bias,
        }

    def likelihood_part(self) -> Likelihood:
        """The likelihood of that name."""
        if self.likelihood == "bernoulli":
            return jaxae.likelihoods.bernoulli()
        scales = {"gaussian-shared": "shared", "gaussian-per-entry": "per_entry"}
        return jaxae.likelihoods.gaussian(scales.get(self.likelihood, 1.0))

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam with the schedule over so many steps."""
        rates: dict[str, Any] = {
            "constant": lambda: self.learning_rate,
            "cosine": lambda: optax.cosine_decay_schedule(self.learning_rate, steps),
            "onecycle": lambda: optax.cosine_onecycle_schedule(max(steps, 2), self.learning_rate),
        }
        return optax.adam(rates[self.schedule]())

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        """The model of this configuration for examples of that shape."""
        raise TypeError("Common is no variant; take one of VARIANTS.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers(Common):
    """Options of the variants with hidden layers."""

    hidden_dims: tuple[int, ...] = ()
    """Widths between input and code, from the input on; the decoder mirrors them."""
    activation: Literal[jaxae.networks.ACTIVATIONS] = "gelu"  # type: ignore[valid-type]
    """Of the hidden layers."""
    latent_activation: str | None = None
    """Of the code; by default none where there are hidden layers, else the activation."""

    def parts(self) -> dict[str, Any]:
        """The arguments that every preset takes."""
        return super().parts() | {
            "hidden_dims": self.hidden_dims,
            "activation": self.activation,
            "latent_activation": self.latent_activation,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Common):
    """Linear encoder and decoder: PCA by gradient descent (Baldi & Hornik, 1989)."""

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.linear(shape, self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undercomplete(Layers):
    """A code narrower than the input."""

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.undercomplete(shape, self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overcomplete(Layers):
    """A code wider than the input, which learns to copy unless something keeps it from it."""

    latent_dim: int = 256

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.overcomplete(shape, self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deep(Layers):
    """A symmetric stack of layers, trained as a whole."""

    hidden_dims: tuple[int, ...] = (512,)

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.deep(shape, self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tied(Layers):
    """A symmetric stack whose decoder uses the encoder's kernels, transposed."""

    hidden_dims: tuple[int, ...] = (512,)

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.tied(shape, self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising(Layers):
    """Reconstructs the clean input from a corrupted one (Vincent et al., 2008)."""

    hidden_dims: tuple[int, ...] = (512,)
    noise_level: float = 0.1
    """Strength of the corruption: a probability, or a standard deviation for gaussian."""
    corruption: Literal["masking", "gaussian", "salt-and-pepper", "dropout"] = "masking"
    """What the encoder's input suffers in training."""

    def build(self, shape: tuple[int, ...]) -> Autoencoder:
        return variants.denoising(
            shape,
            self.latent_dim,
            noise_level=self.noise_level,
            corruption=CORRUPTIONS[self.corruption],
            **self.parts(),
        )


VARIANTS: dict[str, type[Common]] = {
    "linear": Linear,
    "undercomplete": Undercomplete,
    "overcomplete": Overcomplete,
    "deep": Deep,
    "tied": Tied,
    "denoising": Denoising,
}

Config = TypeVar("Config", bound=Common)


def variant_of(config: Common) -> str:
    """The name of the variant on the command line."""
    return next(name for name, kind in VARIANTS.items() if type(config) is kind)


def to_json(config: Common) -> dict[str, Any]:
    """What identifies the run: all but where it is kept."""
    fields = dataclasses.asdict(config)
    kept = {k: v for k, v in fields.items() if k not in config.NOT_CONFIGURATION}
    return {"variant": variant_of(config), **kept}


def from_json(values: dict[str, Any], **others: Any) -> Common:
    """The configuration that `to_json` wrote.

    Raises:
        ValueError: an unknown variant or option, as an older or newer version may have written.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    variant = values.pop("variant", None)
    if variant not in VARIANTS:
        raise ValueError(f"The run's variant is one of {sorted(VARIANTS)}; got {variant!r}.")
    known = {field.name for field in dataclasses.fields(VARIANTS[variant])}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"The run's configuration has options that {variant} lacks: {unknown}.")
    return VARIANTS[variant](**values, **others)
