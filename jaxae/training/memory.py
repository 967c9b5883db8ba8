"""How much memory a computation takes, told from shapes before anything is compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

# what XLA computes where it is used, or only views otherwise
FREE = {"broadcast_in_dim", "reshape", "squeeze", "iota", "expand_dims", "convert_element_type"}


class Footprint(NamedTuple):
    """What a call needs, in bytes.

    Attributes:
        kept: its arguments and results.
        copied: of these what a sweep holds again for a moment: the arguments, as they are given
            and as they lie on devices, and the largest result twice, as it leaves the loop and
            is cut to the members that were asked for.
        work: the most that it holds at once beside its arguments, about.
    """

    kept: int
    copied: int
    work: int


def footprint(function: Callable[..., Any], shared: Any, *args: Any) -> Footprint:
    """The memory of `function(shared, *args)`, without what depends on `shared` alone.

    A program that maps over `args` holds that once. The order is that of the traced program,
    and an array lives until its last use; XLA, which fuses elementwise operations, tends to
    need less.

    Args:
        function: pure; it is traced, neither compiled nor run.
        shared: its first argument, arrays or `jax.ShapeDtypeStruct`s.
        *args: the others, likewise.

    >>> import jax.numpy as jnp
    >>> footprint(lambda shared, a: jnp.sum(jnp.outer(a, a)), 0.0, jnp.ones(100))
    Footprint(kept=404, copied=408, work=40004)
    """
    closed = jax.make_jaxpr(function)(shared, *args)
    own = len(jax.tree.leaves(shared))
    depends = [i >= own for i in range(len(closed.jaxpr.invars))]
    arguments, results = closed.in_avals[own:], closed.out_avals
    copied = nbytes(arguments) + 2 * max((nbytes(a) for a in results), default=0)
    kept = nbytes(arguments) + nbytes(results)
    return Footprint(kept, copied, _peak(closed.jaxpr, depends)[0])


def nbytes(tree: Any) -> int:
    """The bytes of all arrays of a tree, or of what has their shapes."""
    return sum(_bytes(a) for a in jax.tree.leaves(tree))


def free_bytes(device: jax.Device) -> int:
    """The memory that this device has left; of a CPU's, an equal share of the machine's."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    return psutil.virtual_memory().available // jax.local_device_count(device.platform)


def _peak(jaxpr: core.Jaxpr, depends: list[bool]) -> tuple[int, list[bool]]:
    """The peak of a program, and which outputs depend on arguments that do."""
    swept = {v for v, yes in zip(jaxpr.invars, depends, strict=True) if yes}
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if _is_var(v)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if _is_var(v)}
    sizes: dict[Any, int] = {}
    peak = 0
    for i, eqn in enumerate(jaxpr.eqns):
        inputs = [_is_var(v) and v in swept for v in eqn.invars]
        if not any(inputs):
            continue
        inner, outputs = _inside(eqn, inputs)
        for v, yes in zip(eqn.outvars, outputs, strict=True):
            if yes:
                swept.add(v)
                sizes[v] = 0 if eqn.primitive.name in FREE else _bytes(v.aval)
        peak = max(peak, sum(sizes.values()) + inner)
        sizes = {v: size for v, size in sizes.items() if last.get(v, -1) > i}
    return peak, [_is_var(v) and v in swept for v in jaxpr.outvars]


def _inside(eqn: Any, inputs: list[bool]) -> tuple[int, list[bool]]:
    """The most that the programs in an operation hold, and which of its outputs depend."""
    bodies = [b for value in eqn.params.values() for b in _programs(value)]
    peaks = []
    for body in bodies:
        # one argument for each input but in loops and branches, where all may depend
        same = len(body.invars) == len(inputs) and eqn.primitive.name not in ("scan", "while")
        peaks.append(_peak(body, inputs if same else [True] * len(body.invars)))
    whole = len(bodies) == 1 and len(peaks[0][1]) == len(eqn.outvars)
    outputs = peaks[0][1] if whole else [True] * len(eqn.outvars)
    return max((p[0] for p in peaks), default=0), outputs


def _programs(value: Any) -> list[core.Jaxpr]:
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    if isinstance(value, list | tuple):
        return [body for one in value for body in _programs(one)]
    return []


def _is_var(v: Any) -> bool:
    return not isinstance(v, core.Literal)


def _bytes(a: Any) -> int:
    if not hasattr(a, "shape") or not hasattr(a, "dtype"):
        return np.asarray(a).nbytes
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.extended):
        return 8 * int(np.prod(a.shape))
    return int(np.prod(a.shape)) * a.dtype.itemsize
