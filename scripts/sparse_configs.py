"""What the scripts can be told of sparse variants, as `configs` has it of the others."""

import dataclasses
from typing import Any, ClassVar, Literal

import optax

import jaxae
from jaxae.base import Autoencoder, Batch
from jaxae.models import sparse_variants
from options import Common, Layers

MEDIAN_ROWS = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseLayers(Layers):
    """Options of the sparse variants with layers of any kind."""

    latent_dim: int = 256

    MEASURES: ClassVar = "sparsity"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sparse(SparseLayers):
    """Sigmoid codes whose mean activation is held at a target (Ng, 2011)."""

    latent_activation: Literal["sigmoid"] = "sigmoid"
    """Of the code, whose activations lie in (0, 1)."""
    sparsity_target: float = 0.05
    """Mean activation of each unit, in (0, 1)."""
    sparsity_weight: float = 0.1
    """Of the sum of the divergences from the target, in nats."""
    decay: float | None = None
    """Of a running mean of the activations; by default the batch's own mean is held."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.sparse(
            rows["x"].shape[1:],
            self.latent_dim,
            sparsity_target=self.sparsity_target,
            sparsity_weight=self.sparsity_weight,
            decay=self.decay,
            **self.parts(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class KSparse(SparseLayers):
    """Keeps the k largest linear codes, with tied weights (Makhzani & Frey, 2014)."""

    latent_activation: str | None = None
    """Of the code; by default none."""
    decoder: Literal["mirrored", "tied"] = "tied"
    """Whether the decoder has kernels of its own or the encoder's, transposed."""
    k: int = 10
    """Codes to keep."""
    start_k: int | None = 64
    """Codes to keep at first; falls to k over the first half of the steps. None: k at once."""
    alpha: float = 1.0
    """Without training alpha * k codes are kept."""

    MONITOR: ClassVar = "validation_mse"  # with k codes always, where the loss has what is due

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.k_sparse(
            rows["x"].shape[1:],
            self.latent_dim,
            k=self.k,
            start_k=self.start_k,
            anneal_steps=0 if self.start_k is None else max(1, steps // 2),
            alpha=self.alpha,
            **self.parts(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WinnerTakeAll(SparseLayers):
    """Each rectified unit keeps its largest activations over the batch (Makhzani & Frey, 2015)."""

    activation: Literal[jaxae.networks.ACTIVATIONS] = "relu"  # type: ignore[valid-type]
    """Of the hidden layers."""
    latent_activation: str | None = "relu"
    """Of the code."""
    fraction: float = 0.05
    """Share of a batch for which a unit fires in training, in (0, 1]; in use all codes pass."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.winner_take_all(
            rows["x"].shape[1:], self.latent_dim, fraction=self.fraction, **self.parts()
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dictionary(Common):
    """Options of the variants whose decoder is a dictionary of unit-length atoms."""

    latent_dim: int = 256
    """Number of atoms."""
    likelihood: Literal["gaussian", "gaussian-shared"] = "gaussian"
    """p(x | code): squared error, or a Gaussian with one learned scale."""
    pre_bias: Literal["median", "zero"] = "median"
    """First value of what is taken from x and added again: the rows' geometric median, or 0."""

    iterations: int = 0
    """Of the pursuit with which the encoder goes on after its linear guess."""

    MEASURES: ClassVar = "sparsity"

    def parts_for(self, rows: Batch) -> dict[str, Any]:
        """The arguments that every dictionary takes."""
        some = rows["x"][:: 1 + len(rows["x"]) // MEDIAN_ROWS]
        centre = jaxae.geometric_median(some) if self.pre_bias == "median" else None
        return {**self.parts(), "pre_bias": centre, "iterations": self.iterations}

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam that keeps the atoms' length."""
        return jaxae.unit_norm(super().optimizer(steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReluL1(Dictionary):
    """Rectified codes and an L1 penalty (Bricken et al., 2023)."""

    l1_coefficient: float = 0.2
    """Of the sum of the codes, each times the length of its atom."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        shape, parts = rows["x"].shape[1:], self.parts_for(rows)
        return sparse_variants.relu_l1(
            shape, self.latent_dim, l1_coefficient=self.l1_coefficient, **parts
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gated(Dictionary):
    """Which units fire is learned apart from how much (Rajamanoharan et al., 2024)."""

    l1_coefficient: float = 0.3
    """Of the sum of the open gates."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        shape, parts = rows["x"].shape[1:], self.parts_for(rows)
        return sparse_variants.gated(
            shape, self.latent_dim, l1_coefficient=self.l1_coefficient, **parts
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JumpReLU(Dictionary):
    """Learned thresholds, and so many nats for each active unit (Rajamanoharan et al., 2024b)."""

    sparsity_weight: float = 0.02
    """Nats for an active unit."""
    bandwidth: float = 0.1
    """Width of the window in which thresholds learn, in units of the pre-activations."""
    threshold: float = 0.1
    """Of every unit at first."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.jump_relu(
            rows["x"].shape[1:],
            self.latent_dim,
            sparsity_weight=self.sparsity_weight,
            bandwidth=self.bandwidth,
            threshold=self.threshold,
            **self.parts_for(rows),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(Dictionary):
    """Each example uses its k best atoms (Gao et al., 2024)."""

    epochs: int = 150
    k: int = 10
    """Atoms of an example."""
    aux_k: int | None = None
    """Dead atoms revived at a time; by default 2 k, 0 for none."""
    aux_coefficient: float = 1 / 32
    """Weight of what revives them."""
    dead_after: int = 10_000
    """Examples without firing after which an atom is dead."""

    def revived(self, rows: Batch) -> dict[str, Any]:
        """The arguments of `parts_for`, and those that revive atoms."""
        given = {} if self.aux_k is None else {"aux_k": self.aux_k}
        rest = {"aux_coefficient": self.aux_coefficient, "dead_after": self.dead_after}
        return self.parts_for(rows) | {"k": self.k} | given | rest

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.top_k(rows["x"].shape[1:], self.latent_dim, **self.revived(rows))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchTopK(TopK):
    """A batch uses k atoms an example in the mean (Bussmann et al., 2024)."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        shape = rows["x"].shape[1:]
        return sparse_variants.batch_top_k(shape, self.latent_dim, **self.revived(rows))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matryoshka(TopK):
    """The first atoms alone reconstruct, too (Bussmann et al., 2025)."""

    prefixes: tuple[int, ...] | None = None
    """Rising numbers of atoms that reconstruct; by default a sixteenth, an eighth, ... and all."""

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return sparse_variants.matryoshka(
            rows["x"].shape[1:], self.latent_dim, prefixes=self.prefixes, **self.revived(rows)
        )


SPARSE_VARIANTS: dict[str, type[Common]] = {
    "sparse": Sparse,
    "k-sparse": KSparse,
    "winner-take-all": WinnerTakeAll,
    "relu-l1": ReluL1,
    "gated": Gated,
    "jump-relu": JumpReLU,
    "top-k": TopK,
    "batch-top-k": BatchTopK,
    "matryoshka": Matryoshka,
}
