"""How well a classifier does on a whole data set, and how sure one test set makes of that."""

import functools
from collections.abc import Callable
from numbers import Integral

import chex
import jax
import jax.numpy as jnp
import optax

from jaxae.base import Array, Batch, Metrics, Params, check_range, map_batches, num_examples
from jaxae.models.classifiers import Classifier, check_labels


def accuracy(classifier: Classifier, batch_size: int = 1000) -> Callable[[Params, Batch], Metrics]:
    """How well `classifier` tells the classes of a data set apart, without noise.

    Args:
        classifier: Its `logits` are used.
        batch_size: Rows at a time; only their activations are in memory.

    Returns:
        A pure function `(params, data) -> metrics` to jit, vmap or call in a training
        loop. Its metrics: `accuracy`, the share of rows whose greatest logit is that of
        their label; `nll`, the mean cross-entropy in nats per example. Each row counts
        once. In a training loop this accuracy takes the place of the training step's. It
        raises `ValueError` where labels "y" are missing, are no integers of shape `(n,)`,
        or are concrete and no class of the classifier.

    >>> def logits(params, batch): return params * batch["x"]
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0]])
    >>> evaluate = accuracy(Classifier(None, None, logits))
    >>> float(evaluate(1.0, {"x": x, "y": jnp.array([0, 1, 1, 1])})["accuracy"])
    0.75
    """

    def scores(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        out, y = classifier.logits(params, batch), batch["y"]
        nats = optax.softmax_cross_entropy_with_integer_labels(out, y)
        return (jnp.argmax(out, axis=-1) == y).astype(nats.dtype), nats

    def evaluate(params: Params, data: Batch) -> Metrics:
        num_examples(data)
        row = {name: array[:1] for name, array in data.items()}
        check_labels(data, jax.eval_shape(classifier.logits, params, row).shape[1])
        right, nats = map_batches(functools.partial(scores, params), data, batch_size)
        return {"accuracy": right.mean(), "nll": nats.mean()}

    return evaluate


def accuracy_interval(
    accuracy: chex.Numeric | Array, n: int, level: float = 0.95
) -> tuple[float, float]:
    """The exact confidence interval of an accuracy measured on one test set of `n` rows.

    Of k = accuracy · n correct rows, a binomial count, it holds every true accuracy under
    which neither k or fewer nor k or more has a chance below (1 - level) / 2 (Clopper &
    Pearson, 1934): it covers the truth with a chance of at least `level`. It says how far the
    drawing of test rows moves the figure, and nothing of seeds (see `mean_interval`).

    Args:
        accuracy: The share of correct rows, in [0, 1].
        n: The number of test rows.
        level: The confidence, between 0 and 1.

    Returns:
        `(low, high)`, in [0, 1].

    Raises:
        ValueError: `accuracy` outside [0, 1], `n` no positive integer, or `level` not
            between 0 and 1.

    >>> low, high = accuracy_interval(0.97, 10_000)
    >>> print(f"{low:.4f} to {high:.4f}")
    0.9665 to 0.9733
    """
    check_range("accuracy", accuracy, 0.0, 1.0)
    check_range("level", level, 0.0, 1.0, open_low=True, open_high=True)
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n is the number of test rows, a positive integer; got {n!r}.")
    from scipy import stats

    correct = round(float(accuracy) * int(n))
    interval = stats.binomtest(correct, int(n)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)
