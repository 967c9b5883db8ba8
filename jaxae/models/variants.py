"""Autoencoders by name: each is one composition of the library's parts.

All take `(shape, latent_dim, *, hidden_dims=...)` and, beside hyperparameters of their
own, every part of `autoencoder` (`likelihood`, `code`, `corrupt`, `penalties`, `beta`)
and every option of the network builder (`activation`, `kernel_init`, `use_bias`, ...).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import flax.linen as nn

from jaxae.base import Autoencoder
from jaxae.models import bounds, corruptions, penalties
from jaxae.models.bounds import Bound
from jaxae.models.carrying import Scheduled
from jaxae.models.composition import autoencoder
from jaxae.models.corruptions import Corruption
from jaxae.models.likelihoods import Likelihood, gaussian
from jaxae.models.networks import Networks, Shape, example_shape, mlp
from jaxae.models.penalties import Penalty


def deep(
    shape: Shape,
    latent_dim: int,
    *,
    hidden_dims: Sequence[int] = (),
    networks: Callable[..., Networks] = mlp,
    likelihood: Likelihood | None = None,
    code: nn.Module | None = None,
    corrupt: Corruption = corruptions.none,
    penalties: Sequence[Penalty] = (),
    beta: Scheduled = 1.0,
    samples: int = 1,
    bound: Bound = bounds.elbo,
    **options: Any,
) -> Autoencoder:
    """A symmetric stack: shape - hidden_dims - latent_dim - reversed hidden_dims - shape.

    Trained as a whole, it is the deep autoencoder of Hinton & Salakhutdinov (2006)
    without pretraining. Every other preset is this one with some parts given.

    Args:
        shape: of one example, such as x.shape[1:].
        latent_dim: the width of the code.
        hidden_dims: the widths between input and code, from the input on.
        networks: builds the pair, `(shape, latent_dim, *, hidden_dims, outputs, **options)`.
        likelihood: p(x | out), by default a Gaussian of scale 1 (squared error).
        code: of `autoencoder`, as are all below but the last.
        corrupt: what the encoder sees in training.
        penalties: functions of the forward pass that add to the loss.
        beta: the weight of the rate.
        samples: codes that are drawn for each example.
        bound: how their costs join.
        **options: of `networks`.

    >>> import jax, numpy as np
    >>> model = deep((8, 8, 1), 10, hidden_dims=(32,), activation="tanh")
    >>> batch = {"x": np.zeros((5, 8, 8, 1), np.float32)}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.encode(params, batch).shape
    (5, 10)

    Raises:
        ValueError: what `networks` or `autoencoder` refuses.
    """
    likelihood = gaussian() if likelihood is None else likelihood
    encoder, decoder = networks(
        shape,
        latent_dim,
        hidden_dims=hidden_dims,
        outputs=likelihood.outputs,
        latent_outputs=getattr(code, "inputs", 1),
        **options,
    )
    return autoencoder(
        encoder,
        decoder,
        likelihood,
        code=code,
        corrupt=corrupt,
        penalties=penalties,
        beta=beta,
        samples=samples,
        bound=bound,
    )


def linear(shape: Shape, latent_dim: int, **parts: Any) -> Autoencoder:
    """Linear encoder and decoder: its optimum spans the principal subspace of the data.

    Under squared error it reconstructs as PCA with `latent_dim` components does, up to
    an invertible map of the codes (Bourlard & Kamp, 1988; Baldi & Hornik, 1989).

    >>> model = linear(64, 8)

    Raises:
        ValueError: an activation or hidden layers, which would not be linear.
    """
    if parts.get("activation", "identity") != "identity" or parts.get("hidden_dims"):
        raise ValueError("linear has neither hidden_dims nor an activation; take deep for them.")
    return deep(shape, latent_dim, **{**parts, "activation": "identity"})


def undercomplete(shape: Shape, latent_dim: int, **parts: Any) -> Autoencoder:
    """A code narrower than the input, which the bottleneck alone keeps from copying.

    >>> model = undercomplete(64, 8)

    Raises:
        ValueError: `latent_dim` is not below the number of entries.
    """
    size = math.prod(example_shape(shape))
    if latent_dim >= size:
        raise ValueError(
            f"An undercomplete code has fewer than the {size} entries of an example; got "
            f"latent_dim={latent_dim}. Take overcomplete, with a part that keeps it from copying."
        )
    return deep(shape, latent_dim, **parts)


def overcomplete(shape: Shape, latent_dim: int, **parts: Any) -> Autoencoder:
    """A code wider than the input, which can copy unless another part prevents it.

    Without a corruption, penalty or sparse code it tends to the identity: its
    reconstruction error falls towards zero and its codes say no more than the input.

    >>> model = overcomplete(64, 256, corrupt=corruptions.masking(0.3))

    Raises:
        ValueError: `latent_dim` is not above the number of entries.
    """
    size = math.prod(example_shape(shape))
    if latent_dim <= size:
        raise ValueError(
            f"An overcomplete code has more than the {size} entries of an example; got "
            f"latent_dim={latent_dim}. Take undercomplete, or a wider code."
        )
    return deep(shape, latent_dim, **parts)


def tied(shape: Shape, latent_dim: int, **parts: Any) -> Autoencoder:
    """A decoder that uses the encoder's kernels, transposed, with biases of its own.

    Half the parameters, and a weaker tendency to hide in the decoder what the encoder
    did not learn (Vincent et al., 2010).

    >>> model = tied(64, 8, hidden_dims=(32,))
    """
    return deep(shape, latent_dim, **{**parts, "decoder": "tied"})


def denoising(
    shape: Shape,
    latent_dim: int,
    *,
    noise_level: chex.Numeric = 0.3,
    corruption: Callable[[chex.Numeric], Corruption] = corruptions.masking,
    **parts: Any,
) -> Autoencoder:
    """Reconstructs the clean x from a corrupted one (Vincent et al., 2008; 2010).

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        noise_level: the strength of the corruption, in its own measure; may be traced.
        corruption: of `corruptions`, `noise_level -> corrupt`.
        **parts: of `deep`.

    >>> model = denoising(64, 100, noise_level=0.5, corruption=corruptions.gaussian)

    Raises:
        ValueError: a noise level that the corruption does not know.
    """
    return deep(shape, latent_dim, corrupt=corruption(noise_level), **parts)


def contractive(
    shape: Shape,
    latent_dim: int,
    *,
    contractive_weight: chex.Numeric = 0.1,
    method: str = "auto",
    **parts: Any,
) -> Autoencoder:
    """Penalises the code's exact Jacobian by the input (Rifai et al., 2011).

    As in the paper sigmoid units and tied weights, unless told otherwise: with a decoder of
    its own an encoder could shrink its Jacobian by small weights alone.

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        contractive_weight: of the mean squared Frobenius norm; may be traced.
        method: of `jacobians.squared_jacobian_norm`.
        **parts: of `deep`.

    >>> model = contractive(64, 100, contractive_weight=0.1)

    Raises:
        ValueError: a concrete weight below 0.
    """
    return _contracting(
        shape, latent_dim, [penalties.contractive(contractive_weight, method=method)], parts
    )


def stochastic_contractive(
    shape: Shape,
    latent_dim: int,
    *,
    contractive_weight: chex.Numeric = 1.0,
    noise_level: chex.Numeric = 0.1,
    corruption: Callable[[chex.Numeric], Corruption] = corruptions.gaussian,
    **parts: Any,
) -> Autoencoder:
    """Reconstructs the clean x, and penalises how far a corruption moves its code.

    With Gaussian noise of small scale it tends to `contractive` at contractive_weight ·
    noise_level². The defaults of the networks are those of `contractive`.

    >>> model = stochastic_contractive(64, 100, corruption=corruptions.masking)

    Raises:
        ValueError: a concrete weight below 0, or a noise level that the corruption refuses.
    """
    penalty = penalties.stochastic_contractive(contractive_weight, corruption(noise_level))
    return _contracting(shape, latent_dim, [penalty], parts)


def higher_order_contractive(
    shape: Shape,
    latent_dim: int,
    *,
    contractive_weight: chex.Numeric = 0.1,
    hessian_weight: chex.Numeric = 0.1,
    noise_level: chex.Numeric = 0.1,
    **parts: Any,
) -> Autoencoder:
    """Also penalises how the Jacobian changes nearby: CAE+H (Rifai et al., 2011b).

    The defaults of the networks are those of `contractive`.

    >>> model = higher_order_contractive(64, 100, noise_level=0.2)

    Raises:
        ValueError: a concrete weight or noise level below 0.
    """
    first = penalties.contractive(contractive_weight)
    second = penalties.higher_order_contractive(hessian_weight, noise_level)
    return _contracting(shape, latent_dim, [first, second], parts)


def _contracting(
    shape: Shape, latent_dim: int, own: Sequence[Penalty], parts: dict[str, Any]
) -> Autoencoder:
    others = parts.pop("penalties", ())
    if parts.get("networks", mlp) is mlp:
        parts = {"activation": "sigmoid", "decoder": "tied", **parts}
        parts.setdefault("latent_activation", parts["activation"])
    return deep(shape, latent_dim, penalties=[*own, *others], **parts)
