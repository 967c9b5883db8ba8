"""Semi-supervised models: a few labels beside the loss of all examples."""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from jaxae.base import Array, Autoencoder, Batch, Key, Metrics, Params, as_float, check_range
from jaxae.models import corruptions
from jaxae.models.classifiers import check_labels
from jaxae.models.corruptions import Corruption


def semi_supervised(
    model: Autoencoder,
    labelled: Batch,
    num_classes: int,
    *,
    label_weight: chex.Numeric = 1.0,
    batch_size: int = 100,
    corrupt: Corruption = corruptions.none,
) -> Autoencoder:
    """A model whose first `num_classes` codes are probabilities, and learn a few labels.

    To the loss of each batch comes label_weight · -E log z_y over rows that are drawn from
    `labelled`, so any learner trains it, `adversarial` among them (Makhzani et al., 2016):
    `codes.Matched(prior, one_hot=num_classes)` makes such codes.

    Args:
        model: its first codes are probabilities of the classes.
        labelled: rows "x" and their labels "y".
        num_classes: labels are integers in [0, num_classes).
        label_weight: of the labels in the loss; may be traced.
        batch_size: labelled rows of a step; all of them where there are fewer.
        corrupt: what the encoder sees of them in training.

    >>> import jaxae, numpy as np
    >>> code = jaxae.codes.Matched(jaxae.priors.Standard(5), one_hot=2)
    >>> few = {"x": np.ones((4, 8), np.float32), "y": np.arange(4) % 2}
    >>> model = semi_supervised(jaxae.deep(8, 5, code=code), few, 2)
    >>> params = model.init(jax.random.key(0), {"x": np.ones((6, 8), np.float32)})
    >>> sorted(model.loss(params, jax.random.key(1), {"x": np.ones((6, 8), np.float32)})[1])
    ['accuracy', 'distortion', 'label_loss', 'loss', 'penalty', 'rate']

    Raises:
        ValueError: labels that are missing or out of range, or a number out of range.
    """
    check_range("label_weight", label_weight, 0.0)
    labels = label_loss(model, labelled, num_classes, batch_size=batch_size, corrupt=corrupt)

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        key, label_key = jax.random.split(key)
        total, metrics = model.loss(params, key, batch)
        error, found = labels(params, label_key, batch)
        total = total + label_weight * error
        return total, {**metrics, "loss": total, **found}

    return model._replace(loss=loss)


def label_loss(
    model: Autoencoder,
    labelled: Batch,
    num_classes: int,
    *,
    batch_size: int = 100,
    corrupt: Corruption = corruptions.none,
) -> Callable[[Params, Key, Batch], tuple[Array, Metrics]]:
    """The labels' part of `semi_supervised` alone, -E log z_y, as a loss for `gradient`.

    So labels can have an optimiser of their own: `alternating` a learner of the model with
    `gradient(label_loss(...), tx)`. The batch that the loss is given is not looked at.

    Args:
        model: its first codes are probabilities of the classes.
        labelled: rows "x" and their labels "y".
        num_classes: labels are integers in [0, num_classes).
        batch_size: labelled rows of a step; all of them where there are fewer.
        corrupt: what the encoder sees of them in training.

    >>> import jaxae, numpy as np
    >>> code = jaxae.codes.Matched(jaxae.priors.Standard(5), one_hot=2)
    >>> few = {"x": np.ones((4, 8), np.float32), "y": np.arange(4) % 2}
    >>> model = jaxae.deep(8, 5, code=code)
    >>> params = model.init(jax.random.key(0), few)
    >>> sorted(label_loss(model, few, 2)(params, jax.random.key(1), few)[1])
    ['accuracy', 'label_loss']

    Raises:
        ValueError: labels that are missing or out of range, or a number out of range.
    """
    check_range("batch_size", batch_size, 1)
    if not isinstance(labelled, Mapping):
        raise ValueError(f"labelled is a mapping with x and y; got {type(labelled).__name__}.")
    check_labels(labelled, num_classes)
    rows = {"x": jnp.asarray(labelled["x"]), "y": jnp.asarray(labelled["y"])}
    count = len(rows["y"])

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        del batch
        row_key, corrupt_key = jax.random.split(key)
        index = jnp.arange(count)
        if batch_size < count:
            index = jax.random.choice(row_key, count, (batch_size,), replace=False)
        noisy = corruptions.corrupted(corrupt, corrupt_key, {"x": as_float(rows["x"][index])})
        z, y = model.encode(params, noisy)[:, :num_classes], rows["y"][index]
        small = jnp.finfo(z.dtype).tiny
        error = -jnp.mean(jnp.log(jnp.take_along_axis(z, y[:, None], axis=1) + small))
        right = jnp.mean(jnp.argmax(z, axis=1) == y)
        return error, {"label_loss": error, "accuracy": right}

    return loss
