"""What the scripts can be told of generative variants, as `configs` has it of the others."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import optax

import jaxae
from generative_options import Generative, Matching, Variational, Words
from jaxae.base import Autoencoder, Batch, Learner
from jaxae.models import variational
from options import in_use


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAE(Variational):
    """The variational autoencoder (Kingma & Welling, 2014)."""

    free_bits: float = 0.0
    """Nats; a unit whose KL is less counts for this much (Kingma et al., 2016)."""
    capacity: float | None = None
    """Nats; the rate becomes |KL - capacity| (Burgess et al., 2018)."""

    def options(self, rows: Batch, steps: int) -> dict[str, Any]:
        """The arguments of `vae`."""
        if in_use(self.free_bits) and not hasattr(self.prior_part(), "kl"):
            raise ValueError(
                "free_bits needs a divergence in closed form: take --prior standard or learned, "
                "without --upper-dim."
            )
        own = {"beta": self.weight(steps), "free_bits": self.free_bits, "capacity": self.capacity}
        return self.parts_for(rows) | own

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        options = self.options(rows, steps)
        return variational.vae(rows["x"].shape[1:], self.latent_dim, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BetaVAE(VAE):
    """A VAE whose rate weighs more, so that units learn apart (Higgins et al., 2017)."""

    beta: float = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionalVAE(VAE):
    """A VAE that is given the class of each example (Sohn et al., 2015)."""

    INPUTS: ClassVar = ("x", "context")

    def complete(self, *parts: Batch) -> tuple[Batch, ...]:
        """The parts with their classes, one-hot."""
        if any("y" not in part for part in parts):
            raise ValueError(
                "conditional-vae needs data with labels; name a table's column with --label."
            )
        if any(np.asarray(part["y"]).dtype.kind not in "iu" for part in parts):
            raise ValueError("conditional-vae needs labels 0, 1, ...; got others.")
        count = max(2, 1 + int(np.max(parts[0]["y"])))
        if any(np.min(part["y"]) < 0 or np.max(part["y"]) >= count for part in parts):
            raise ValueError(f"Labels are integers in [0, {count}), as in training rows.")
        classes = np.eye(count, dtype=np.float32)
        return tuple({**part, "context": classes[part["y"]]} for part in parts)

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        options = self.options(rows, steps) | {"num_classes": rows["context"].shape[1]}
        return jaxae.conditional_vae(rows["x"].shape[1:], self.latent_dim, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IWAE(Variational):
    """A tighter bound, of several codes for an example (Burda et al., 2016)."""

    code_samples: int = 5

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        options = self.parts_for(rows) | {"beta": self.weight(steps)}
        return variational.iwae(rows["x"].shape[1:], self.latent_dim, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoVAE(Matching):
    """A VAE that keeps information in its codes, by MMD (Zhao et al., 2019)."""

    information: float = 1.0
    """What the codes keep; the rate weighs 1 less this."""
    mmd_weight: float = 1000.0
    """Of the distance between the codes' distribution and the prior, with information - 1."""

    MEASURES: ClassVar = "variational"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variational.info_vae(
            rows["x"].shape[1:],
            self.latent_dim,
            information=self.information,
            mmd_weight=self.mmd_weight,
            prior=self.prior_part(),
            **self.parts_for(rows),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WAE(Matching):
    """Deterministic codes whose distribution is drawn to a prior (Tolstikhin et al., 2018)."""

    likelihood: Words = "gaussian"
    """p(x | code): squared error, a Gaussian of a learned scale, of binary entries (see
    --binarise), or of grey values on so many levels."""
    mmd_weight: float = 10.0
    """Of the distance between the codes' distribution and the prior."""

    MEASURES: ClassVar = "mmd"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variational.wae(
            rows["x"].shape[1:],
            self.latent_dim,
            mmd_weight=self.mmd_weight,
            prior=self.prior_part(),
            **self.parts_for(rows),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Matching):
    """Deterministic codes that a critic cannot tell from a prior (Makhzani et al., 2016)."""

    likelihood: Words = "gaussian"
    """p(x | code): squared error, a Gaussian of a learned scale, of binary entries (see
    --binarise), or of grey values on so many levels."""
    adversarial_weight: float = 1.0
    """Of -log of the critic's belief in the loss."""
    learning_rate: float = 1e-3
    """Of Adam with little momentum, so that the two do not swing; the peak of the schedule."""

    MEASURES: ClassVar = "mmd"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        code = jaxae.codes.Matched(self.prior_part())
        parts = {"code": code, **self.parts_for(rows)}
        return jaxae.deep(rows["x"].shape[1:], self.latent_dim, **parts)

    def trained(self, model: Autoencoder, steps: int) -> Learner:
        """Beside a critic, with the same optimiser for both."""
        tx = optax.adam(self.rate(steps), b1=0.5)
        return jaxae.adversarial(model, tx, adversarial_weight=self.adversarial_weight)

    def judged(self, model: Autoencoder, rows: Batch) -> Autoencoder:
        """The model with a loss that tells how far codes and prior are apart, without a critic."""
        shape, parts = rows["x"].shape[1:], self.parts_for(rows)
        wae = variational.wae(shape, self.latent_dim, prior=self.prior_part(), **parts)
        return model._replace(loss=wae.loss)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAE(Generative):
    """Codes of a learned codebook (van den Oord et al., 2017)."""

    likelihood: Words = "gaussian"
    """p(x | code): squared error, a Gaussian of a learned scale, of binary entries (see
    --binarise), or of grey values on so many levels."""
    num_embeddings: int = 64
    """The size of the codebook."""
    embedding_dim: int | None = 2
    """Length of an embedding, latent_dim / embedding_dim of which make a code; None: the whole."""
    commitment: float = 0.25
    """Weight of what holds the encoder near the codebook."""
    decay: float | None = 0.99
    """Of the codebook's running means; None: it descends instead."""
    restart_after: int = 100
    """Steps after which an embedding that nothing chose starts again; 0 for never."""

    MEASURES: ClassVar = "codebook"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variational.vq_vae(
            rows["x"].shape[1:],
            self.latent_dim,
            num_embeddings=self.num_embeddings,
            embedding_dim=self.embedding_dim,
            commitment=self.commitment,
            decay=self.decay,
            restart_after=self.restart_after,
            **self.parts_for(rows),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticHashing(Generative):
    """Codes under noise, to be rounded to bits (Salakhutdinov & Hinton, 2009)."""

    noise_level: float = 4.0
    """Standard deviation of the noise on the codes' logits in training."""

    MEASURES: ClassVar = "bits"

    def build(self, rows: Batch, steps: int) -> Autoencoder:
        return variational.semantic_hashing(
            rows["x"].shape[1:],
            self.latent_dim,
            noise_level=self.noise_level,
            **self.parts_for(rows),
        )


VARIATIONAL_VARIANTS: dict[str, type[Generative]] = {
    "vae": VAE,
    "beta-vae": BetaVAE,
    "conditional-vae": ConditionalVAE,
    "iwae": IWAE,
    "vq-vae": VQVAE,
    "wae": WAE,
    "adversarial": Adversarial,
    "info-vae": InfoVAE,
    "semantic-hashing": SemanticHashing,
}
