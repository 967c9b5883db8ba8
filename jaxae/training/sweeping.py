"""Sweeps: one program that trains many, within a device, over devices and over processes."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.training.memory import footprint, free_bytes, nbytes
from jaxae.training.points import num_members

SHARE = 0.8
"""Of the free memory, what a sweep takes at most by its own prediction."""
CACHED = 2**21
"""On a CPU members are batched while their arrays stay below so many bytes together."""


class Plan(NamedTuple):
    """How the members of a sweep are laid out; see `plan`.

    Attributes:
        members: in all, on this process.
        devices: over which they are divided evenly.
        chunks: that follow each other on a device.
        chunk: members of a chunk, which are trained at once.
        bytes: predicted for each device, its arguments and results included, data left out.
    """

    members: int
    devices: tuple[jax.Device, ...]
    chunks: int
    chunk: int
    bytes: int

    @property
    def padded(self) -> int:
        """Members with those that fill up the last chunks, and are dropped."""
        return len(self.devices) * self.chunks * self.chunk


def sweep(
    train: Callable[..., Any],
    data: Any,
    *args: Any,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> Any:
    """Maps `train(data, *args)` over the leading axis of all arrays in `args`, as one program.

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
        args = jax.tree.map(lambda a: _laid_out(a, layout), args)
        out = jax.tree.map(lambda a: _joined(a, layout), compiled[on](replicate(data, on), args))
        return out if mine is None else _gathered(out, members)

    return call


def plan(
    train: Callable[..., Any],
    data: Any,
    *args: Any,
    chunk: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_limit: int | None = None,
) -> Plan:
    """How `sweep` would lay out these members, told from shapes; nothing is compiled or run.

    >>> plan(lambda data, a: data + a, 1.0, np.zeros(10), chunk=4, devices=jax.devices()[:1])[2:4]
    (3, 4)

    Raises:
        ValueError: as `sweep`.
    """
    if chunk is not None and (not isinstance(chunk, Integral) or chunk < 1):
        raise ValueError(f"chunk is a positive number of members; got {chunk!r}.")
    if devices is not None and not len(devices):
        raise ValueError("devices has none; give at least one, or None for all of this process.")
    members = num_members(args)
    args = jax.tree.map(jnp.asarray, args)
    on = tuple(jax.local_devices() if devices is None else devices)[:members]
    each = -(-members // len(on))
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), args)
    kept, work = footprint(train, data, *one)
    if memory_limit is None:
        memory_limit = int(SHARE * min(free_bytes(device) for device in on)) - nbytes(data)
    most = (memory_limit - each * kept) // max(1, work)
    cached = CACHED // max(1, work) if on[0].platform == "cpu" else each
    least = 1 if chunk is None else min(chunk, each)
    if most < least:
        fit = (memory_limit - least * work) // max(1, kept)
        if fit < least:  # not even one chunk
            fit = memory_limit // max(1, kept + work)
        raise ValueError(
            f"{members} members on {len(on)} device(s) need about {_mib(each * kept)} MiB on each "
            f"({_mib(kept)} MiB a member), and {_mib(least * work)} MiB to train {least} at once; "
            f"{_mib(memory_limit)} MiB are free. So at most {max(0, fit) * len(on)} members fit"
            + ("; try a smaller chunk." if least > 1 else ".")
        )
    wanted = min(each, most, max(1, cached) if chunk is None else chunk)
    # of the sizes that are not much smaller the one that leaves the fewest places to fill up
    even = min(range(wanted, wanted // 2, -1), key=lambda size: -(-each // size) * size)
    return Plan(members, on, -(-each // even), even, each * kept + even * work)


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
    return jax.device_put(data, _sharding(devices))


def _sharding(devices: Sequence[jax.Device], *axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(devices), ("members",)), PartitionSpec(*axes))


def _laid_out(a: Any, layout: Plan) -> Any:
    """`(members, ...)` as `(devices, chunks, chunk, ...)`, the last member filling up."""
    shape = (len(layout.devices), layout.chunks, layout.chunk)
    if layout.padded != layout.members:
        a = _on_host(lambda a: a[np.minimum(np.arange(layout.padded), layout.members - 1)], a)
    # pmap itself does not move what an earlier one left elsewhere
    return jax.device_put(a.reshape(*shape, *a.shape[1:]), _sharding(layout.devices, "members"))


def _joined(a: Any, layout: Plan) -> Any:
    a = a.reshape(layout.padded, *a.shape[3:])
    even = layout.padded == layout.members
    return a if even else _on_host(lambda a: a[: layout.members], a)


def _on_host(function: Callable[[np.ndarray], np.ndarray], a: Any) -> Any:
    """What `function` makes of an array, through the host: devices need not wait for each other."""
    if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jnp.asarray(function(np.asarray(a)))
    bits = function(np.asarray(jax.random.key_data(a)))
    return jax.random.wrap_key_data(jnp.asarray(bits), impl=jax.random.key_impl(a))


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

    def gathered(a: Any) -> Any:
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            bits = gathered(jax.random.key_data(a))
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(a))
        # the parts lie on this process's devices: through the host, then from each to all
        return jnp.asarray(process_allgather(np.asarray(a), tiled=True)[:members])

    return jax.tree.map(gathered, tree)


def _mib(size: float) -> str:
    return f"{size / 2**20:,.2f}"
