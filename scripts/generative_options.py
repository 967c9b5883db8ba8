"""Options that generative variants share, and what they make of them."""

import dataclasses
from typing import Any, ClassVar, Literal

import flax.linen as nn
import numpy as np
import optax

import jaxae
from data_options import Binarising
from jaxae.base import Autoencoder, Batch
from jaxae.models import variational
from jaxae.models.carrying import Scheduled
from jaxae.models.likelihoods import Likelihood
from options import Layers

Words = Literal["bernoulli", "gaussian", "gaussian-shared", "discretised-logistic"]
LEVELS = (2, 17, 256)
"""Numbers of grey values that are looked for: bits, scikit-learn's digits, bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generative(Binarising, Layers):
    """Options of every variant of this kind."""

    hidden_dims: tuple[int, ...] = (256,)
    latent_activation: Literal["identity"] = "identity"
    """Of the numbers from which the code is made."""
    decoder: Literal["mirrored"] = "mirrored"
    """The decoder has kernels of its own."""
    likelihood: Words = "bernoulli"  # type: ignore[assignment]
    """p(x | code): of binary entries (see --binarise), a Gaussian of scale 1 (squared error),
    one of a learned scale, or of grey values on so many levels."""
    levels: int | None = None
    """Grey values of discretised-logistic, evenly from 0 to 1; by default 2, 17 or 256, the
    first that fits the data."""
    logistics: int = 1
    """Distributions that each entry of discretised-logistic is a mixture of; 3 suit images with
    a dark background."""
    binarise: Literal["draw", "threshold", "none", "each"] = "each"

    epochs: int = 200
    nll_samples: int = 500
    """Codes drawn for a test row to estimate its NLL; more tighten it (5,000 in Burda et al.,
    2016). 0 for none."""

    BERNOULLI: ClassVar = ("likelihood", "likelihoods", "gaussian-shared")

    def parts_for(self, rows: Batch) -> dict[str, Any]:
        """The arguments that every preset takes."""
        return self.parts() | {"likelihood": self.likelihood_for(rows)}

    def likelihood_for(self, rows: Batch) -> Likelihood:
        """The likelihood of that name for rows like these."""
        if self.likelihood != "discretised-logistic":
            return self.likelihood_part()
        levels = self.levels or _levels(rows["x"])
        return jaxae.likelihoods.discretised_logistic(levels, self.logistics)


def _levels(x: Any) -> int:
    """How many grey values there are."""
    if x.dtype == np.uint8:
        return 256
    for n in LEVELS:
        if np.allclose(x * (n - 1), np.round(x * (n - 1)), atol=1e-3):
            return n
    raise ValueError(
        f"x does not lie evenly on {LEVELS} levels from 0 to 1, as discretised-logistic needs it. "
        "Give --levels, or take --likelihood gaussian-shared."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matching(Generative):
    """Options of the variants whose code has a prior to choose."""

    prior: Literal["standard", "learned", "mixture"] = "standard"
    """Of the code: standard normal, a Gaussian that is learned, or a mixture that is."""
    num_components: int = 10
    """Of a mixture."""
    upper_dim: int | None = None
    """Width of a second layer of codes above the first, whose prior is then --prior."""

    def prior_part(self) -> nn.Module:
        """The prior of that name."""
        width = self.upper_dim or self.latent_dim
        priors: dict[str, nn.Module] = {
            "standard": jaxae.priors.Standard(width),
            "learned": jaxae.priors.Learned(width),
            "mixture": jaxae.priors.Mixture(width, self.num_components),
        }
        if self.upper_dim is None:
            return priors[self.prior]
        dims = (4 * max(self.upper_dim, self.latent_dim),)
        return variational.layered_prior(
            self.latent_dim, self.upper_dim, hidden_dims=dims, prior=priors[self.prior]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variational(Matching):
    """Options of the variants whose loss has a rate."""

    beta: float = 1.0
    """Weight of the rate in the loss, which is the ELBO's at 1 alone."""
    warm_up_epochs: int = 0
    """The weight rises to beta from 0, evenly, over so many epochs."""
    code_samples: int = 1
    """Codes drawn for an example in training."""

    MEASURES: ClassVar = "variational"

    def parts_for(self, rows: Batch) -> dict[str, Any]:
        """The arguments that every preset takes, and the prior."""
        own = {"prior": self.prior_part(), "samples": self.code_samples}
        return super().parts_for(rows) | own

    def weight(self, steps: int) -> Scheduled:
        """Beta, or how it rises over a run of so many steps."""
        if not 0 <= self.warm_up_epochs <= self.epochs:
            raise ValueError(
                f"warm_up_epochs lies in [0, {self.epochs}], the epochs; got {self.warm_up_epochs}."
            )
        rising = self.warm_up_epochs * (steps // self.epochs)
        return optax.linear_schedule(0.0, self.beta, rising) if rising else self.beta

    def judged(self, model: Autoencoder, rows: Batch) -> Autoencoder:
        """The model with the loss at the end of the warm-up, as epochs would not compare else."""
        if not self.warm_up_epochs:
            return model
        final = dataclasses.replace(self, warm_up_epochs=0).build(rows, 1)
        return model._replace(loss=final.loss)
