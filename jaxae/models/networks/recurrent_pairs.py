"""The builder of recurrent encoders and decoders, and what it refuses."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxae.models.networks import activations as names
from jaxae.models.networks.activations import Activation
from jaxae.models.networks.perceptrons import Networks, Shape, example_shape
from jaxae.models.networks.recurrent_cells import CELLS
from jaxae.models.networks.recurrent_networks import RecurrentDecoder, RecurrentEncoder


def recurrent(
    shape: Shape,
    latent_dim: int,
    *,
    hidden_dims: Sequence[int] = (64,),
    outputs: int = 1,
    latent_outputs: int = 1,
    cell: Literal["gru", "lstm"] = "gru",
    bidirectional: bool = False,
    backwards: bool = True,
    teacher_forcing: bool = False,
    feedback: str | Activation | None = None,
    decoder: Literal["mirrored"] = "mirrored",
    activation: str | Activation = "tanh",
    latent_activation: str | Activation | None = None,
    output_activation: str | Activation = "identity",
    **options: Any,
) -> Networks:
    """A pair that reads a sequence into a code, and writes it (Srivastava et al., 2015).

    The code is a dense layer on the state in which the last recurrent layer ends, in both
    directions. The decoder starts from it and has it at each step. By default it writes
    the sequence from its last step to its first, as what was read last is remembered best.
    Batches may have fewer steps than `shape` says, and a mask for those that are absent.

    Args:
        shape: `(time, channels)`; samples have this time.
        latent_dim: the width of the code.
        hidden_dims: the widths of the recurrent layers, from the input on.
        outputs: numbers that the decoder gives for each entry (`Likelihood.outputs`).
        latent_outputs: numbers that the encoder gives for each entry of the code.
        cell: "gru" or "lstm", of `recurrent_cells.CELLS`.
        bidirectional: whether each layer of the encoder runs in both directions.
        backwards: whether the decoder writes the last step first.
        teacher_forcing: whether the decoder is given, beside the code, the step written before:
            of x in the loss, which is then that of p(x_t | the steps before, z), and of its
            own output in reconstructions, which thus do not see x.
        feedback: from that output, `channels * outputs` wide, to a step of x: "identity", where
            None, or such as `jax.nn.softmax` for a categorical likelihood.
        decoder: "mirrored" alone: recurrent layers have no transpose.
        activation: of what is new in a step.
        latent_activation: of the code; None for the identity.
        output_activation: of what the decoder gives the likelihood.
        **options: of `RecurrentEncoder`: kernel_init, dtype, param_dtype.

    >>> import jax, jaxae, numpy as np
    >>> model = jaxae.deep((29, 12), 8, networks=recurrent, hidden_dims=(16,), cell="lstm")
    >>> batch = {"x": np.zeros((3, 20, 12), np.float32), "mask": np.tri(20)[[9, 19, 14]]}
    >>> params = model.init(jax.random.key(0), batch)
    >>> z = model.encode(params, batch)
    >>> z.shape, model.decode(params, z, model.context(batch)).shape, model.decode(params, z).shape
    ((3, 8), (3, 20, 12), (3, 29, 12))

    Raises:
        ValueError: a shape that is no `(time, channels)`, no hidden_dims, widths that are no
            positive integers, unknown names, a tied decoder, or a feedback of another width.
    """
    time, channels = _checked(shape, latent_dim, hidden_dims, cell, decoder)
    final = latent_activation or "identity"
    names.check_names(activation, final, output_activation, options.get("kernel_init"))
    how: Any = {"cell": cell, "activation": activation, **options}
    encoder = RecurrentEncoder(
        latent_dim * latent_outputs,
        tuple(hidden_dims),
        channels,
        bidirectional=bidirectional,
        final=final,
        **how,
    )
    writer = RecurrentDecoder(
        (time, channels * outputs),
        tuple(reversed(hidden_dims)),
        channels,
        backwards=backwards,
        teacher_forcing=teacher_forcing,
        feedback=feedback or "identity",
        final=output_activation,
        **how,
    )
    if teacher_forcing:
        _check_feedback(writer.feedback, channels, channels * outputs)
    elif feedback is not None:
        raise ValueError("feedback is of teacher_forcing alone; set that, or leave feedback out.")
    return Networks(encoder, writer)


def _checked(
    shape: Shape, latent_dim: int, hidden_dims: Sequence[int], cell: str, decoder: str
) -> tuple[int, int]:
    """Time and channels."""
    sizes = example_shape(shape)
    if len(sizes) != 2:
        raise ValueError(f"A sequence has shape (time, channels), x.shape[1:]; got {shape}.")
    widths = (*hidden_dims, latent_dim)
    if not hidden_dims or not all(isinstance(n, Integral) and n > 0 for n in widths):
        raise ValueError(
            "hidden_dims are the widths of the recurrent layers, one at least, such as "
            f"hidden_dims=(64,), and positive integers, as latent_dim is; got {hidden_dims} and "
            f"{latent_dim}."
        )
    if cell not in CELLS:
        raise ValueError(f"cell is one of {sorted(CELLS)}; got {cell!r}.")
    if decoder != "mirrored":
        raise ValueError(
            f"A recurrent decoder is 'mirrored', with kernels of its own; got {decoder!r}. "
            "Recurrent layers have no transpose to tie it to."
        )
    return sizes[0], sizes[1]


def _check_feedback(feedback: str | Activation, channels: int, wide: int) -> None:
    given = jax.ShapeDtypeStruct((1, wide), jnp.float32)
    shape = jax.eval_shape(names.activation(feedback), given).shape
    if shape != (1, channels):
        raise ValueError(
            f"feedback makes a step of x, {channels} wide, of what the decoder gives, {wide} wide; "
            f"this one gives {shape[1:]}. With a likelihood of several outputs take its mean, such "
            f"as feedback=lambda out: out[..., :{channels}]."
        )
