"""Accuracy against NumPy, and its interval against the binomial distribution summed by hand."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import log_softmax

import jaxae
from jaxae.evaluation.classification import accuracy, accuracy_interval
from jaxae.models.classifiers import classifier

N, D, CLASSES = 1003, 5, 4
RNG = np.random.default_rng(0)
DATA = {
    "x": RNG.normal(size=(N, D)).astype(np.float32),
    "y": RNG.integers(0, CLASSES, N).astype(np.uint8),
}


@pytest.fixture(scope="module")
def labeller():
    return classifier(jaxae.undercomplete(D, 3), CLASSES, corrupt=lambda key, x: x * jnp.nan)


def parameters(labeller, seed=0):
    params = labeller.init(jax.random.key(seed), DATA)
    kernel = jax.random.normal(jax.random.key(seed + 1), (3, CLASSES))
    return {**params, "head": {**params["head"], "kernel": kernel}}


@pytest.mark.parametrize("batch_size", [100, 1, 1003, 5000])
def test_accuracy_and_nll_over_all_rows_equal_numpys(labeller, batch_size):
    params = parameters(labeller)
    logits = np.asarray(labeller.logits(params, DATA), np.float64)
    metrics = jax.jit(accuracy(labeller, batch_size))(params, DATA)
    right = logits.argmax(1) == DATA["y"]
    np.testing.assert_allclose(metrics["accuracy"], right.mean(), rtol=1e-6)
    nll = -log_softmax(logits, axis=1)[np.arange(N), DATA["y"]].mean()
    np.testing.assert_allclose(metrics["nll"], nll, rtol=1e-5)
    assert set(metrics) == {"accuracy", "nll"}


def test_accuracy_is_traced_for_one_batch_and_maps_over_parameters(labeller):
    shapes = []

    def logits(params, batch):
        shapes.append(batch["x"].shape)
        return labeller.logits(params, batch)

    evaluate = accuracy(labeller._replace(logits=logits), 100)
    several = [parameters(labeller, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *several)
    together = jax.vmap(evaluate, in_axes=(0, None))(stacked, DATA)
    assert set(shapes) == {(1, D), (100, D)}
    each = [evaluate(params, DATA)["accuracy"] for params in several]
    np.testing.assert_allclose(together["accuracy"], each, rtol=1e-6)
    assert len({float(value) for value in each}) > 1


def test_accuracy_watches_a_fit(labeller):
    plain = classifier(jaxae.undercomplete(D, 3), CLASSES)
    learner = jaxae.gradient(plain.loss, optax.adam(1e-2))
    state = learner.init(plain.init(jax.random.key(0), DATA), jax.random.key(1))
    evaluate = partial(accuracy(plain, 500), data=DATA)
    fit = partial(jaxae.fit, learner, epochs=2, batch_size=100, evaluate=evaluate)
    state, history = jax.jit(fit)(state, DATA, jax.random.key(2))
    np.testing.assert_allclose(history["nll"][-1], evaluate(state.params)["nll"], rtol=1e-5)
    np.testing.assert_allclose(
        history["accuracy"][-1], evaluate(state.params)["accuracy"], rtol=1e-6
    )


NO_LABELS = [
    (None, 'needs labels "y"'),
    (DATA["y"] / 2, "float64"),
    (DATA["y"] > 1, "bool"),
    (np.eye(CLASSES, dtype=int)[DATA["y"]], "argmax"),
    (DATA["y"] + np.uint8(1), r"in \[0, 4\).* from 1 to 4"),
    (DATA["y"].astype(int) - 1, "from -1 to 2"),
]


@pytest.mark.parametrize(("y", "message"), NO_LABELS)
def test_data_without_fit_labels_is_refused_in_training_and_evaluation(labeller, y, message):
    params = parameters(labeller)
    data = {"x": DATA["x"]} if y is None else {"x": DATA["x"], "y": y}
    for call in (labeller.init, partial(labeller.loss, params)):
        with pytest.raises(ValueError, match=message):
            call(jax.random.key(0), data)
    with pytest.raises(ValueError, match=message):
        accuracy(labeller)(params, data)


def test_labels_without_rows_are_refused(labeller):
    with pytest.raises(ValueError, match='has "x"'):
        accuracy(labeller)(parameters(labeller), {"y": DATA["y"]})


def tails(k, n, p):
    """The chances of k or fewer, and of k or more, of n."""
    chances = [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    return sum(chances[: k + 1]), sum(chances[k:])


@pytest.mark.parametrize(("k", "n", "level"), [(7, 20, 0.95), (1, 9, 0.8), (49, 50, 0.99)])
def test_ends_of_the_interval_are_where_a_tail_has_half_of_what_is_left(k, n, level):
    low, high = accuracy_interval(k / n, n, level)
    np.testing.assert_allclose(tails(k, n, low)[1], (1 - level) / 2, rtol=1e-6)
    np.testing.assert_allclose(tails(k, n, high)[0], (1 - level) / 2, rtol=1e-6)


def test_the_interval_equals_scipys_even_of_a_float32_of_many_rows():
    n, k = 1_000_003, 970_021
    expected = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    given = accuracy_interval(jnp.float32(k / n), n, level=0.9)
    np.testing.assert_allclose(given, (expected.low, expected.high), rtol=1e-12)


def test_the_interval_of_none_and_all_correct_is_the_closed_form():
    low, high = accuracy_interval(0.0, 12)
    assert low == 0.0
    np.testing.assert_allclose(high, 1 - 0.025 ** (1 / 12), rtol=1e-9)
    low, high = accuracy_interval(1.0, 12)
    assert high == 1.0
    np.testing.assert_allclose(low, 0.025 ** (1 / 12), rtol=1e-9)


def test_the_interval_covers_every_true_accuracy_at_least_as_often_as_it_says():
    n, level = 15, 0.9
    intervals = [accuracy_interval(k / n, n, level) for k in range(n + 1)]
    covered = []
    for p in np.linspace(0.01, 0.99, 99):
        chances = stats.binom.pmf(np.arange(n + 1), n, p)
        covered.append(sum(c for c, (a, b) in zip(chances, intervals, strict=True) if a <= p <= b))
    assert level - 1e-9 <= min(covered) < 0.96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((97.3, 100), "accuracy must lie"),
        ((float("nan"), 100), "accuracy must lie"),
        ((0.9, 0), "number of test rows"),
        ((0.9, 10.5), "number of test rows"),
        ((0.9, 10, 1.0), "level must lie"),
        ((0.9, 10, 0.0), "level must lie"),
    ],
)
def test_intervals_of_no_share_no_rows_or_no_level_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        accuracy_interval(*arguments)
