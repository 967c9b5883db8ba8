"""What the scripts can be told: one dataclass for each variant, one field for each option."""

import dataclasses
from typing import Any, ClassVar, Literal

import jaxae
from boltzmann_configs import RBM
from jaxae.base import Autoencoder, Batch
from jaxae.models import variants
from jaxae.models.jacobians import METHODS
from options import CORRUPTIONS, Common, Layers, Variant
from sparse_configs import SPARSE_VARIANTS
from variational_configs import VARIATIONAL_VARIANTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Common):
    """Linear encoder and decoder: PCA by gradient descent (Baldi & Hornik, 1989)."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.linear(rows["x"].shape[1:], self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undercomplete(Layers):
    """A code narrower than the input."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.undercomplete(rows["x"].shape[1:], self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overcomplete(Layers):
    """A code wider than the input, which learns to copy unless something keeps it from it."""

    latent_dim: int = 256

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.overcomplete(rows["x"].shape[1:], self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deep(Layers):
    """A symmetric stack of layers, trained as a whole."""

    hidden_dims: tuple[int, ...] = (512,)

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.deep(rows["x"].shape[1:], self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tied(Layers):
    """A symmetric stack whose decoder uses the encoder's kernels, transposed."""

    hidden_dims: tuple[int, ...] = (512,)
    decoder: Literal["tied"] = "tied"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.tied(rows["x"].shape[1:], self.latent_dim, **self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising(Layers):
    """Reconstructs the clean input from a corrupted one (Vincent et al., 2008)."""

    hidden_dims: tuple[int, ...] = (512,)
    noise_level: float = 0.1
    """Strength of the corruption: a probability, or a standard deviation for gaussian."""
    corruption: Literal["masking", "gaussian", "salt-and-pepper", "dropout"] = "masking"
    """What the encoder's input suffers in training."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.denoising(
            rows["x"].shape[1:],
            self.latent_dim,
            noise_level=self.noise_level,
            corruption=CORRUPTIONS[self.corruption],
            **self.parts(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contracting(Layers):
    """Options of the variants whose code is to move little with the input."""

    latent_dim: int = 128
    activation: Literal[jaxae.networks.ACTIVATIONS] = "sigmoid"  # type: ignore[valid-type]
    """Of the hidden layers."""
    latent_activation: str | None = None
    """Of the code; by default the activation."""
    decoder: Literal["mirrored", "tied"] = "tied"
    """Whether the decoder has kernels of its own or the encoder's, transposed."""
    contractive_weight: float = 0.2
    """Of the penalty in the loss."""
    epochs: int = 150
    learning_rate: float = 5e-3

    MEASURES: ClassVar = "contraction"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contractive(Contracting):
    """Penalises the exact Jacobian of the code by the input (Rifai et al., 2011)."""

    method: Literal[METHODS] = "auto"  # type: ignore[valid-type]
    """How the squared norm of the Jacobian is computed; all but hutchinson are exact."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.contractive(
            rows["x"].shape[1:],
            self.latent_dim,
            contractive_weight=self.contractive_weight,
            method=self.method,
            **self.parts(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticContractive(Contracting):
    """Penalises how far a corruption of the input moves the code."""

    contractive_weight: float = 20.0
    noise_level: float = 0.1
    """Strength of the corruption: a standard deviation for gaussian, else a probability."""
    corruption: Literal["gaussian", "masking", "salt-and-pepper", "dropout"] = "gaussian"
    """What moves the code."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.stochastic_contractive(
            rows["x"].shape[1:],
            self.latent_dim,
            contractive_weight=self.contractive_weight,
            noise_level=self.noise_level,
            corruption=CORRUPTIONS[self.corruption],
            **self.parts(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HigherOrderContractive(Contracting):
    """Also penalises how the Jacobian changes nearby: CAE+H (Rifai et al., 2011b)."""

    hessian_weight: float = 0.1
    """Of the mean squared change of the Jacobian."""
    noise_level: float = 0.1
    """Standard deviation of the steps over which it changes, in units of x."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variants.higher_order_contractive(
            rows["x"].shape[1:],
            self.latent_dim,
            contractive_weight=self.contractive_weight,
            hessian_weight=self.hessian_weight,
            noise_level=self.noise_level,
            **self.parts(),
        )


VARIANTS: dict[str, type[Variant]] = {
    "linear": Linear,
    "undercomplete": Undercomplete,
    "overcomplete": Overcomplete,
    "deep": Deep,
    "tied": Tied,
    "denoising": Denoising,
    "contractive": Contractive,
    "stochastic-contractive": StochasticContractive,
    "higher-order-contractive": HigherOrderContractive,
    **SPARSE_VARIANTS,
    **VARIATIONAL_VARIANTS,
    "rbm": RBM,
}


def variant_of(config: Variant) -> str:
    """The name of the variant on the command line."""
    return next(name for name, kind in VARIANTS.items() if type(config) is kind)


def to_json(config: Variant) -> dict[str, Any]:
    """What identifies the run: all but where it is kept."""
    fields = dataclasses.asdict(config)
    kept = {k: v for k, v in fields.items() if k not in config.NOT_CONFIGURATION}
    return {"variant": variant_of(config), **kept}


def from_json(values: dict[str, Any], **others: Any) -> Variant:
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
