"""Activations and initialisers by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxae.base import Array

Activation = Callable[[Array], Array]
Initializer = Callable[..., Array]

_KERNEL_INIT = {"relu": "he_normal", "leaky_relu": "he_normal", "elu": "he_normal"} | {
    "gelu": "he_normal",
    "silu": "he_normal",
    "selu": "lecun_normal",
}
ACTIVATIONS = (
    *("identity", "sigmoid", "tanh", "relu", "leaky_relu"),
    *("elu", "selu", "gelu", "silu", "softplus", "hard_tanh"),
)
INITIALIZERS = (
    *("he_normal", "he_uniform", "glorot_normal", "glorot_uniform"),
    *("lecun_normal", "lecun_uniform", "orthogonal"),
)


@jax.custom_jvp
def elu(x: Array) -> Array:
    """Exponential linear unit: x where it is positive, else exp(x) - 1 (Clevert et al., 2016).

    `jax.nn.elu` to float rounding, but its derivative comes from its value: one
    exponential in a training step, where that one computes expm1 forward and backward.

    >>> elu(jnp.array([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


@elu.defjvp
def _elu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = elu(*primals)
    return y, tangents[0] * (jnp.minimum(y, 0) + 1)


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow.

    `jax.nn.softplus` to float rounding, but its derivative is the logistic function as it
    stands, which XLA computes faster than what comes of differentiating `logaddexp`.

    >>> softplus(jnp.array([-200.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return softplus(*primals), tangents[0] * jax.nn.sigmoid(*primals)


def activation(name: str | Activation) -> Activation:
    """The activation of that name (see `ACTIVATIONS`); a function passes unchanged.

    Raises:
        ValueError: an unknown name.
    """
    if callable(name):
        return name
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is a function or one of {ACTIVATIONS}; got {name!r}.")
    own: dict[str, Activation] = {"elu": elu, "softplus": softplus}
    return own.get(name) or getattr(jax.nn, name)


def initializer(name: str | Initializer | None, activation: str | Activation) -> Initializer:
    """The kernel initialiser of that name (see `INITIALIZERS`); a function passes unchanged.

    None suits the activation: He for the ReLU family, LeCun for SELU, Glorot otherwise
    (He et al., 2015; Klambauer et al., 2017; Glorot & Bengio, 2010).

    Raises:
        ValueError: an unknown name.
    """
    if callable(name):
        return name
    if name is None:
        known = activation if isinstance(activation, str) else getattr(activation, "__name__", "")
        name = _KERNEL_INIT.get(known, "glorot_uniform")
    if name not in INITIALIZERS:
        raise ValueError(f"kernel_init is a function or one of {INITIALIZERS}; got {name!r}.")
    return getattr(jax.nn.initializers, name)()


def check_names(
    hidden: str | Activation,
    latent: str | Activation,
    output: str | Activation,
    kernel_init: str | Initializer | None,
) -> None:
    """Raises `ValueError` unless a net's activations and its initialiser are known."""
    activation(hidden), activation(latent), activation(output), initializer(kernel_init, hidden)
