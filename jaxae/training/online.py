"""Learning from a stream that never ends, one batch or one example at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Batch, Key, Learner, Metrics, Params, num_examples


class OnlineState(NamedTuple):
    """A learner's state, and how many updates it has had.

    Attributes:
        state: of `Learner.init`, or of a training before.
        updates: a scalar, int32.
    """

    state: Any
    updates: Array

    @property
    def params(self) -> Params:
        """What is learned."""
        return self.state.params


class Update(NamedTuple):
    """The two ways to learn from what comes in; called itself, it takes a batch.

    Attributes:
        batch: `(state, key, batch) -> (state, metrics)`.
        one: `(state, key, example) -> (state, metrics)`, of arrays without the batch's axis.
    """

    batch: Callable[[Any, Key, Batch], tuple[OnlineState, Metrics]]
    one: Callable[[Any, Key, Batch], tuple[OnlineState, Metrics]]

    def __call__(self, state: Any, key: Key, batch: Batch) -> tuple[OnlineState, Metrics]:
        """The same as `batch`."""
        return self.batch(state, key, batch)


def partial_fit(learner: Learner) -> Update:
    """Updates by what a stream brings, one batch or one example at a time.

    Each update is one `learner.step`, compiled once for each shape. Its randomness is that of
    `key`, the same at each call, and the number of updates so far: what comes out is that of
    `stream` on the same batches, bit for bit.

    The state is donated: its memory becomes that of the next state, and the one given, with the
    parameters it was made of, cannot be read any more. Keep `jax.tree.map(jnp.copy, state)` of
    what you need.

    Args:
        learner: such as `gradient(model.loss, optax.sgd(0.01))`.

    Returns:
        `update`: `update(state, key, batch)` takes a batch, `update.one(state, key, example)`
        one example without the batch's axis. `state` is the learner's own, from which updates
        are counted, or the `OnlineState` that an update returned; both have `.params`.

    Raises:
        ValueError: at an update, a batch without x, without rows or of arrays of differing
            length; an x that is a single number, for `one`.

    >>> import jaxae, optax
    >>> model = jaxae.undercomplete(8, 3)
    >>> learner = jaxae.gradient(model.loss, optax.sgd(0.01))
    >>> state, key = jaxae.start(model, learner, {"x": jnp.ones((1, 8))}, jax.random.key(0))
    >>> update = partial_fit(learner)
    >>> for x in np.random.default_rng(0).normal(size=(5, 8)):
    ...     state, metrics = update.one(state, key, {"x": x})
    >>> state, metrics = update(state, key, {"x": np.ones((16, 8))})
    >>> int(state.updates)
    6
    """

    def step(now: OnlineState, key: Key, batch: Batch) -> tuple[OnlineState, Metrics]:
        key = jax.random.fold_in(key, now.updates)
        state, metrics = learner.step(now.state, key, batch)
        return OnlineState(state, now.updates + 1), metrics

    def single(now: OnlineState, key: Key, example: Batch) -> tuple[OnlineState, Metrics]:
        return step(now, key, {name: jnp.expand_dims(a, 0) for name, a in example.items()})

    many, one = jax.jit(step, donate_argnums=0), jax.jit(single, donate_argnums=0)

    def update(state: Any, key: Key, batch: Batch) -> tuple[OnlineState, Metrics]:
        num_examples(batch)
        return many(_counted(state), key, dict(batch))

    def update_one(state: Any, key: Key, example: Batch) -> tuple[OnlineState, Metrics]:
        if "x" not in example or not np.ndim(example["x"]):
            raise ValueError(
                'An example has "x", an array of the shape of one row; got '
                f"{ {name: np.shape(array) for name, array in example.items()} }."
            )
        return one(_counted(state), key, dict(example))

    return Update(update, update_one)


def _counted(state: Any) -> OnlineState:
    if isinstance(state, OnlineState):
        return state
    return OnlineState(state, jnp.zeros((), jnp.int32))
