"""Generative autoencoders by name: compositions with the arguments of `jaxae.models.variants`."""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn

from jaxae.base import Autoencoder, check_range
from jaxae.models import bounds, codes, likelihoods, penalties, priors
from jaxae.models.carrying import Scheduled
from jaxae.models.networks import MLP, Shape
from jaxae.models.variants import deep


def vae(
    shape: Shape,
    latent_dim: int,
    *,
    prior: nn.Module | None = None,
    free_bits: chex.Numeric = 0.0,
    capacity: Scheduled | None = None,
    **parts: Any,
) -> Autoencoder:
    """The variational autoencoder (Kingma & Welling, 2014).

    Its loss is the negative evidence lower bound, in nats. Of binary entries, or of
    probabilities of them, unless another likelihood is given.

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        prior: of `jaxae.priors`, over codes of this width; by default standard normal.
        free_bits: of `codes.Gaussian`, nats for each unit.
        capacity: of `codes.Gaussian`, nats.
        **parts: of `deep`; `beta` may be a schedule, such as `optax.linear_schedule(0, 1, 1000)`.

    >>> import jax, numpy as np
    >>> model = vae(64, 8, hidden_dims=(32,))
    >>> params = model.init(jax.random.key(0), {"x": np.zeros((1, 64))})
    >>> model.sample(params, jax.random.key(1), 5).shape
    (5, 64)

    Raises:
        ValueError: concrete free_bits or capacity below 0; at `init`, free_bits of a prior
            without a divergence in closed form.
    """
    check_range("free_bits", free_bits, 0.0)
    if capacity is not None and not callable(capacity):
        check_range("capacity", capacity, 0.0)
    prior = priors.Standard(latent_dim) if prior is None else prior
    code = codes.Gaussian(prior, free_bits=free_bits, capacity=capacity)
    return _generative(shape, latent_dim, code, parts)


def beta_vae(shape: Shape, latent_dim: int, *, beta: Scheduled = 4.0, **parts: Any) -> Autoencoder:
    """A `vae` whose rate weighs more, so that its units learn apart (Higgins et al., 2017).

    With a beta other than 1 the loss is no bound on the likelihood; `evaluation.elbo` gives one.

    >>> model = beta_vae(64, 8, beta=2.0)
    """
    return vae(shape, latent_dim, beta=beta, **parts)


def iwae(
    shape: Shape,
    latent_dim: int,
    *,
    samples: int = 5,
    prior: nn.Module | None = None,
    **parts: Any,
) -> Autoencoder:
    """The importance-weighted autoencoder (Burda et al., 2016).

    Its loss is the bound of `samples` draws, which is tighter than that of a `vae`.

    >>> model = iwae(64, 8, samples=10)

    Raises:
        ValueError: samples below 1.
    """
    code = codes.Gaussian(priors.Standard(latent_dim) if prior is None else prior, analytic=False)
    parts = {"bound": bounds.importance, **parts}
    return _generative(shape, latent_dim, code, {"samples": samples, **parts})


def layered_prior(
    latent_dim: int,
    upper_dim: int,
    *,
    hidden_dims: Sequence[int] = (),
    activation: str = "elu",
    prior: nn.Module | None = None,
) -> priors.Layered:
    """The prior of a second stochastic layer, of dense nets, for `vae` and `iwae`.

    Args:
        latent_dim: the width of the code that it is the prior of.
        upper_dim: the width of the codes above.
        hidden_dims: of the nets between them, from the lower code on.
        activation: of these.
        prior: of the codes above; by default standard normal.

    >>> model = iwae(64, 20, prior=layered_prior(20, 5, hidden_dims=(30,)))
    """
    back = tuple(reversed(hidden_dims))
    return priors.Layered(
        MLP((*hidden_dims, 2 * upper_dim), activation=activation),
        MLP((*back, 2 * latent_dim), activation=activation),
        codes.Gaussian(priors.Standard(upper_dim) if prior is None else prior, analytic=False),
    )


def vq_vae(
    shape: Shape,
    latent_dim: int,
    *,
    num_embeddings: int = 512,
    embedding_dim: int | None = None,
    commitment: chex.Numeric = 0.25,
    decay: float | None = 0.99,
    restart_after: int = 100,
    **parts: Any,
) -> Autoencoder:
    """Codes of a learned codebook (van den Oord et al., 2017); see `codes.VectorQuantised`.

    A code is latent_dim / embedding_dim embeddings, so it says log2(num_embeddings) bits for
    each. Squared error, unless another likelihood is given.

    >>> model = vq_vae(64, 16, num_embeddings=32, embedding_dim=2)

    Raises:
        ValueError: numbers below 1, a commitment below 0 or a decay outside (0, 1); at `init`
            an embedding_dim that does not divide latent_dim.
    """
    check_range("num_embeddings", num_embeddings, 1)
    check_range("embedding_dim", 1 if embedding_dim is None else embedding_dim, 1)
    check_range("commitment", commitment, 0.0)
    check_range("restart_after", restart_after, 0)
    if decay is not None:
        check_range("decay", decay, 0.0, 1.0, open_low=True, open_high=True)
    code = codes.VectorQuantised(
        latent_dim, num_embeddings, embedding_dim, commitment, decay, restart_after
    )
    return deep(shape, latent_dim, **{"latent_activation": "identity", "code": code, **parts})


def wae(
    shape: Shape,
    latent_dim: int,
    *,
    mmd_weight: chex.Numeric = 10.0,
    prior: nn.Module | None = None,
    **parts: Any,
) -> Autoencoder:
    """Deterministic codes whose distribution is drawn to a prior (Tolstikhin et al., 2018).

    WAE-MMD: the penalty is mmd_weight times `penalties.mmd` of the batch's codes. Squared
    error, unless another likelihood is given.

    >>> model = wae(64, 8, mmd_weight=5.0)

    Raises:
        ValueError: a concrete weight below 0.
    """
    code = codes.Matched(priors.Standard(latent_dim) if prior is None else prior)
    own = {"latent_activation": "identity", "code": code}
    parts["penalties"] = [penalties.mmd(mmd_weight), *parts.get("penalties", ())]
    return deep(shape, latent_dim, **{**own, **parts})


def info_vae(
    shape: Shape,
    latent_dim: int,
    *,
    information: chex.Numeric = 1.0,
    mmd_weight: chex.Numeric = 1000.0,
    **parts: Any,
) -> Autoencoder:
    """A `vae` that keeps information in its codes (Zhao et al., 2019).

        loss = distortion + (1 - α) KL(q(z | x) ‖ p(z)) + (α + λ - 1) MMD(q(z), p(z))

    with α `information` and λ `mmd_weight`; at the defaults it is the MMD-VAE, whose rate
    counts nothing.

    >>> model = info_vae(64, 8, information=0.5, mmd_weight=10.0)

    Raises:
        ValueError: α above 1, or α + λ below 1.
    """
    check_range("information", information, high=1.0)
    check_range("information + mmd_weight", information + mmd_weight, 1.0)
    own = penalties.mmd(information + mmd_weight - 1.0)
    parts["penalties"] = [own, *parts.get("penalties", ())]
    return vae(shape, latent_dim, **{"beta": 1.0 - information, **parts})


def semantic_hashing(
    shape: Shape, latent_dim: int, *, noise_level: chex.Numeric = 4.0, **parts: Any
) -> Autoencoder:
    """Logistic codes under noise, to be rounded to bits (Salakhutdinov & Hinton, 2009).

    `codes.Logistic`, with noise on the code's input in training alone; `evaluation.to_bits`
    rounds the codes and packs them.

    >>> model = semantic_hashing(64, 16, hidden_dims=(32,))

    Raises:
        ValueError: a concrete noise level below 0.
    """
    check_range("noise_level", noise_level, 0.0)
    parts = {"latent_activation": "identity", **parts}
    return _generative(shape, latent_dim, codes.Logistic(noise_level), parts)


def _generative(
    shape: Shape, latent_dim: int, code: nn.Module, parts: dict[str, Any]
) -> Autoencoder:
    """Binary entries, unless told otherwise."""
    return deep(shape, latent_dim, **{"likelihood": likelihoods.bernoulli(), "code": code, **parts})
