"""Optax transformations that keep parameters where they belong."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Params

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


def _unit(v: Array, axis: int) -> Array:
    return v / jnp.maximum(jnp.linalg.norm(v, axis=axis, keepdims=True), jnp.finfo(v.dtype).tiny)
