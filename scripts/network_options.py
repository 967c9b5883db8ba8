"""Which networks a variant is made of: dense, convolutional or recurrent, and their options."""

import dataclasses
from typing import Any, Literal

import jaxae

NETWORKS: dict[str, Any] = {
    "mlp": jaxae.mlp,
    "convolutional": jaxae.convolutional,
    "recurrent": jaxae.recurrent,
}
OPTIONS = {
    "mlp": (),
    "convolutional": ("kernel_size", "strides", "pooling", "dense_dims", "maps"),
    "recurrent": ("cell", "bidirectional", "teacher_forcing"),
}
"""Of each kind, the fields below that are its own."""
WIDTHS = {"convolutional": (16, 32), "recurrent": (64,)}
"""The hidden-dims of kinds for which those of dense layers would not do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The kind of networks, and what each kind can be told."""

    networks: Literal["mlp", "convolutional", "recurrent"] = "mlp"
    """Dense layers; convolutional ones, for images and signals, of which hidden-dims are the
    channels; recurrent ones, for sequences (time, channels), of which they are the widths."""
    kernel_size: int = 3
    """Convolutional: of each layer, in pixels."""
    strides: int = 2
    """Convolutional: of each layer, in pixels."""
    pooling: Literal["none", "max", "mean"] = "none"
    """Convolutional: of windows as wide as the strides, in their stead."""
    dense_dims: tuple[int, ...] = ()
    """Convolutional: widths of dense layers between the last maps and the code."""
    maps: bool = False
    """Convolutional: codes are latent-dim maps, not as many numbers."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent: of each layer."""
    bidirectional: bool = False
    """Recurrent: whether the encoder also reads from the end."""
    teacher_forcing: bool = False
    """Recurrent: whether the decoder is given each step's predecessor while it trains."""

    def widths(self, hidden_dims: tuple[int, ...]) -> tuple[int, ...]:
        """What hidden-dims stands for: where it was not given, what suits the networks."""
        return (
            WIDTHS.get(self.networks, hidden_dims) if self._is_usual("hidden_dims") else hidden_dims
        )

    def builder(self) -> dict[str, Any]:
        """The arguments of a variant that say what its networks are.

        Raises:
            ValueError: options of another kind of networks are given.
        """
        for kind, names in OPTIONS.items():
            given = [name for name in names if not self._is_usual(name)]
            if given and kind != self.networks:
                flags = ", ".join("--" + name.replace("_", "-") for name in given)
                raise ValueError(f"{flags} is for --networks {kind}; it is {self.networks}.")
        own = {name: getattr(self, name) for name in OPTIONS[self.networks]}
        if own.get("pooling") == "none":
            own["pooling"] = None
        if self.networks == "recurrent" and self._is_usual("activation"):
            own["activation"] = "tanh"
        return own if self.networks == "mlp" else {**own, "networks": NETWORKS[self.networks]}

    def _is_usual(self, name: str) -> bool:
        """Whether an option has the value that it has by default."""
        return bool(getattr(self, name) == type(self).__dataclass_fields__[name].default)
