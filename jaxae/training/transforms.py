"""Optax transformations that the optimisers of the literature need beside optax's own."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Params, check_range

ATOMS = "decoder/layer_0/kernel"


def unit_norm(
    tx: optax.GradientTransformation, path: str = ATOMS, axis: int = -1
) -> optax.GradientTransformationExtraArgs:
    """Keeps the vectors of one kernel at length 1 (Bricken et al., 2023).

    The part of the gradient along each vector, which could only change its length, is taken
    out before `tx` sees it, and each step ends on the unit sphere.

    Args:
        tx: makes the steps.
        path: of the kernel in the tree of parameters; by default a dictionary's atoms.
        axis: along which its vectors lie.

    >>> import jaxae
    >>> model = jaxae.top_k(16, 64, k=4)
    >>> learner = jaxae.gradient(model.loss, unit_norm(optax.adam(1e-3)))

    Raises:
        ValueError: at `init`, parameters without that path.
    """
    tx = optax.with_extra_args_support(tx)

    def at_path(function: Any, tree: Params, *rest: Params) -> Params:
        def apply(where: Any, leaf: Array, *others: Array) -> Array:
            here = jax.tree_util.keystr(where, simple=True, separator="/") == path
            return function(leaf, *others) if here else leaf

        return jax.tree_util.tree_map_with_path(apply, tree, *rest)

    def init(params: Params) -> Any:
        paths = [
            jax.tree_util.keystr(where, simple=True, separator="/")
            for where, _ in jax.tree_util.tree_leaves_with_path(params)
        ]
        if path not in paths:
            raise ValueError(f"There is no parameter {path!r}; there are {paths}.")
        return tx.init(params)

    def update(grads: Params, state: Any, params: Params | None = None, **extra: Any) -> Any:
        if params is None:
            raise ValueError("unit_norm needs the parameters: update(grads, state, params).")
        grads = at_path(
            lambda g, v: g - jnp.sum(g * _unit(v, axis), axis, keepdims=True) * _unit(v, axis),
            grads,
            params,
        )
        updates, state = tx.update(grads, state, params, **extra)
        return at_path(lambda u, v: _unit(v + u, axis) - v, updates, params), state

    return optax.GradientTransformationExtraArgs(init, update)


def momentum_sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: optax.ScalarOrSchedule = 0.9,
    *,
    weight_cost: chex.Numeric = 0.0,
) -> optax.GradientTransformation:
    """Gradient descent with momentum and a cost on kernels, as RBMs are trained (Hinton, 2010).

        v <- momentum · v + gradient + weight_cost · kernel;  step = -learning_rate · v

    where biases have no cost. The authors of the 2006 deep autoencoder took learning rates of
    0.1 (0.001 for Gaussian hidden units), a cost of 2e-4, and a momentum of 0.5 in the first
    five epochs and 0.9 later.

    Args:
        learning_rate: a number, which may be traced, or an optax schedule.
        momentum: in [0, 1), a number or a schedule such as
            `optax.piecewise_constant_schedule(0.5, {3000: 1.8})`.
        weight_cost: of half the squared norm of kernels.

    >>> tx = momentum_sgd(0.1, optax.piecewise_constant_schedule(0.5, {3000: 1.8}))

    Raises:
        ValueError: a concrete momentum outside [0, 1), or weight_cost below 0.
    """
    check_range("weight_cost", weight_cost, 0.0)
    if not callable(momentum):
        check_range("momentum", momentum, 0.0, 1.0, open_high=True)

    def kernels(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == "kernel", params
        )

    trace = optax.inject_hyperparams(optax.trace, static_args=("nesterov", "accumulator_dtype"))
    return optax.chain(
        optax.add_decayed_weights(weight_cost, mask=kernels),
        trace(decay=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def _unit(v: Array, axis: int) -> Array:
    return v / jnp.maximum(jnp.linalg.norm(v, axis=axis, keepdims=True), jnp.finfo(v.dtype).tiny)
