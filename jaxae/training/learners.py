"""Learners: `(init, step)` pairs, all that a training loop needs to know."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Batch, Key, Learner, Metrics, Params, as_float


class TrainState(NamedTuple):
    """Parameters and what the optimiser remembers of them."""

    params: Params
    opt_state: Any


def descend(
    loss: Callable[..., tuple[Array, Metrics]],
    tx: optax.GradientTransformation,
    state: Any,
    *args: Any,
    frozen: Sequence[str] = (),
) -> tuple[Any, Metrics]:
    """One step of `tx` on `loss(params, *args) -> (loss, metrics)`, the only one there is.

    `state` is a NamedTuple with `params` and `opt_state`; its other fields stay. Optimisers
    that search along a line, as `optax.lbfgs` does, are given the loss to search on. Frozen
    parameters have neither gradient nor optimiser state. Nor has what a model carries along:
    the loss itself says what it shall be next.
    """
    params, kept = _learned(state.params, frozen)

    def of_learned(learned: Params) -> tuple[Array, Metrics]:
        return loss(_joined(learned, kept), *args)

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
    params = _joined(optax.apply_updates(params, updates), kept)
    if "carried" in metrics:
        metrics = dict(metrics)
        params = {**params, "carried": metrics.pop("carried")}
    return state._replace(params=params, opt_state=opt_state), metrics


def gradient(
    loss: Callable[[Params, Key, Batch], tuple[Array, Metrics]],
    tx: optax.GradientTransformation,
    *,
    frozen: Sequence[str] = (),
) -> Learner:
    """Follows the gradient of one loss, by any optax optimiser, L-BFGS on large batches included.

    Its learning rate may be traced: build the optimiser inside the function that is
    mapped or jitted, as `optax.adam(learning_rate)`.

    Args:
        loss: `(params, key, batch) -> (loss, metrics)`.
        tx: the optimiser.
        frozen: paths of what stays as it is, such as "encoder/layer_0", whole subtrees too.

    >>> import jaxae, jax.numpy as jnp
    >>> model = jaxae.undercomplete(8, 3)
    >>> learner = gradient(model.loss, optax.adam(1e-3))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> state = learner.init(model.init(jax.random.key(0), batch), jax.random.key(1))
    >>> state, metrics = learner.step(state, jax.random.key(2), batch)
    >>> sorted(metrics)
    ['distortion', 'loss', 'penalty', 'rate']

    Raises:
        ValueError: at `init`, a frozen path that the parameters lack, or nothing left to learn.
    """

    def init(params: Params, key: Key) -> TrainState:
        del key
        _check_paths(params, frozen)
        return TrainState(params, tx.init(_learned(params, frozen)[0]))

    def step(state: TrainState, key: Key, batch: Batch) -> tuple[TrainState, Metrics]:
        return descend(loss, tx, state, key, batch, frozen=frozen)

    return Learner(init, step)


def binarised(learner: Learner) -> Learner:
    """Trains on entries that are drawn as 0 or 1, anew in each step.

    Each entry of x in [0, 1] is the probability of a 1: dynamic binarisation, under which the
    likelihood of grey pixels is one of binary data (Salakhutdinov & Murray, 2008). Measure on
    what you have drawn once.

    >>> import jaxae
    >>> model = jaxae.vae(64, 8)
    >>> learner = binarised(gradient(model.loss, optax.adam(1e-3)))
    """

    def step(state: Any, key: Key, batch: Batch) -> tuple[Any, Metrics]:
        key, draw_key = jax.random.split(key)
        x = as_float(batch["x"])
        drawn = jax.random.bernoulli(draw_key, x).astype(x.dtype)
        return learner.step(state, key, {**batch, "x": drawn})

    return Learner(learner.init, step)


def restarted(learner: Learner, steps: int) -> Learner:
    """Takes `steps` steps on each batch, each time with a fresh optimiser.

    With L-BFGS on batches of a thousand it is the fine-tuning of Hinton & Salakhutdinov
    (2006), who took three line searches of conjugate gradients on each batch.

    >>> import jaxae
    >>> model = jaxae.undercomplete(8, 3)
    >>> learner = restarted(gradient(model.loss, optax.lbfgs()), 3)

    Raises:
        ValueError: steps is no positive integer.
    """
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"steps is a positive integer; got {steps!r}.")

    def step(state: Any, key: Key, batch: Batch) -> tuple[Any, Metrics]:
        # the same key for all of them, so that a line search meets one function
        state = learner.init(state.params, key)
        state, metrics = jax.lax.scan(
            lambda now, _: learner.step(now, key, batch), state, length=steps
        )
        return state, jax.tree.map(lambda a: a[-1], metrics)

    return Learner(learner.init, step)


def _learned(params: Params, frozen: Sequence[str] = ()) -> tuple[Params, Params]:
    """What an optimiser changes, and the rest: frozen paths and what the model carries along."""
    if not isinstance(params, Mapping):
        return params, {}
    learned, kept = {}, {}
    for name, tree in params.items():
        if name == "carried" or name in frozen:
            kept[name] = tree
            continue
        inner = [path.removeprefix(f"{name}/") for path in frozen if path.startswith(f"{name}/")]
        learned[name], rest = _learned(tree, inner) if inner else (tree, {})
        kept |= {name: rest} if rest else {}
    return learned, kept


def _joined(learned: Params, kept: Params) -> Params:
    """The whole tree of the two parts of `_learned`."""
    if not kept:
        return learned
    both = {name: _joined(tree, kept.get(name, {})) for name, tree in learned.items()}
    return {**{name: tree for name, tree in kept.items() if name not in both}, **both}


def _check_paths(params: Params, frozen: Sequence[str]) -> None:
    if isinstance(frozen, str):
        raise ValueError(f"frozen is a sequence of paths, such as ({frozen!r},); got a string.")
    for path in frozen:
        tree = params
        for name in path.split("/"):
            if not isinstance(tree, Mapping) or name not in tree:
                found = sorted(tree) if isinstance(tree, Mapping) else "no further parts"
                raise ValueError(f"There is no {path!r} to freeze: at {name!r} there is {found}.")
            tree = tree[name]
    if frozen and not jax.tree.leaves(_learned(params, frozen)[0]):
        raise ValueError(f"With {tuple(frozen)} frozen nothing is left to learn.")


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
