"""What modules carry from step to step, and what they report of a step."""

from collections.abc import Callable
from typing import Any, TypeAlias

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxae.base import Array, Key


def carried(
    module: nn.Module,
    name: str,
    shape: tuple[int, ...] = (),
    start: Callable[[Key, tuple[int, ...]], Array] | None = None,
) -> nn.Variable:
    """A float32 variable of the collection "carried", which starts at zero or at random."""
    if start is None:
        return module.variable("carried", name, lambda: jnp.zeros(shape, jnp.float32))
    first = start
    return module.variable("carried", name, lambda: first(module.make_rng("params"), shape))


def carry(module: nn.Module, variable: nn.Variable, update: Callable[[Array], Array]) -> None:
    """Lets the next step see `update(value)`; nothing changes at initialisation and in use."""
    if module.is_mutable_collection("carried") and not module.is_initializing():
        variable.value = update(variable.value).astype(variable.value.dtype)


def report(module: nn.Module, name: str, value: Array) -> None:
    """Adds a scalar to the metrics of the step."""
    module.sow("metrics", name, value, reduce_fn=lambda _, new: new, init_fn=lambda: 0)


Scheduled: TypeAlias = chex.Numeric | Callable[[Any], Any]
"""A number, which may be traced, or a function of the number of steps so far."""


def scheduled(module: nn.Module, name: str, value: Scheduled) -> Any:
    """`value` itself or, of a schedule, what it gives for the steps so far, which is reported.

    A schedule is a function of a number of steps, such as `optax.linear_schedule` makes.
    """
    if not callable(value):
        return value
    steps = carried(module, f"{name}_steps")
    now = jnp.asarray(value(steps.value), jnp.float32)
    carry(module, steps, lambda n: n + 1.0)
    report(module, name, now)
    return now


def running_mean(
    module: nn.Module, name: str, value: Array, decay: chex.Numeric, *, update: bool = True
) -> Array:
    """The mean of `value` over the steps so far, later an exponential one; zero before the first.

    A step counts 1/n at the n-th and no less than 1 - decay, so that the start has no bias.
    """
    mean = carried(module, name, value.shape)
    steps = carried(module, f"{name}_steps")
    if not update:
        return mean.value
    weight = jnp.maximum(1.0 / (steps.value + 1.0), 1.0 - decay)
    new = mean.value + weight * (value - mean.value)
    carry(module, mean, lambda _: new)
    carry(module, steps, lambda n: n + 1.0)
    return new
