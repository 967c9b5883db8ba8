"""Autoencoders of ratings and of implicit feedback, by name."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxae.base import Array, Autoencoder, check_range
from jaxae.models import corruptions, likelihoods, penalties
from jaxae.models.carrying import Scheduled
from jaxae.models.networks import Networks, Shape, mlp
from jaxae.models.variants import deep
from jaxae.models.variational import vae


def auto_rec(
    shape: Shape,
    latent_dim: int = 50,
    *,
    l2: chex.Numeric = 0.045,
    noise_level: chex.Numeric = 0.4,
    **parts: Any,
) -> Autoencoder:
    """Predicts ratings that are not observed from those that are (Sedhain et al., 2015).

    One layer of sigmoids, squared errors of observed entries, a penalty on the kernels. Rows are
    items ("item-based", of `ratings.transposed`) or users; take centred ratings, of which 0 is
    what is expected. Beyond the paper the encoder may be told which entries are observed, by
    `see_mask=True`, some of these are hidden from it in training, so that it learns to predict
    what it is not given, and `networks=balanced(typical)` suits rows of few and many ratings.
    With `activation="tanh"` and an l2 about three times as large it may do better.

    Args:
        shape: of a row, the number of columns.
        latent_dim: the width of the code.
        l2: of `penalties.l2`, for each row: λ of the paper over twice the number of rows.
        noise_level: of `corruptions.hiding`; 0 is the paper's own.
        **parts: of `deep`.

    >>> import jax, numpy as np
    >>> model = auto_rec(20, 5, see_mask=True)
    >>> batch = {"x": np.ones((3, 20), np.float32), "mask": np.eye(3, 20, dtype=np.float32)}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.decode(params, model.encode(params, batch)).shape
    (3, 20)

    Raises:
        ValueError: a concrete l2 below 0, or a noise level outside [0, 1].
    """
    others = parts.pop("penalties", ())
    parts = {"activation": "sigmoid", "corrupt": corruptions.hiding(noise_level), **parts}
    return deep(shape, latent_dim, penalties=[penalties.l2(l2), *others], **parts)


def mult_dae(
    shape: Shape, latent_dim: int = 200, *, noise_level: chex.Numeric = 0.5, **parts: Any
) -> Autoencoder:
    """Scores all items by which ones a user has chosen (Liang et al., 2018).

    x counts choices, 0 or 1 for implicit feedback, and has no mask: that an item was not chosen
    says something, too. The likelihood is multinomial, the input under dropout and then of
    length 1 (see `unit_length`).

    Args:
        shape: the number of items.
        latent_dim: the width of the code.
        noise_level: of `corruptions.dropout`.
        **parts: of `deep`.

    >>> model = mult_dae(1000, 50)

    Raises:
        ValueError: a noise level outside [0, 1).
    """
    return deep(shape, latent_dim, **{**_of_choices(noise_level), **parts})


def mult_vae(
    shape: Shape,
    latent_dim: int = 200,
    *,
    beta: Scheduled = 0.2,
    noise_level: chex.Numeric = 0.5,
    **parts: Any,
) -> Autoencoder:
    """The variational one of `mult_dae` (Liang et al., 2018).

    Args:
        shape: the number of items.
        latent_dim: the width of the code.
        beta: of `vae`; below 1, and best warmed up: `optax.linear_schedule(0.0, 0.2, steps)`.
        noise_level: of `corruptions.dropout`.
        **parts: of `vae`; by default `hidden_dims` is (600,).

    >>> model = mult_vae(1000, 50, hidden_dims=(100,))

    Raises:
        ValueError: a noise level outside [0, 1).
    """
    parts = {"hidden_dims": (600,), **_of_choices(noise_level), **parts}
    return vae(shape, latent_dim, beta=beta, **parts)


class UnitLength(nn.Module):
    """An encoder whose input is scaled to rows of length 1; rows of zeros stay.

    Attributes:
        encoder: what sees the rows.
    """

    encoder: nn.Module

    def __call__(self, x: Array, **given: Any) -> Array:
        """What the encoder makes of the scaled rows."""
        flat = x.reshape(x.shape[0], -1)
        squares = jnp.sum(flat * flat, axis=1, keepdims=True)
        scale = jnp.where(squares > 0, 1.0 / jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
        return self.encoder((flat * scale).reshape(x.shape), **given)


def unit_length(shape: Shape, latent_dim: int, **options: Any) -> Networks:
    """The networks of `mlp`, whose encoder sees rows of length 1.

    So users with many choices do not drown those with few. In training the length is that of
    what the corruption has left (Liang et al., 2018, scale before it), so that inputs have
    length 1 there as in use.

    >>> import jaxae
    >>> model = jaxae.deep(8, 3, networks=unit_length)

    Raises:
        ValueError: a tied decoder, or what `mlp` refuses.
    """
    _refuse_tied("unit_length", options)
    encoder, decoder = mlp(shape, latent_dim, **options)
    return Networks(UnitLength(encoder), decoder)


class Balanced(nn.Module):
    """An encoder of rows of ratings whose x few and many of them scale equally.

    Attributes:
        encoder: what sees the rows.
        typical: the number of ratings at which a row stays as it is.
    """

    encoder: nn.Module
    typical: float

    def __call__(self, x: Array, mask: Array | None = None, **given: Any) -> Array:
        """What the encoder makes of the scaled rows, and of the mask as it is."""
        seen = jnp.ones(x.shape, x.dtype) if mask is None else mask.astype(x.dtype)
        count = jnp.maximum(jnp.sum(seen.reshape(x.shape[0], -1), axis=1), 1.0)
        scale = jnp.sqrt(self.typical / count).reshape(-1, *[1] * (x.ndim - 1))
        return self.encoder(x * scale, mask=mask, **given)


def balanced(typical: float) -> Callable[..., Networks]:
    """The networks of `mlp`, whose encoder sees rows of n ratings times √(typical / n).

    A sum over n ratings has a scale of √n (Koren, 2008, divides by it, too), and without this
    rows would shrink where a corruption hides ratings. Rows have a mask of x's shape, which is
    not scaled.

    Args:
        typical: the number of ratings at which a row stays as it is, such as their mean.

    >>> model = auto_rec(20, 5, networks=balanced(8.0), see_mask=True)

    Raises:
        ValueError: `typical` is not positive; later, a tied decoder, or what `mlp` refuses.
    """
    check_range("typical", typical, 0.0, open_low=True, open_high=True)

    def build(shape: Shape, latent_dim: int, **options: Any) -> Networks:
        _refuse_tied("balanced", options)
        encoder, decoder = mlp(shape, latent_dim, **options)
        return Networks(Balanced(encoder, typical), decoder)

    return build


def _refuse_tied(name: str, options: dict[str, Any]) -> None:
    if options.get("decoder", "mirrored") == "tied":
        raise ValueError(f"{name} has no tied decoder; take decoder='mirrored', or mlp.")


def _of_choices(noise_level: chex.Numeric) -> dict[str, Any]:
    return {
        "likelihood": likelihoods.multinomial(),
        "corrupt": corruptions.dropout(noise_level),
        "networks": unit_length,
        "activation": "tanh",
    }
