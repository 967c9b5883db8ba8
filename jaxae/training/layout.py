"""How the members of a sweep lie on devices, told from shapes, and how arrays get there."""

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
    needs = footprint(train, data, *one)
    kept, work = needs.kept + needs.copied, needs.work
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
    if chunk is None:
        # of the sizes that are not much below the largest the one with fewest places to fill up
        largest = min(each, most, max(1, cached))
        size = min(range(largest, largest // 2, -1), key=lambda size: -(-each // size) * size)
    else:
        size = -(-each // -(-each // least))
    return Plan(members, on, -(-each // size), size, each * kept + size * work)


def laid_out(args: Any, layout: Plan) -> Any:
    """`(members, ...)` as `(devices, chunks, chunk, ...)`, the last member filling up."""
    shape = (len(layout.devices), layout.chunks, layout.chunk)
    if layout.padded == layout.members:
        args = _copy_as(args, shape, 1)
    else:
        index = np.minimum(np.arange(layout.padded), layout.members - 1)
        args = _reshaped(jax.tree.map(lambda a: on_host(lambda a: a[index], a), args), shape, 1)
    # pmap itself does not move what an earlier one left elsewhere
    return jax.device_put(args, sharding(layout.devices, "members"))


def joined(out: Any, layout: Plan) -> Any:
    """`(devices, chunks, chunk, ...)` as `(members, ...)`, in the same memory: `out` is gone."""
    out = _reshaped(out, (layout.padded,), 3)
    if layout.padded == layout.members:
        return out
    leaves, tree = jax.tree.flatten(out)
    del out
    for i, _ in enumerate(leaves):  # one after the other, so that only one is held twice
        leaves[i] = on_host(lambda a: a[: layout.members], leaves[i])
    return jax.tree.unflatten(tree, leaves)


def _in_shape(tree: Any, shape: tuple[int, ...], axes: int) -> Any:
    """The arrays with their first axes in that shape, by one small program for all."""
    return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[axes:]), tree)


_copy_as = jax.jit(_in_shape, static_argnums=(1, 2))
_reshaped = jax.jit(_in_shape, static_argnums=(1, 2), donate_argnums=0)


def on_host(function: Callable[[np.ndarray], np.ndarray], a: Any) -> Any:
    """What `function` makes of an array, through the host: devices need not wait for each other."""
    if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jnp.asarray(function(np.asarray(a)))
    bits = function(np.asarray(jax.random.key_data(a)))
    return jax.random.wrap_key_data(jnp.asarray(bits), impl=jax.random.key_impl(a))


def sharding(devices: Sequence[jax.Device], *axes: str) -> NamedSharding:
    """Over these devices: whole on each, or "members" along the first axis."""
    return NamedSharding(Mesh(np.asarray(devices), ("members",)), PartitionSpec(*axes))


def _mib(size: float) -> str:
    return f"{size / 2**20:,.2f}"
