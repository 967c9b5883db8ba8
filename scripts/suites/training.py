"""The training that the quality rows share: `fit` as one compiled program for each seed."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import optax

import jaxae
from jaxae.base import Autoencoder, Batch, Learner, Params


def train(
    model: Autoencoder,
    tx: optax.GradientTransformation,
    data: Batch,
    *,
    epochs: int,
    batch_size: int,
    seeds: Iterable[int],
    around: Callable[[Learner], Learner] = lambda learner: learner,
) -> list[Params]:
    """The parameters after training from each seed; compiled once for all of them.

    What `around` makes of the learner is what trains.
    """
    learner = around(jaxae.gradient(model.loss, tx))

    @jax.jit
    def one(key: jax.Array, data: Batch) -> Params:
        init_key, state_key, fit_key = jax.random.split(key, 3)
        state = learner.init(model.init(init_key, data), state_key)
        fit = partial(jaxae.fit, learner, epochs=epochs, batch_size=batch_size)
        return fit(state, data, fit_key)[0].params

    data = {"x": jax.numpy.asarray(data["x"])}
    return [one(jax.random.key(seed), data) for seed in seeds]


def choose(candidates: Iterable[Any], validate: Callable[[Any], float]) -> Any:
    """The candidate with the lowest validation error."""
    return min(candidates, key=validate)
