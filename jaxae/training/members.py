"""The members of a sweep as one state, which a run trains epoch by epoch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.base import Autoencoder, Batch, Key, Learner, Metrics, Params, num_examples
from jaxae.training.fitting import Advance, check_count, fit, start
from jaxae.training.points import Points, num_members
from jaxae.training.sweeping import replicate, swept


class Training(NamedTuple):
    """What one member does: the arguments of `fit`.

    Attributes:
        learner: what makes one step.
        state: at first.
        key: the randomness of order, corruptions and codes.
        data: what it is trained on.
        evaluate: `params -> metrics`, after each epoch; None for nothing.
    """

    learner: Learner
    state: Any
    key: Key
    data: Batch
    evaluate: Callable[[Params], Metrics] | None = None


Member = Callable[[dict[str, Any]], tuple[Autoencoder, Learner]]
"""`point -> (model, learner)`, where a point has one traced number for each name."""


def over_trainings(
    training: Callable[..., Training],
    shared: Any,
    *args: Any,
    batch_size: int,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> tuple[Any, Advance]:
    """The initial state of many trainings of any kind, and the `advance` that `run` wants.

    The members may differ in all that is traced, their data and first parameters included:
    what a layer of a swept stack sees are the codes of its own member. `over_members` is this
    for models that start at random on data that all share.

    Args:
        training: `(shared, *args of one member) -> Training`, pure; called in each epoch,
            where XLA leaves out what that epoch does not need.
        shared: arrays that all members see.
        *args: trees of arrays with a row for each member.
        batch_size: examples in a step.
        chunk: as in `sweep`.
        devices: as in `sweep`.
        memory_limit: as in `sweep`.

    Raises:
        ValueError: as `sweep` and `fit` do, before anything is compiled.
    """
    how: Any = {"chunk": chunk, "devices": devices, "memory_limit": memory_limit}

    def one_epoch(inputs: Any, state: Any, *args: Any) -> tuple[Any, Metrics]:
        shared, epoch = inputs
        now = training(shared, *args)
        state, history = fit(
            now.learner,
            state,
            now.data,
            now.key,
            epochs=1,
            batch_size=batch_size,
            evaluate=now.evaluate,
            first_epoch=epoch,
        )
        return state, jax.tree.map(lambda a: a[0], history)

    state = swept(lambda shared, *args: training(shared, *args).state, **how)(shared, *args)
    step = swept(one_epoch, **how)
    on = tuple(jax.local_devices() if devices is None else devices)[: num_members(args)]
    shared = replicate(shared, on)  # once, not for each epoch
    return state, lambda state, epoch: step((shared, np.int32(epoch)), state, *args)


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
    that of a run of its own. `take(result.best, i)` has the parameters of one.

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
    check_count("batch_size", batch_size, num_examples(data))

    def training(shared: Any, key: Key, point: dict[str, Any]) -> Training:
        data, validation = shared
        model, learner = member(point)
        state, key = start(model, learner, data, key)
        if evaluate is None:
            return Training(learner, state, key, data)
        judge = evaluate(model)
        return Training(learner, state, key, data, lambda params: judge(params, validation))

    return over_trainings(
        training,
        (dict(data), None if validation is None else dict(validation)),
        keys,
        points,
        batch_size=batch_size,
        chunk=chunk,
        devices=devices,
        memory_limit=memory_limit,
    )
