"""Recurrent layers over sequences some of whose steps are absent.

What a step takes from x is one product of all steps at once; only what it takes from the state
before is inside the loop. An absent step is skipped: the state passes through it unchanged.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, where_observed
from jaxae.models.networks.activations import Activation, Initializer, activation, initializer

Carry = tuple[Array, ...]
"""What passes from step to step, `(batch, features)` each; the first is the layer's output."""


class Cell(NamedTuple):
    """How a recurrent layer steps.

    Attributes:
        step: `(from_x, from_state, bias, carry, activation) -> carry`, elementwise; the first
            two are `(batch, gates * features)`.
        gates: how many numbers a unit takes from x, and from the state.
        carried: how many arrays a carry has.
        biases: how many numbers a unit adds to what it takes from the state.
        bias: of what a unit takes from x, at the start, one for each gate.
    """

    step: Callable[[Array, Array, Any, Carry, Activation], Carry]
    gates: int
    carried: int
    biases: int
    bias: tuple[float, ...]


def _gru(x: Array, state: Array, bias: Any, carry: Carry, activation: Activation) -> Carry:
    (h,) = carry
    x_reset, x_keep, x_new = jnp.split(x, 3, axis=-1)
    h_reset, h_keep, h_new = jnp.split(state, 3, axis=-1)
    reset, keep = jax.nn.sigmoid(x_reset + h_reset), jax.nn.sigmoid(x_keep + h_keep)
    new = activation(x_new + reset * (h_new + bias))
    return (new + keep * (h - new),)


def _lstm(x: Array, state: Array, bias: Any, carry: Carry, activation: Activation) -> Carry:
    del bias
    _, memory = carry
    write, keep, new, read = jnp.split(x + state, 4, axis=-1)
    memory = jax.nn.sigmoid(keep) * memory + jax.nn.sigmoid(write) * activation(new)
    return jax.nn.sigmoid(read) * activation(memory), memory


CELLS = MappingProxyType(
    {
        "gru": Cell(_gru, 3, 1, 1, (0.0, 0.0, 0.0)),
        "lstm": Cell(_lstm, 4, 2, 0, (0.0, 1.0, 0.0, 0.0)),
    }
)
"""Recurrent cells by name.

- "gru": the gated recurrent unit (Cho et al., 2014), whose reset gate scales what the state
  gives, r ∘ (U h + b), as cuDNN and PyTorch have it.
- "lstm": long short-term memory with a forget gate (Gers et al., 2000), which starts open: its
  bias is 1.
"""


class State(nn.Module):
    """Kernel and bias of what a layer takes from its own state."""

    features: int
    cell: str
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> tuple[Array, Array | None]:
        """The kernel `(features, gates * features)`, each gate's orthogonal, and the bias."""
        cell, n = CELLS[self.cell], self.features

        def gates(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            orthogonal = nn.initializers.orthogonal()
            each = [orthogonal(k, (n, n), dtype) for k in jax.random.split(key, cell.gates)]
            return jnp.concatenate(each, axis=1)

        kernel = self.param("kernel", gates, (n, cell.gates * n), self.param_dtype)
        if not cell.biases:
            return kernel, None
        return kernel, self.param("bias", nn.initializers.zeros, (n,), self.param_dtype)


class Recurrence(nn.Module):
    """One recurrent layer, in one direction.

    Attributes:
        features: its width.
        cell: a name of `CELLS`.
        reverse: whether it runs from the last step to the first.
        activation: of what is new in a step; a name of `ACTIVATIONS` or a function.
        kernel_init: of the kernel for x, as `MLP` has it; that for the state is orthogonal.
        dtype: of the computation, None for that of inputs and parameters promoted.
        param_dtype: of the parameters.
    """

    features: int
    cell: str = "gru"
    reverse: bool = False
    activation: str | Activation = "tanh"
    kernel_init: str | Initializer | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """The parts that have parameters."""
        cell = CELLS[self.cell]
        start = jnp.repeat(jnp.asarray(cell.bias, self.param_dtype), self.features)
        self.input = nn.Dense(
            cell.gates * self.features,
            kernel_init=initializer(self.kernel_init, self.activation),
            bias_init=lambda key, shape, dtype: start.astype(dtype),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        self.state = State(self.features, self.cell, self.param_dtype)

    def __call__(
        self, x: Array, present: Array | None, carry: Carry | None = None
    ) -> tuple[Array, Carry]:
        """The outputs at all steps, and the carry after the last.

        Args:
            x: `(batch, time, channels)`.
            present: `(batch, time)`, False where a step is skipped; None for no such step.
            carry: before the first step; None for zeros.
        """
        return self.run(self.input(x), present, carry)

    def run(
        self, from_x: Array, present: Array | None, carry: Carry | None = None
    ) -> tuple[Array, Carry]:
        """The same of what `input` gave, `(batch, time, gates * features)`."""
        step = self.stepping(from_x)
        zeros = jnp.zeros((from_x.shape[0], self.features), from_x.dtype)
        start: Carry = (zeros,) * CELLS[self.cell].carried if carry is None else carry

        def turn(carry: Carry, inputs: Any) -> tuple[Carry, Array]:
            carry = kept(inputs[1], step(inputs[0], carry), carry)
            return carry, carry[0]

        steps = from_x.swapaxes(0, 1), None if present is None else present.T[..., None]
        end, out = jax.lax.scan(turn, start, steps, reverse=self.reverse)
        return out.swapaxes(0, 1), end

    def stepping(self, like: Array) -> Callable[[Array, Carry], Carry]:
        """A step, `(from_x, carry) -> carry`, in the type of `like`."""
        cell, new = CELLS[self.cell], activation(self.activation)
        kernel, bias = jax.tree.map(lambda a: a.astype(like.dtype), self.state())
        return lambda from_x, carry: cell.step(from_x, carry[0] @ kernel, bias, carry, new)


def kept(present: Array | None, new: Any, old: Any) -> Any:
    """`new` where a step is present, else `old`, for each array of a tree."""
    if present is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(present, a, b), new, old)


def steps_of(mask: Array | None, x: Array) -> Array:
    """Which steps of x `(batch, time, ...)` are present, `(batch, time)`: any entry is observed.

    >>> steps_of(jnp.array([[1, 1, 0]]), jnp.zeros((1, 3, 2))).tolist()
    [[True, True, False]]

    Raises:
        ValueError: the mask's shape is not that of the first axes of x.
    """
    seen = where_observed({"mask": mask}, jnp.ones(x.shape, bool)) != 0
    return jnp.any(seen, axis=tuple(range(2, x.ndim)))


def step_before(x: Array, present: Array, backwards: bool) -> Array:
    """At each step of x `(batch, time, channels)` the present one written before it, or zeros.

    >>> x = jnp.array([[[1.0], [2.0], [3.0]]])
    >>> step_before(x, jnp.array([[True, False, True]]), backwards=False).ravel().tolist()
    [0.0, 1.0, 1.0]
    """
    time = x.shape[1]
    steps = jnp.where(present, jnp.arange(time), time if backwards else -1)
    last = (jax.lax.cummin if backwards else jax.lax.cummax)(steps, axis=1, reverse=backwards)
    before = jnp.roll(last, -1 if backwards else 1, axis=1)
    before = before.at[:, -1 if backwards else 0].set(-1)
    there = (before >= 0) & (before < time)
    found = jnp.take_along_axis(x, jnp.clip(before, 0, time - 1)[..., None], axis=1)
    return jnp.where(there[..., None], found, 0)
