"""Classifiers on encoders: a head that reads labels off the codes, trained alone or with them."""

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Metrics,
    Params,
    as_float,
    check_range,
    is_traced,
    num_examples,
    where_observed,
)
from jaxae.models import corruptions
from jaxae.models.corruptions import Corruption


class Classifier(NamedTuple):
    """What is learned of labels: pure functions that share one tree of parameters.

    The tree is `{"model": the autoencoder's, "head": the head's}`, and "carried" where the
    autoencoder carries something along, which no step changes.

    Attributes:
        init: `(key, batch) -> params`; only shapes and dtypes of the batch matter.
        loss: `(params, key, batch) -> (loss, metrics)`, scalars, in nats per example; what
            `jaxae.gradient` takes.
        logits: `(params, batch) -> (batch, num_classes)`, without noise; needs no labels.
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Key, Batch], tuple[Array, Metrics]]
    logits: Callable[[Params, Batch], Array]


def classifier(
    model: Autoencoder,
    num_classes: int,
    *,
    head: nn.Module | None = None,
    corrupt: Corruption = corruptions.none,
    dropout: chex.Numeric = 0.0,
) -> Classifier:
    """A head on the codes of `model`, whose loss is the mean cross-entropy of labels "y".

        logits = head(encode(x));  loss = -mean of log softmax(logits)[y]

    Train all of it (fine-tuning, Vincent et al., 2010), or the head alone, with "model"
    frozen. Pretrained parameters take the place of those of `init`:
    `{**params, "model": pretrained}`, or `with_model`, which checks that they fit. The model
    encodes as in use, without its own corruption and penalties; what it carries along stays
    as it is.

    Args:
        model: its `init` and `encode` are used.
        num_classes: labels are integers in [0, num_classes).
        head: a Linen module, `(batch, features) -> (batch, num_classes)`, without noise. By
            default softmax regression: one dense layer that starts at zero, from where every
            class is equally likely, and the first gradient leaves the encoder as it is.
        corrupt: `(key, x) -> x_tilde`, what the encoder sees in training.
        dropout: the share of code entries that are zeroed in training, the others scaled by
            1 / (1 - dropout) (Srivastava et al., 2014); may be traced.

    >>> import jaxae
    >>> model = jaxae.undercomplete(8, 3)
    >>> batch = {"x": np.ones((6, 8), np.float32), "y": np.arange(6) % 2}
    >>> pretrained = model.init(jax.random.key(0), batch)  # and trained, with jaxae.fit
    >>> labeller = classifier(model, 2, dropout=0.1)
    >>> params = {**labeller.init(jax.random.key(1), batch), "model": pretrained}
    >>> learner = jaxae.gradient(labeller.loss, optax.adam(1e-3), frozen=("model",))
    >>> state = learner.init(params, jax.random.key(2))
    >>> state, metrics = learner.step(state, jax.random.key(3), batch)
    >>> sorted(metrics), labeller.logits(state.params, batch).shape
    (['accuracy', 'loss'], (6, 2))

    Raises:
        ValueError: num_classes below 2, a concrete dropout outside [0, 1); at `init`, a head
            that gives no `(batch, num_classes)` or has more than parameters; at `init` and
            `loss`, labels that are missing, are no integers of shape `(batch,)`, or are
            concrete and outside [0, num_classes).
    """
    if not isinstance(num_classes, Integral) or num_classes < 2:
        raise ValueError(f"num_classes is an integer of at least 2; got {num_classes!r}.")
    check_range("dropout", dropout, 0.0, 1.0, open_high=True)
    no_dropout = not is_traced(dropout) and bool(np.all(np.asarray(dropout) == 0))
    drop = corruptions.none if no_dropout else corruptions.dropout(dropout)
    net = nn.Dense(num_classes, kernel_init=nn.initializers.zeros) if head is None else head

    def codes(params: Params, batch: Batch) -> Array:
        z = model.encode(params, batch)
        return z.reshape(z.shape[0], -1)

    def read(params: Params, z: Array) -> Array:
        out: Any = net.apply({"params": params["head"]}, z)
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))

    def init(key: Key, batch: Batch) -> Params:
        check_labels(batch, num_classes)
        model_key, head_key = jax.random.split(key)
        whole = model.init(model_key, batch)
        row = jax.tree.map(lambda a: a[:1], dict(batch))
        z = jax.eval_shape(codes, whole, row)
        variables = net.init(head_key, jnp.zeros(z.shape, z.dtype))
        _check_head(net, variables, z, num_classes)
        return {**_split(whole), "head": variables.get("params", {})}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        check_labels(batch, num_classes)
        corrupt_key, dropout_key = jax.random.split(key)
        x = corrupt(corrupt_key, where_observed(batch, as_float(batch["x"])))
        z = codes(model_params(params), {**batch, "x": x})
        out, y = read(params, drop(dropout_key, z)), jnp.asarray(batch["y"])
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(out, y))
        right = jnp.mean(jnp.argmax(out, axis=-1) == y, dtype=out.dtype)
        metrics = {"loss": value, "accuracy": right}
        if "carried" in params:
            metrics["carried"] = params["carried"]
        return value, metrics

    @jax.jit
    def logits(params: Params, batch: Batch) -> Array:
        return read(params, codes(model_params(params), batch))

    return Classifier(init, loss, logits)


def model_params(params: Params) -> Params:
    """The autoencoder's own parameters in those of a classifier, as its `encode` takes them.

    >>> model_params({"model": {"w": 1}, "carried": {"n": 2}, "head": {}})
    {'w': 1, 'carried': {'n': 2}}

    Raises:
        ValueError: what the model carries along lies in "model", where an optimiser
            would change it.
    """
    own = params["model"]
    if isinstance(own, Mapping) and "carried" in own:
        raise ValueError(
            'params["model"] holds "carried", what the model carries along, which an optimiser '
            "would change there. Put pretrained parameters in by with_model(params, pretrained)."
        )
    return {**own, "carried": params["carried"]} if "carried" in params else own


def with_model(params: Params, pretrained: Params) -> Params:
    """The parameters of a classifier with those of a pretrained model in them.

    As `{**params, "model": pretrained}`, but for a model of another width or dtype, which
    that would let pass, and for what a model carries along, which has its own place.

    Args:
        params: of a classifier's `init`.
        pretrained: of the same autoencoder.

    >>> import jaxae
    >>> batch = {"x": np.ones((6, 8), np.float32), "y": np.arange(6) % 2}
    >>> model = jaxae.top_k(8, 16, k=2)
    >>> pretrained = model.init(jax.random.key(0), batch)
    >>> params = with_model(classifier(model, 2).init(jax.random.key(1), batch), pretrained)
    >>> sorted(params)
    ['carried', 'head', 'model']

    Raises:
        ValueError: the parameters' names, shapes or dtypes are others; lists them.
    """
    wanted = model_params(params)
    ours, given = _by_path(wanted), _by_path(pretrained)
    differ = [
        f"  {path}: given {_described(given.get(path))}, wanted {_described(ours.get(path))}"
        for path in sorted(ours.keys() | given.keys())
        if _described(given.get(path)) != _described(ours.get(path))
    ]
    if differ:
        more = [f"  and {len(differ) - 20} more"] if len(differ) > 20 else []
        raise ValueError(
            "The pretrained parameters do not fit the classifier's model; build both from one "
            "model, for data of one shape.\n" + "\n".join([*differ[:20], *more])
        )
    leaves = [given[path] for path in ours]
    return {**params, **_split(jax.tree.unflatten(jax.tree.structure(wanted), leaves))}


def check_labels(batch: Batch, num_classes: int) -> None:
    """Raises `ValueError` unless "y" holds a class for each row; traced values pass unseen."""
    n = num_examples(batch)
    if "y" not in batch:
        raise ValueError(f'A classifier needs labels "y" in the batch; it has {sorted(batch)}.')
    y = batch["y"]
    if np.shape(y) != (n,) or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"y must be one integer for each row, of shape ({n},); got {y.dtype} of shape "
            f"{np.shape(y)}. Turn one-hot labels into classes with argmax(1), booleans and "
            "whole floats with astype(int)."
        )
    if is_traced(y):
        return
    low, high = int(np.min(y)), int(np.max(y))
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"y must lie in [0, {num_classes}), as there are {num_classes} classes; got values "
            f"from {low} to {high}. Number the classes from 0, or give more of them."
        )


def _check_head(net: nn.Module, variables: Any, z: Any, num_classes: int) -> None:
    if others := sorted(set(variables) - {"params"}):
        raise ValueError(
            f"A head may have parameters alone; this one also has {others}. Take one without "
            "running statistics, such as nn.LayerNorm in the place of nn.BatchNorm."
        )
    shape = jax.eval_shape(net.apply, variables, z).shape
    if shape != (1, num_classes):
        raise ValueError(
            f"The head gives {shape[1:]} for one example; it must give ({num_classes},), a logit "
            "for each class."
        )


def _split(whole: Params) -> dict[str, Params]:
    """The autoencoder's parameters, with what it carries along where learners look for it."""
    if not isinstance(whole, Mapping) or "carried" not in whole:
        return {"model": whole}
    learned = {name: tree for name, tree in whole.items() if name != "carried"}
    return {"model": learned, "carried": whole["carried"]}


def _by_path(tree: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _described(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{jnp.result_type(leaf)}{list(np.shape(leaf))}"
