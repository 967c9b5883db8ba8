"""Recurrent encoders and decoders of sequences, as Linen modules.

A sequence is `(time, channels)`. A mask `(batch, time)`, or `(batch, time, channels)`, says which
steps are there: those of which any entry is observed. Absent steps are skipped, so that padding,
wherever it stands, changes neither codes nor losses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, Batch
from jaxae.models.networks.activations import Activation, Initializer, activation, initializer
from jaxae.models.networks.recurrent_cells import (
    CELLS,
    Carry,
    Recurrence,
    kept,
    step_before,
    steps_of,
)


class RecurrentEncoder(nn.Module):
    """Recurrent layers, and a dense one on the state in which the last of them ends.

    Attributes:
        features: the width of the dense layer's output.
        hidden_dims: the width of each recurrent layer, in each direction.
        channels: of a step of x.
        cell: a name of `recurrent_cells.CELLS`.
        bidirectional: whether each layer runs in both directions, side by side.
        activation: of what is new in a step.
        final: after the dense layer.
        kernel_init: of the kernels for inputs, as `MLP` has it.
        dtype: of the computation, None for that of inputs and parameters promoted.
        param_dtype: of the parameters.
    """

    features: int
    hidden_dims: Sequence[int]
    channels: int
    cell: str = "gru"
    bidirectional: bool = False
    activation: str | Activation = "tanh"
    final: str | Activation = "identity"
    kernel_init: str | Initializer | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, context: Array | None = None) -> Array:
        """Maps `(batch, time, channels)` to `(batch, features)`; a context joins each step."""
        if x.ndim != 3 or x.shape[2] != self.channels:
            raise ValueError(
                f"This net reads sequences (batch, time, {self.channels}); got x of shape "
                f"{x.shape}. Build it with shape=x.shape[1:]."
            )
        present = None if mask is None else steps_of(mask, x)
        h = x if context is None else _beside(x, context)
        for i, width in enumerate(self.hidden_dims):
            runs = []
            for name, reverse in (("", False), ("_reverse", True))[: 1 + self.bidirectional]:
                layer = Recurrence(
                    width,
                    self.cell,
                    reverse,
                    self.activation,
                    self.kernel_init,
                    self.dtype,
                    self.param_dtype,
                    name=f"layer_{i}{name}",
                )
                runs.append(layer(h, present))
            h = jnp.concatenate([out for out, _ in runs], axis=-1)
            last = jnp.concatenate([carry[0] for _, carry in runs], axis=-1)
        return activation(self.final)(
            nn.Dense(
                self.features,
                kernel_init=initializer(self.kernel_init, self.final),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="code",
            )(last)
        )


class RecurrentDecoder(nn.Module):
    """Recurrent layers that write a sequence from a code, and a dense one on each step.

    The code decides the state in which the layers start, and enters the first at each step.

    Attributes:
        shape: `(time, channels)` of what it writes; time counts where no mask tells it.
        hidden_dims: the width of each recurrent layer.
        cell: a name of `recurrent_cells.CELLS`.
        backwards: whether it writes the last step first.
        channels: of a step of x, which teacher forcing reads.
        teacher_forcing: whether a step is given the one that was written before, of x itself
            where that may be known, else of what this decoder wrote.
        feedback: from what it wrote in a step to a step of x.
        activation: of what is new in a step.
        final: after the dense layer.
        kernel_init: of the kernels for inputs, as `MLP` has it.
        dtype: of the computation, None for that of inputs and parameters promoted.
        param_dtype: of the parameters.
    """

    shape: Sequence[int]
    hidden_dims: Sequence[int]
    channels: int
    cell: str = "gru"
    backwards: bool = True
    teacher_forcing: bool = False
    feedback: str | Activation = "identity"
    activation: str | Activation = "tanh"
    final: str | Activation = "identity"
    kernel_init: str | Initializer | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.nowrap
    def given(self, batch: Batch, known: bool) -> dict[str, Array]:
        """Which steps are there, the context, and where x is known each step's predecessor."""
        x = batch["x"]
        mask = batch.get("mask")
        present = jnp.ones(x.shape[:2], bool) if mask is None else steps_of(mask, x)
        found = {"mask": present}
        if batch.get("context") is not None:
            found["context"] = batch["context"]
        if known and self.teacher_forcing:
            found["previous"] = step_before(x, present, self.backwards)
        return found

    def setup(self) -> None:
        """The parts that have parameters."""
        how: Any = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        kernel_init = initializer(self.kernel_init, self.activation)
        self.layers = [
            Recurrence(n, self.cell, self.backwards, self.activation, self.kernel_init, **how)
            for n in self.hidden_dims
        ]
        wide = CELLS[self.cell].carried * sum(self.hidden_dims)
        self.start = nn.Dense(wide, kernel_init=kernel_init, **how)
        if self.teacher_forcing:
            gates = CELLS[self.cell].gates * self.hidden_dims[0]
            self.previous = nn.Dense(gates, use_bias=False, kernel_init=kernel_init, **how)
        self.output = nn.Dense(
            self.shape[-1], kernel_init=initializer(self.kernel_init, self.final), **how
        )

    def __call__(self, z: Array, context: Any = None) -> Array:
        """Maps `(batch, latent_dim)` to `(batch, time, channels)`.

        The context is what `given` gives, or an array that is appended to z, or None.
        """
        told = context if isinstance(context, Mapping) else {"context": context}
        z = z if told.get("context") is None else _joined(z, told["context"])
        present = told.get("mask")
        time = self.shape[0] if present is None else present.shape[1]
        carries, from_z = self._start(z), self.layers[0].input(z)
        if self.teacher_forcing and told.get("previous") is None:
            return self._write(from_z, carries, present, time)
        h = jnp.broadcast_to(from_z[:, None], (len(z), time, from_z.shape[1]))
        if self.teacher_forcing:
            h = h + self.previous(told["previous"])
        h, _ = self.layers[0].run(h, present, carries[0])
        for layer, carry in zip(self.layers[1:], carries[1:], strict=True):
            h, _ = layer(h, present, carry)
        return activation(self.final)(self.output(h))

    def _start(self, z: Array) -> list[Carry]:
        """The carries before the first step."""
        starts, carried = jnp.tanh(self.start(z)), CELLS[self.cell].carried
        widths = [n for n in self.hidden_dims for _ in range(carried)]
        ends = [sum(widths[: i + 1]) for i in range(len(widths))]
        parts = [starts[:, end - n : end] for n, end in zip(widths, ends, strict=True)]
        return [tuple(parts[i : i + carried]) for i in range(0, len(parts), carried)]

    def _write(
        self, from_z: Array, carries: list[Carry], present: Array | None, time: int
    ) -> Array:
        """The outputs at all steps, each of which is given the one that was written before."""
        feedback, final = activation(self.feedback), activation(self.final)
        steps = [layer.stepping(from_z) for layer in self.layers]
        inputs = [self.previous, *(layer.input for layer in self.layers[1:])]
        widths = self.channels, *self.hidden_dims
        into = [_affine(m, n, from_z) for m, n in zip(inputs, widths, strict=False)]
        write = _affine(self.output, self.hidden_dims[-1], from_z)

        def turn(state: Any, there: Array | None) -> tuple[Any, Array]:
            carries, before = state
            now, h = [], from_z + into[0](before)
            for i, step in enumerate(steps):
                now.append(step(into[i](h) if i else h, carries[i]))
                h = now[-1][0]
            out = final(write(h))
            return kept(there, (now, feedback(out).astype(before.dtype)), state), out

        there = None if present is None else present.T[..., None]
        state = carries, jnp.zeros((len(from_z), self.channels), from_z.dtype)
        _, out = jax.lax.scan(turn, state, there, length=time, reverse=self.backwards)
        return out.swapaxes(0, 1)


def _beside(x: Array, context: Array) -> Array:
    """The sequences `(batch, time, channels)` with the context appended to each step."""
    flat = context.reshape(len(x), 1, -1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(flat, (*x.shape[:2], flat.shape[2]))], axis=2)


def _joined(z: Array, context: Array) -> Array:
    return jnp.concatenate([z, context.reshape(len(z), -1).astype(z.dtype)], axis=1)


def _affine(layer: nn.Module, inputs: int, like: Array) -> Callable[[Array], Array]:
    """A dense layer as a function of arrays, which a loop may call, in the type of `like`."""
    layer(jnp.zeros((1, inputs), like.dtype))  # at init its parameters come into being
    parts = jax.tree.map(lambda a: a.astype(like.dtype), layer.variables["params"])
    return lambda a: a @ parts["kernel"] + parts.get("bias", 0)
