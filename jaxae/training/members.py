"""The members of a sweep as one state, which a run trains epoch by epoch."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import jax
import numpy as np

from jaxae.base import Autoencoder, Batch, Key, Learner, Metrics, Params, num_examples
from jaxae.training.fitting import Advance, fit, start
from jaxae.training.points import Points, num_members
from jaxae.training.sweeping import replicate, swept

Member = Callable[[dict[str, Any]], tuple[Autoencoder, Learner]]
"""`point -> (model, learner)`, where a point has one traced number for each name."""


def over_members(
    member: Member,
    data: Batch,
    points: Points,
    keys: Key,
    *,
    batch_size: int,
    evaluate: Callable[[Autoencoder], Callable[[Params, Batch], Metrics]] | None = None,
    validation: Batch | None = None,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> tuple[Any, Advance]:
    """The initial state of a sweep, and the `advance` by which `run` trains it.

    Every array of the state has a row for each member, as every metric has; each equals
    that of a run of its own. `sweeping.take(result.best, i)` has the parameters of one.

    Args:
        member: `point -> (model, learner)`; builds them of numbers that are traced.
        data: what all are trained on.
        points: of `points.grid` or `points.sample`.
        keys: `(members,)`, the randomness of each; equal seeds may have equal keys.
        batch_size: examples in a step.
        evaluate: `model -> ((params, batch) -> metrics)`, after each epoch.
        validation: the batch of evaluate.
        chunk: as in `sweep`.
        devices: as in `sweep`.
        memory_limit: as in `sweep`.

    >>> import jaxae, optax
    >>> def member(point):
    ...     model = jaxae.denoising(8, 3, noise_level=point["noise_level"])
    ...     return model, jaxae.gradient(model.loss, optax.adam(1e-2))
    >>> data = {"x": jax.random.normal(jax.random.key(0), (32, 8))}
    >>> points = jaxae.grid(noise_level=[0.0, 0.2, 0.4])
    >>> keys = jax.random.split(jax.random.key(1), 3)
    >>> state, advance = over_members(member, data, points, keys, batch_size=16)
    >>> state, metrics = advance(state, 0)
    >>> metrics["loss"].shape
    (3,)

    Raises:
        ValueError: as `sweep` and `fit` do, before anything is compiled; and when one of
            evaluate and validation is missing.
    """
    if (evaluate is None) != (validation is None):
        raise ValueError("evaluate and validation belong together: give both, or neither.")
    num = num_examples(data)
    if not isinstance(batch_size, Integral) or not 0 < batch_size <= num:
        raise ValueError(
            f"batch_size is a positive integer of at most the {num} examples; got {batch_size!r}."
        )
    members = num_members((points, keys))
    how: Any = {"chunk": chunk, "devices": devices, "memory_limit": memory_limit}

    def begin(data: Batch, key: Key, point: dict[str, Any]) -> tuple[Any, Key]:
        return start(*member(point), data, key)

    def one_epoch(shared: Any, key: Key, point: dict[str, Any], state: Any) -> tuple[Any, Metrics]:
        data, validation, epoch = shared
        model, learner = member(point)

        def judge(params: Params) -> Metrics:
            return evaluate(model)(params, validation) if evaluate else {}

        state, history = fit(
            learner,
            state,
            data,
            key,
            epochs=1,
            batch_size=batch_size,
            evaluate=judge,
            first_epoch=epoch,
        )
        return state, jax.tree.map(lambda a: a[0], history)

    state, fit_keys = swept(begin, **how)(dict(data), keys, points)
    step = swept(one_epoch, **how)
    on = tuple(jax.local_devices() if devices is None else devices)[:members]
    shared = replicate((dict(data), None if validation is None else dict(validation)), on)

    def advance(state: Any, epoch: int) -> tuple[Any, Metrics]:
        return step((*shared, np.int32(epoch)), fit_keys, points, state)

    return state, advance
