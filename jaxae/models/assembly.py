"""The parts of an autoencoder as one Linen module, and its collections as one tree."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, Batch, Key, Metrics, Params, context_of
from jaxae.models.carrying import scheduled
from jaxae.models.penalties import Forward, Penalty


class Weight(nn.Module):
    """A number, or a schedule of them: a function of the steps so far."""

    value: Any

    @nn.compact
    def __call__(self) -> Array:
        """The number that is due."""
        return scheduled(self, "beta", self.value)


class Network(nn.Module):
    """Encoder, code, decoder, likelihood's head, penalties and a schedule of beta.

    `rebuild` and `draw` give natural parameters, codes and rates; the latter's rate is that of
    the code drawn, log q(z | h) - log p(z), whatever the loss takes.
    """

    encoder: nn.Module
    decoder: nn.Module
    code: nn.Module
    head: nn.Module | None
    penalties: Sequence[Penalty] = ()
    weight: nn.Module | None = None

    def __call__(self, batch: Batch) -> tuple[Any, Array, Array]:
        """All of a training pass."""
        return self.rebuild(self.look(batch), batch)

    def look(self, batch: Batch) -> Array:
        """The encoder's output."""
        return self.encoder(batch["x"], **_extras(batch, "mask", "context"))

    def rebuild(self, h: Array, batch: Batch) -> tuple[Any, Array, Array]:
        """Natural parameters, codes and rates, as training has them."""
        z, rate = self.code(h)
        return self.decode(z, given_to(self.decoder, batch, known=True)), z, rate

    def draw(self, h: Array, batch: Batch) -> tuple[Any, Array, Array]:
        """Natural parameters, codes and log q(z | h) - log p(z)."""
        z, rate = self.code.draw(h)
        return self.decode(z, given_to(self.decoder, batch, known=True)), z, rate

    def encode(self, batch: Batch) -> Array:
        """The codes, without noise."""
        return self.code(self.look(batch), train=False)[0]

    def posterior(self, batch: Batch) -> tuple[Array, Array]:
        """Mean and scale of q(z | x)."""
        return self.code.posterior(self.look(batch))

    def decode(self, z: Array, context: Any = None) -> Any:
        """Natural parameters."""
        out = self.decoder(z, **_extras({"context": context}, "context"))
        return out if self.head is None else self.head(out)

    def prior(self, key: Key, n: int) -> Array:
        """Codes of the prior."""
        return self.code.sample_prior(key, n)

    def penalise(self, forwards: Sequence[Forward]) -> tuple[Any, list[Array]]:
        """The beta of a schedule, or None, and the penalties."""
        values = [p(forward) for p, forward in zip(self.penalties, forwards, strict=True)]
        return None if self.weight is None else self.weight(), values


def given_to(decoder: nn.Module, batch: Batch, known: bool) -> Any:
    """What of a batch the decoder is given as its context: what its own `given` says.

    `known` where x itself may be used, as p(x_t | x_<t, z) does; not for reconstructions.
    """
    own = getattr(decoder, "given", None)
    return context_of(batch) if own is None else own(batch, known)


def variables_of(params: Params) -> dict[str, Any]:
    """Linen's collections of one tree of parameters."""
    learned = {name: tree for name, tree in params.items() if name != "carried"}
    return {"params": learned, "carried": params.get("carried", {})}


def joined(variables: Any) -> Params:
    """One tree of parameters of Linen's collections."""
    carried = variables.get("carried")
    return {**variables.get("params", {}), **({"carried": carried} if carried else {})}


def merged(first: Any, changed: Any) -> dict[str, Any]:
    """What a pass changed: of several draws the metrics' means, and what the first one carries."""
    metrics = {**first.get("metrics", {}), **changed.get("metrics", {})}
    return {
        "carried": jax.tree.map(lambda a: a[0], changed.get("carried", {})),
        "metrics": jax.tree.map(lambda a: jnp.mean(a, axis=0) if a.ndim else a, metrics),
    }


def several(function: Callable[[Any], Any], rows: Any) -> Any:
    """`function` of each row, the results with a leading axis."""
    if jax.tree.leaves(rows)[0].shape[0] > 1:
        return jax.vmap(function)(rows)
    return jax.tree.map(
        lambda a: jnp.asarray(a)[None], function(jax.tree.map(lambda a: a[0], rows))
    )


def reported(changed: Any) -> Metrics:
    """What modules reported, by its own name."""
    leaves = jax.tree_util.tree_leaves_with_path(changed.get("metrics", {}))
    return {jax.tree_util.keystr(path[-1:], simple=True): leaf for path, leaf in leaves}


def _extras(batch: Batch, *names: str) -> dict[str, Array]:
    return {name: batch[name] for name in names if batch.get(name) is not None}
