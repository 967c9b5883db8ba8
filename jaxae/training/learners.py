"""Learners: `(init, step)` pairs, all that a training loop needs to know."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Batch, Key, Learner, Metrics, Params


class TrainState(NamedTuple):
    """Parameters and what the optimiser remembers of them."""

    params: Params
    opt_state: Any


def descend(
    loss: Callable[..., tuple[Array, Metrics]],
    tx: optax.GradientTransformation,
    state: Any,
    *args: Any,
) -> tuple[Any, Metrics]:
    """One step of `tx` on `loss(params, *args) -> (loss, metrics)`, the only one there is.

    `state` is a NamedTuple with `params` and `opt_state`; its other fields stay. Optimisers
    that search along a line, as `optax.lbfgs` does, are given the loss to search on. What a
    model carries along is no optimiser's: the loss itself says what it shall be next.
    """
    params, carried = _learned(state.params)

    def of_learned(learned: Params) -> tuple[Array, Metrics]:
        return loss({**learned, "carried": carried} if carried else learned, *args)

    (value, metrics), grads = jax.value_and_grad(of_learned, has_aux=True)(params)
    grads = _all_or_none(grads)
    updates, opt_state = optax.with_extra_args_support(tx).update(
        grads,
        state.opt_state,
        params,
        value=value,
        grad=grads,
        value_fn=lambda params: of_learned(params)[0],
    )
    params = optax.apply_updates(params, updates)
    if carried:
        metrics = dict(metrics)
        params = {**params, "carried": metrics.pop("carried")}
    return state._replace(params=params, opt_state=opt_state), metrics


def gradient(
    loss: Callable[[Params, Key, Batch], tuple[Array, Metrics]], tx: optax.GradientTransformation
) -> Learner:
    """Follows the gradient of one loss, by any optax optimiser, L-BFGS on large batches included.

    Its learning rate may be traced: build the optimiser inside the function that is
    mapped or jitted, as `optax.adam(learning_rate)`.

    >>> import jaxae, jax.numpy as jnp
    >>> model = jaxae.undercomplete(8, 3)
    >>> learner = gradient(model.loss, optax.adam(1e-3))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> state = learner.init(model.init(jax.random.key(0), batch), jax.random.key(1))
    >>> state, metrics = learner.step(state, jax.random.key(2), batch)
    >>> sorted(metrics)
    ['distortion', 'loss', 'penalty', 'rate']
    """

    def init(params: Params, key: Key) -> TrainState:
        del key
        return TrainState(params, tx.init(_learned(params)[0]))

    def step(state: TrainState, key: Key, batch: Batch) -> tuple[TrainState, Metrics]:
        return descend(loss, tx, state, key, batch)

    return Learner(init, step)


def _learned(params: Params) -> tuple[Params, Params]:
    """What an optimiser changes, and what the model carries along."""
    if not isinstance(params, Mapping) or "carried" not in params:
        return params, None
    return {k: v for k, v in params.items() if k != "carried"}, params["carried"]


def _all_or_none(grads: Params) -> Params:
    """`grads` unchanged, but none is ready before all are.

    Parameters are then overwritten only after the last product that reads them, and XLA
    updates them in place where it would copy the kernels of each step (4 % of a small
    one on a CPU). It keeps this dependence, as it cannot see that the condition never
    holds. JAX 0.10 removes `jax.lax.optimization_barrier` before copies are decided, JAX
    0.12 does not: once 0.10 is no longer supported, that takes the place of this function.
    """
    leaves = [leaf.reshape(-1)[:1] for leaf in jax.tree.leaves(grads)]
    probe = sum((jnp.sum(leaf) for leaf in leaves), jnp.zeros(()))
    never = (probe == jnp.inf) & (probe == -jnp.inf)
    return jax.tree.map(lambda g: jnp.where(never, 0, g), grads)
