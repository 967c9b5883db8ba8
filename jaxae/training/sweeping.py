"""Sweeps: one program that trains many, within a device, over devices and over processes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.training.layout import Plan, joined, laid_out, on_host, plan, sharding
from jaxae.training.points import num_members


def sweep(
    train: Callable[..., Any],
    data: Any,
    *args: Any,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> Any:
    """Maps `train(data, *args)` over the leading axis of all arrays in `args`, as one program.

    Compiles anew for each call; for several calls take `swept`, as one takes `jax.jit`.

    Members are divided over the devices (`jax.pmap`), and on each run in chunks one after
    the other (`jax.lax.map`), the members of a chunk at once (`jax.vmap`). Their number is
    free: what fills up the last chunks is dropped. `train` is compiled once and each member
    gets what a call of its own would get. With several processes each takes its share of the
    members, and all get all results.

    Build model and optimiser inside `train`, so that hyperparameters may be traced.

    Args:
        train: `(data, *args of one member) -> results`, pure; such as
            `train(data, key, learning_rate)`.
        data: what all members share, in memory once on each device.
        *args: trees of arrays with a row for each member, such as keys and `points.grid`.
        chunk: members that are trained at once on a device; by default what its free memory
            holds, on a CPU at most what its cache does.
        devices: of this process; all by default.
        memory_limit: in bytes for each device; by default what is free there.

    Returns:
        The results, each with a row for each member; `take` gives those of one.

    >>> import jaxae, optax
    >>> def train(data, key, noise_level):
    ...     model = jaxae.denoising(8, 3, noise_level=noise_level)
    ...     learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    ...     state, key = jaxae.start(model, learner, data, key)
    ...     return jaxae.fit(learner, state, data, key, epochs=2, batch_size=16)
    >>> data = {"x": jax.random.normal(jax.random.key(0), (32, 8))}
    >>> keys = jax.random.split(jax.random.key(1), 5)
    >>> state, history = sweep(train, data, keys, jnp.linspace(0, 0.5, 5))
    >>> history["loss"].shape, take(state, 3).params["encoder"]["layer_0"]["kernel"].shape
    ((5, 2), (8, 3))

    Raises:
        ValueError: args differ in length, chunk is below 1, or the memory does not hold it:
            then how many members it would.
    """
    return swept(train, chunk=chunk, devices=devices, memory_limit=memory_limit)(data, *args)


def swept(
    train: Callable[..., Any],
    *,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> Callable[..., Any]:
    """The function `(data, *args) -> results` of `sweep`, compiled once for many calls."""

    def program(data: Any, args: Any) -> Any:
        # members of one chunk in a batch; a chunk of one as it is, whose products are faster
        if jax.tree.leaves(args)[0].shape[1] > 1:
            return jax.lax.map(lambda one: jax.vmap(lambda a: train(data, *a))(one), args)
        return jax.lax.map(lambda one: _batched(train(data, *take(one, 0))), args)

    plans: dict[Any, Plan] = {}
    compiled: dict[tuple[jax.Device, ...], Any] = {}

    def call(data: Any, *args: Any) -> Any:
        members = num_members(args)
        mine = _share(members)
        args = jax.tree.map(jnp.asarray, args)
        args = args if mine is None else jax.tree.map(lambda a: a[mine], args)
        shapes = str(jax.tree.map(jax.typeof, (data, args)))
        if shapes not in plans:
            plans[shapes] = plan(
                train, data, *args, chunk=chunk, devices=devices, memory_limit=memory_limit
            )
        layout = plans[shapes]
        on = layout.devices
        if on not in compiled:
            compiled[on] = jax.pmap(program, in_axes=(None, 0), devices=on)
        out = joined(compiled[on](replicate(data, on), laid_out(args, layout)), layout)
        return out if mine is None else _gathered(out, members)

    return call


def take(tree: Any, member: int) -> Any:
    """What belongs to one member: row `member` of every array.

    >>> take({"loss": np.array([[3.0, 2.0], [5.0, 4.0]])}, 1)["loss"].tolist()
    [5.0, 4.0]

    Raises:
        ValueError: there is no such member.
    """
    count = num_members(tree)
    if not 0 <= member < count:
        raise ValueError(f"There are {count} members, from 0 to {count - 1}; got {member}.")
    return jax.tree.map(lambda a: _row(a, member), tree)


def replicate(data: Any, devices: Sequence[jax.Device]) -> Any:
    """The arrays of `data` on each of these devices; what is there already stays."""
    return jax.device_put(data, sharding(devices))


def _row(a: Any, i: int) -> Any:
    """`a[i]`, from the device that has it."""
    if isinstance(a, jax.core.Tracer) or not isinstance(a, jax.Array) or len(a.devices()) == 1:
        return a[i]
    for shard in a.addressable_shards:
        start, stop, _ = shard.index[0].indices(a.shape[0])
        if start <= i < stop:
            return shard.data[i - start]
    raise ValueError(f"Member {i} is on another process.")


def _batched(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a)[None], tree)


def _share(members: int) -> np.ndarray | None:
    """The members of this process, as many as of any other; None where there is one only."""
    count = jax.process_count()
    if count == 1:
        return None
    each = -(-members // count)
    return np.minimum(jax.process_index() * each + np.arange(each), members - 1)


def _gathered(tree: Any, members: int) -> Any:
    from jax.experimental.multihost_utils import process_allgather

    def gathered(a: np.ndarray) -> np.ndarray:
        return process_allgather(a, tiled=True)[:members]

    return jax.tree.map(lambda a: on_host(gathered, a), tree)
