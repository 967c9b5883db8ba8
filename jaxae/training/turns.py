"""Several learners of one tree of parameters, who take turns."""

from typing import Any, NamedTuple

import jax

from jaxae.base import Batch, Key, Learner, Metrics, Params


class TurnsState(NamedTuple):
    """The parameters, and of each learner all else that its state has."""

    params: Params
    others: tuple[Any, ...]


def alternating(*learners: Learner) -> Learner:
    """Each learner in turn takes a step on the batch, from where the one before it arrived.

    So objectives of unlike size need no weights between them: each has an optimiser of its own,
    and Adam makes all steps of like size. Metrics are those of all; of one name, such as
    "loss", the first learner's.

    Args:
        *learners: of the same parameters, such as `gradient` of the model's loss and of
            `label_loss`; their states are NamedTuples with `params`.

    >>> import jaxae, jax.numpy as jnp, optax
    >>> code = jaxae.codes.Matched(jaxae.priors.Standard(3), one_hot=2)
    >>> model = jaxae.deep(8, 3, code=code)
    >>> few = {"x": jnp.ones((2, 8)), "y": jnp.arange(2)}
    >>> labels = jaxae.label_loss(model, few, 2)
    >>> own = jaxae.gradient(model.loss, optax.adam(1e-3))
    >>> learner = alternating(own, jaxae.gradient(labels, optax.adam(1e-3), frozen=("decoder",)))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> state = learner.init(model.init(jax.random.key(0), batch), jax.random.key(1))
    >>> state, metrics = learner.step(state, jax.random.key(2), batch)
    >>> sorted(metrics)
    ['accuracy', 'distortion', 'label_loss', 'loss', 'penalty', 'rate']

    Raises:
        ValueError: no learner.
    """
    if not learners:
        raise ValueError("alternating needs at least one learner, such as jaxae.gradient(...).")

    def init(params: Params, key: Key) -> TurnsState:
        keys = jax.random.split(key, len(learners))
        states = [each.init(params, k) for each, k in zip(learners, keys, strict=True)]
        return TurnsState(params, tuple(state._replace(params=None) for state in states))

    def step(state: TurnsState, key: Key, batch: Batch) -> tuple[TurnsState, Metrics]:
        keys = jax.random.split(key, len(learners))
        params, others = state.params, []
        metrics: Metrics = {}
        for each, k, other in zip(learners, keys, state.others, strict=True):
            own, found = each.step(other._replace(params=params), k, batch)
            params, metrics = own.params, {**found, **metrics}
            others.append(own._replace(params=None))
        return TurnsState(params, tuple(others)), metrics

    return Learner(init, step)
