"""The training loop, made of `Learner.step` and nothing else."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Key, Learner, Metrics, Params, num_examples

Advance = Callable[[Any, int], tuple[Any, Metrics]]
"""`(state, epoch) -> (state, metrics)`: one epoch, the one of that number from 0."""


def start(model: Autoencoder, learner: Learner, data: Batch, key: Key) -> tuple[Any, Key]:
    """The initial state of a training, and the key for `fit`.

    >>> import jaxae, optax
    >>> model = jaxae.undercomplete(8, 3)
    >>> learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    >>> state, key = start(model, learner, {"x": jnp.ones((1, 8))}, jax.random.key(0))
    """
    init_key, state_key, fit_key = jax.random.split(key, 3)
    return learner.init(model.init(init_key, data), state_key), fit_key


def fit(
    learner: Learner,
    state: Any,
    data: Batch,
    key: Key,
    *,
    epochs: int,
    batch_size: int,
    evaluate: Callable[[Params], Metrics] | None = None,
    first_epoch: chex.Numeric = 0,
) -> tuple[Any, Metrics]:
    """Trains for `epochs` passes over `data`, each in a fresh order.

    A pure function: jit it, vmap it over keys or hyperparameters. Only indices are
    shuffled, never the data. The randomness of an epoch is that of `key` and the epoch's
    number alone, so that 20 epochs equal 10 and then 10 more from `first_epoch=10`. What
    does not fill a last batch is left out of that epoch. A training that diverges, so that
    after an epoch its loss or a parameter is no finite number, stays as it was before that
    epoch, and its metrics are NaN from then on: in a sweep the others go on.

    Args:
        learner: what makes one step.
        state: of `learner.init`, or of an earlier fit.
        data: arrays with examples along the first axis.
        key: the randomness of order, corruptions and codes.
        epochs: the number of passes.
        batch_size: examples in a step.
        evaluate: `params -> metrics`, after every epoch; added to the epoch's metrics.
        first_epoch: how many epochs came before; may be traced.

    Returns:
        The last state, and metrics of shape `(epochs,)`: means over the epoch's steps,
        and what `evaluate` returned.

    >>> import jaxae, optax
    >>> model = jaxae.undercomplete(8, 3)
    >>> data = {"x": jax.random.normal(jax.random.key(0), (32, 8))}
    >>> learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    >>> state, key = start(model, learner, data, jax.random.key(1))
    >>> state, history = fit(learner, state, data, key, epochs=5, batch_size=8)
    >>> history["loss"].shape
    (5,)

    Raises:
        ValueError: epochs or batch_size are no positive integers, batch_size exceeds the
            number of examples, or the arrays differ in length.
    """
    num = num_examples(data)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size, num)
    steps = num // batch_size
    data = jax.tree.map(jnp.asarray, dict(data))

    def one_epoch(now: tuple[Any, Array], epoch: Array) -> tuple[Any, Metrics]:
        before, going = now
        order_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
        # one sort; jax.random.permutation takes two, against ties that cannot matter here
        order = jnp.argsort(jax.random.bits(order_key, (num,)))[: steps * batch_size]

        def one_step(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, Metrics]:
            step, index = inputs
            batch = {name: _rows(a, index) for name, a in data.items()}
            return learner.step(state, jax.random.fold_in(step_key, step), batch)

        inputs = jnp.arange(steps), order.reshape(steps, batch_size)
        after, metrics = jax.lax.scan(one_step, before, inputs)
        metrics = jax.tree.map(lambda a: jnp.mean(a, axis=0), metrics)
        going &= jnp.isfinite(metrics.get("loss", 0.0)) & all_finite(after.params)
        state = jax.tree.map(partial(jnp.where, going), after, before)
        metrics = {**metrics, **(evaluate(state.params) if evaluate else {})}
        return (state, going), jax.tree.map(lambda a: jnp.where(going, a, jnp.nan), metrics)

    (state, _), history = jax.lax.scan(
        one_epoch, (state, jnp.array(True)), first_epoch + jnp.arange(epochs)
    )
    return state, history


def stream(
    learner: Learner, state: Any, key: Key, batches: Iterable[Batch], *, first_step: int = 0
) -> Iterator[tuple[Any, Metrics]]:
    """Yields `(state, metrics)` after each batch, for data that does not fit or never ends.

    The step is compiled once for each shape of batch. Its randomness is that of `key`
    and the step's number, counted from `first_step`.

    >>> import jaxae, optax
    >>> model = jaxae.undercomplete(8, 3)
    >>> batches = [{"x": np.ones((4, 8), np.float32)}] * 3
    >>> learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    >>> state = learner.init(model.init(jax.random.key(1), batches[0]), jax.random.key(2))
    >>> for state, metrics in stream(learner, state, jax.random.key(3), batches):
    ...     loss = metrics["loss"]
    """
    step = jax.jit(learner.step)
    for i, batch in enumerate(batches, first_step):
        num_examples(batch)
        state, metrics = step(state, jax.random.fold_in(key, i), dict(batch))
        yield state, metrics


def over_arrays(
    learner: Learner,
    data: Batch,
    key: Key,
    *,
    batch_size: int,
    evaluate: Callable[[Params, Batch], Metrics] | None = None,
    validation: Batch | None = None,
) -> Advance:
    """A run's `advance` by compiled `fit`, with the data on the device.

    `evaluate(params, validation)` is compiled with it and called after each epoch.

    Raises:
        ValueError: as `fit` does, and when one of evaluate and validation is missing.
    """
    if (evaluate is None) != (validation is None):
        raise ValueError("evaluate and validation belong together: give both, or neither.")
    check_count("batch_size", batch_size, num_examples(data))

    @jax.jit
    def one_epoch(
        state: Any, data: Batch, validation: Batch | None, epoch: Array
    ) -> tuple[Any, Metrics]:
        def judge(params: Params) -> Metrics:
            return evaluate(params, validation) if evaluate and validation else {}

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

    data, validation = to_device(data), None if validation is None else to_device(validation)
    return lambda state, epoch: one_epoch(state, data, validation, np.int32(epoch))


def over_batches(
    learner: Learner,
    batches: Callable[[int], Iterable[Batch]],
    key: Key,
    *,
    evaluate: Callable[[Params], Metrics] | None = None,
) -> Advance:
    """A run's `advance` by `stream`: `batches(epoch)` gives an epoch's batches in turn.

    Metrics are means over the epoch's steps, and what `evaluate(params)` returns after it.
    """

    def advance(state: Any, epoch: int) -> tuple[Any, Metrics]:
        epoch_key = jax.random.fold_in(key, epoch)
        sums, steps = None, 0
        for after in stream(learner, state, epoch_key, batches(epoch)):
            state, metrics = after
            sums = metrics if sums is None else jax.tree.map(jnp.add, sums, metrics)
            steps += 1
        if sums is None:
            raise ValueError(f"batches({epoch}) gave no batch; an epoch needs at least one.")
        means = {name: total / steps for name, total in sums.items()}
        return state, {**means, **(evaluate(state.params) if evaluate else {})}

    return advance


def all_finite(tree: Any, ndim: int = 0) -> Array:
    """Whether all floats of a tree are finite numbers, for each index of the first `ndim` axes.

    >>> all_finite({"w": jnp.array([1.0, jnp.nan])}, 1).tolist()
    [True, False]
    """
    floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    each = [jnp.all(jnp.isfinite(a), axis=tuple(range(ndim, a.ndim))) for a in floats]
    return reduce(jnp.logical_and, each, jnp.array(True))


def to_device(data: Batch) -> Batch:
    """The arrays of `data` on the default device; those of JAX stay where they are.

    On a CPU an aligned array, as `load` and `split` give, is used where it lies: do not
    change it afterwards.
    """
    return {n: a if isinstance(a, jax.Array) else jax.device_put(a) for n, a in data.items()}


def _rows(a: Array, index: Array) -> Array:
    """`a[index]`, gathered from a matrix, which XLA does many times faster than from images."""
    return a.reshape(a.shape[0], -1)[index].reshape(index.shape[0], *a.shape[1:])


def check_count(name: str, value: int, most: float = np.inf) -> None:
    """Raises `ValueError` unless value is an integer from 1 to the number of examples `most`."""
    if not isinstance(value, int | np.integer) or not 0 < value <= most:
        limit = "" if most == np.inf else f" of at most the {most} examples"
        raise ValueError(f"{name} is a positive integer{limit}; got {value!r}.")
