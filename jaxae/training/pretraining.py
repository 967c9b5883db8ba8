"""Greedy pretraining: one autoencoder after the other, each on the codes of the one before."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import jax

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Learner,
    Metrics,
    Params,
    check_range,
    map_batches,
    num_examples,
)
from jaxae.models.routes import like
from jaxae.models.stacking import codes_of, in_layer, join_layers
from jaxae.training.fitting import fit, start


class Layer(NamedTuple):
    """One layer of a greedy pretraining.

    Attributes:
        model: what is learned on the codes of the layer below.
        learner: how.
        epochs: for how long.
        batch_size: examples in a step.
    """

    model: Autoencoder
    learner: Learner
    epochs: int
    batch_size: int


class Pretrained(NamedTuple):
    """What `pretrain` returns.

    Attributes:
        params: of the stack: "layer_0", "layer_1", ... as `stacked` and `unroll` take them.
        history: for each layer the metrics of its epochs, as of `fit`.
        codes: of the data by the topmost layer, `(n, latent_dim)`, where asked for, else None.
    """

    params: Params
    history: tuple[Metrics, ...]
    codes: Array | None


def pretrain(
    layers: Sequence[Layer],
    data: Batch,
    key: Key,
    *,
    codes: bool = False,
    evaluate: Callable[[int, Params], Metrics] | None = None,
) -> Pretrained:
    """Trains a stack from the bottom up, each layer on the clean codes of the one below.

    Any autoencoders stack: RBMs give a deep belief net (Hinton et al., 2006), others a stacked
    autoencoder (Bengio et al., 2007), denoising ones the stacked denoising autoencoder
    (Vincent et al., 2010). A pure function: jit it, vmap it over keys and hyperparameters,
    map it over devices.

    Args:
        layers: from the input on.
        data: what the lowest sees; the others see the codes of all its rows.
        key: the randomness of all layers.
        codes: whether to return those of the topmost layer, too.
        evaluate: `(layer, params of that layer) -> metrics`, after each of its epochs.

    >>> import jaxae, optax
    >>> def layer(inputs, units):
    ...     model = jaxae.rbm(inputs, units)
    ...     return Layer(model, jaxae.gradient(model.loss, optax.sgd(0.1)), 2, 8)
    >>> data = {"x": jax.random.bernoulli(jax.random.key(0), 0.3, (32, 12)).astype("float32")}
    >>> trained = pretrain([layer(12, 8), layer(8, 4)], data, jax.random.key(1), codes=True)
    >>> trained.codes.shape, sorted(trained.params), trained.history[1]["loss"].shape
    ((32, 4), ['layer_0', 'layer_1'], (2,))

    Raises:
        ValueError: before the first is trained, no layers, a layer that does not take the codes
            of the one below, epochs or batch sizes that `fit` refuses; later what a model
            refuses of these codes.
    """
    if not layers:
        raise ValueError("There is nothing to pretrain: give at least one layer.")
    _check_layers(layers, data, key)
    trees, histories = [], []
    for i, layer in enumerate(layers):
        with in_layer(i):
            state, fit_key = start_layer(layer, i, key, data)
        state, history = fit(
            layer.learner,
            state,
            data,
            fit_key,
            epochs=layer.epochs,
            batch_size=layer.batch_size,
            evaluate=None if evaluate is None else partial(evaluate, i),
        )
        trees.append(state.params)
        histories.append(history)
        if codes or i < len(layers) - 1:
            data = all_codes(layer.model, state.params, data)
    return Pretrained(join_layers(trees), tuple(histories), data["x"] if codes else None)


def start_layer(layer: Layer, i: int, key: Key, data: Batch) -> tuple[Any, Key]:
    """The initial state of the i-th layer of a pretraining by `key`, and its key of `fit`."""
    return start(layer.model, layer.learner, data, jax.random.fold_in(key, i))


def all_codes(model: Autoencoder, params: Params, data: Batch) -> dict[str, Array]:
    """The data that the layer above sees, in memory for the codes and one batch."""
    rows = {name: a for name, a in data.items() if name in ("x", "mask", "context")}
    z = map_batches(lambda batch: codes_of(model, params, batch)["x"], rows)
    return {**{name: a for name, a in data.items() if name not in rows}, "x": z}


def _check_layers(layers: Sequence[Layer], data: Batch, key: Key) -> None:
    """Goes through shapes alone, so that no layer is trained below one that does not fit."""
    num = num_examples(data)
    batch: Batch = {name: like(a, a.shape) for name, a in data.items()}
    for i, layer in enumerate(layers):
        with in_layer(i):
            for name, value in (("epochs", layer.epochs), ("batch_size", layer.batch_size)):
                if not isinstance(value, Integral) or value < 1:
                    raise ValueError(f"{name} is a positive integer; got {value!r}.")
            check_range("batch_size", layer.batch_size, 1, num)
            state, _ = jax.eval_shape(partial(start_layer, layer, i), key, batch)
            batch = jax.eval_shape(partial(codes_of, layer.model), state.params, batch)
