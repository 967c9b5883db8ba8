"""Stacks of autoencoders: each encodes the codes of the one below it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Key, Metrics, Params, is_traced

ROWS = 8
"""Rows on which an unrolled net is compared with its layers."""
_PLACED = r"(encoder|decoder)/layer_\d+/(kernel|bias)|decoder/bias_\d+"
_LEFT_OUT = r"(head|carried|penalties_\d+)/.*"


def stacked(models: Sequence[Autoencoder]) -> Autoencoder:
    """Autoencoders on top of each other, as one whose loss is that of the topmost.

    It encodes from the bottom up and decodes from the top down. Its loss trains the top on
    the clean codes of the others, through which no gradient passes: one layer at a time in
    one graph, as `gradient(..., frozen=("layer_0",))` says it of the first. Stacked RBMs are a
    deep belief net (Hinton et al., 2006), which samples from the topmost and passes means
    downwards. To fine-tune all layers together, `unroll` it.

    The parameters are those of the models as "layer_0", "layer_1", ... from the input on.

    >>> import jaxae
    >>> model = stacked([jaxae.rbm(12, 8), jaxae.rbm(8, 4)])
    >>> batch = {"x": jnp.ones((5, 12))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.encode(params, batch).shape
    (5, 4)

    Raises:
        ValueError: no models; at `init`, one that does not take the codes of the one below.
    """
    if not models:
        raise ValueError("A stack needs at least one autoencoder; got none.")
    top = len(models) - 1

    def init(key: Key, batch: Batch) -> Params:
        layers: list[Params] = []
        for i, model in enumerate(models):
            with in_layer(i):
                if i:
                    row = jax.tree.map(lambda a: a[:1], dict(batch))
                    batch = codes_of(models[i - 1], layers[-1], row)
                layers.append(model.init(jax.random.fold_in(key, i), batch))
        return join_layers(layers)

    def below(params: Params, batch: Batch) -> Batch:
        for i in range(top):
            batch = codes_of(models[i], layer_of(params, i), batch)
        return batch

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        batch = jax.lax.stop_gradient(dict(below(params, batch)))
        total, metrics = models[top].loss(layer_of(params, top), key, batch)
        if "carried" in metrics:
            carried: Any = {**params["carried"], f"layer_{top}": metrics["carried"]}
            metrics = {**metrics, "carried": carried}
        elif "carried" in params:
            metrics = {**metrics, "carried": params["carried"]}
        return total, metrics

    def encode(params: Params, batch: Batch) -> Array:
        return models[top].encode(layer_of(params, top), below(params, batch))

    def down(params: Params, z: Array, start: int) -> Array:
        for i in range(start, -1, -1):
            z = models[i].decode(layer_of(params, i), z)
        return z

    def decode(params: Params, z: Array, context: Array | None = None) -> Array:
        if context is not None:
            raise ValueError("A stack takes no context when it decodes; leave it out.")
        return down(params, z, top)

    def sample(params: Params, key: Key, n: int) -> Array:
        return down(params, models[top].sample(layer_of(params, top), key, n), top - 1)

    return Autoencoder(init, loss, encode, decode, sample)


def codes_of(model: Autoencoder, params: Params, batch: Batch) -> dict[str, Array]:
    """The batch that the layer above sees: codes in the place of x, without mask and context."""
    kept = {name: a for name, a in batch.items() if name not in ("mask", "context")}
    return {**kept, "x": model.encode(params, batch)}


def join_layers(layers: Sequence[Params]) -> Params:
    """The parameters of a stack, of those of its layers; what layers carry comes to the root."""
    names = [f"layer_{i}" for i in range(len(layers))]
    pairs = list(zip(names, layers, strict=True))
    carried = {name: tree["carried"] for name, tree in pairs if "carried" in tree}
    learned = {
        name: {part: leaf for part, leaf in tree.items() if part != "carried"}
        for name, tree in pairs
    }
    return {**learned, **({"carried": carried} if carried else {})}


def layer_of(params: Params, i: int) -> Params:
    """The parameters of one layer of a stack, with what it carries.

    Raises:
        ValueError: the stack that they are of is lower.
    """
    name = f"layer_{i}"
    if name not in params:
        raise ValueError(f"A stack this high needs parameters of {name}; got {sorted(params)}.")
    carried = params.get("carried", {})
    return {**params[name], **({"carried": carried[name]} if name in carried else {})}


@contextmanager
def in_layer(i: int) -> Iterator[None]:
    """Raises a `ValueError` that names the layer, where something does not fit there."""
    try:
        yield
    except (TypeError, ValueError) as error:  # JAX has the first for shapes that do not fit
        raise ValueError(f"layer_{i} of the stack: {error}") from error


def unroll(models: Sequence[Autoencoder], params: Params, target: Autoencoder, batch: Batch) -> Any:
    """The parameters of a deep autoencoder that does what a stack of one-layer ones does.

    Its encoder is that of the layers in turn; its decoder their decoders from the top down,
    and where a layer is tied the transpose of its kernel, which is then free to change
    (Hinton & Salakhutdinov, 2006). Layers may themselves have several layers, or be
    `convolutional` with maps for codes, as the target then is. The target needs the layers'
    activations, for example for RBMs below a linear code

        deep(shape, 30, hidden_dims=(1000, 500, 250), activation="sigmoid", likelihood=bernoulli())

    with decoder="tied" where kernels are to stay tied. So that no other is taken by mistake,
    codes and reconstructions of some rows of `batch` are compared, unless they are traced.

    Args:
        models: of the stack, from the input on.
        params: of the stack, as of `stacked` or `pretrain`.
        target: a `deep` autoencoder of dense layers, or of `convolutional` ones.
        batch: rows like the data.

    Returns:
        Parameters of `target`; what layers do not have, such as a learned scale, is that of
        its own initialisation with key 0.

    >>> import jaxae
    >>> models, batch = [jaxae.rbm(12, 8), jaxae.rbm(8, 4)], {"x": jnp.ones((5, 12))}
    >>> params = stacked(models).init(jax.random.key(0), batch)
    >>> target = jaxae.deep(12, 4, hidden_dims=(8,), activation="sigmoid",
    ...     latent_activation="sigmoid", likelihood=jaxae.likelihoods.bernoulli())
    >>> unrolled = unroll(models, params, target, batch)
    >>> sorted(unrolled["decoder"])
    ['layer_0', 'layer_1']

    Raises:
        ValueError: layers of other kinds, shapes that differ, or other results.
    """
    layers = [layer_of(params, i) for i in range(len(models))]
    own = target.init(jax.random.key(0), jax.tree.map(lambda a: a[:1], dict(batch)))
    tied = "layer_0" not in own.get("decoder", {})
    _check_dense(layers, tied)
    up = [part for layer in layers for part in _numbered(layer.get("encoder", {}), "layer_")]
    down = [part for layer in reversed(layers) for part in _downward(layer)]
    if tied:
        biases = [part["bias"] for part in reversed(down) if "bias" in part]
        decoder = {f"bias_{i}": bias for i, bias in enumerate(biases)}
    else:
        decoder = {f"layer_{i}": part for i, part in enumerate(down)}
    unrolled = {name: tree for name, tree in own.items() if name != "decoder"}
    unrolled["encoder"] = {f"layer_{i}": part for i, part in enumerate(up)}
    unrolled |= {"decoder": decoder} if decoder else {}
    _check_shapes(own, unrolled)
    unrolled = jax.tree.map(lambda mine, given: jnp.asarray(given, mine.dtype), own, unrolled)
    if not is_traced(unrolled, params, batch):
        few = jax.tree.map(lambda a: a[:ROWS], dict(batch))
        _check_results(stacked(models), params, target, unrolled, few)
    return unrolled


def _downward(layer: Params) -> list[Params]:
    """Kernels and biases of a decoder, in their order, those of a tied one transposed."""
    decoder = layer.get("decoder", {})
    if own := _numbered(decoder, "layer_"):
        return own
    up, biases = _numbered(layer.get("encoder", {}), "layer_"), _numbered(decoder, "bias_")
    tied = zip(reversed(up), reversed(biases or [None] * len(up)), strict=True)
    return [{"kernel": _back(k["kernel"])} | ({} if b is None else {"bias": b}) for k, b in tied]


def _back(kernel: Array) -> Array:
    """A kernel on the way back; those of convolutions lie the same way in both directions."""
    return kernel.T if kernel.ndim == 2 else kernel


def _numbered(tree: Mapping[str, Any], prefix: str) -> list[Any]:
    return [tree[f"{prefix}{i}"] for i in range(len(tree)) if f"{prefix}{i}" in tree]


def _check_dense(layers: Sequence[Params], tied: bool) -> None:
    for i, layer in enumerate(layers):
        others = [p for p in _shapes(layer) if not re.fullmatch(f"{_PLACED}|{_LEFT_OUT}", p)]
        if others:
            raise ValueError(f"The net has no place for {others} of layer_{i}.")
        if tied and _numbered(layer.get("decoder", {}), "layer_"):
            raise ValueError(
                f"The net is tied, but layer_{i} has decoder kernels of its own: take a net with "
                "decoder='mirrored'."
            )


def _shapes(tree: Params) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): np.shape(a) for p, a in leaves}


def _check_shapes(own: Params, unrolled: Params) -> None:
    wanted, given = _shapes(own), _shapes(unrolled)
    names = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
    if names:
        lines = [f"  {n}: the net has {wanted.get(n)}, the layers {given.get(n)}" for n in names]
        raise ValueError("The layers do not fit the net:\n" + "\n".join(lines))


def _check_results(
    stack: Autoencoder, params: Params, target: Autoencoder, unrolled: Params, few: Batch
) -> None:
    z, z_net = stack.encode(params, few), target.encode(unrolled, few)
    pairs = {
        "code": (z, z_net),
        "reconstruction": (stack.decode(params, z), target.decode(unrolled, z)),
    }
    leaves = jax.tree.leaves((pairs, unrolled["encoder"]))
    tolerance = max(1e-3, *(10 * float(jnp.finfo(leaf.dtype).eps) for leaf in leaves))
    for name, (a, b) in pairs.items():
        size, gap = float(jnp.max(jnp.abs(a))), float(jnp.max(jnp.abs(a - b.reshape(a.shape))))
        if not gap <= tolerance * max(size, 1e-3):
            raise ValueError(
                f"The net's {name} differs from that of the layers by up to {gap:.3g} (entries up "
                f"to {size:.3g}). Its activation, latent_activation, output_activation and "
                "likelihood must be those of the layers, whose codes nothing else may change."
            )
