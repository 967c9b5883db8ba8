"""Units' strongest examples and matches of dictionaries, against NumPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from sklearn.metrics.pairwise import cosine_similarity

from jaxae.base import Autoencoder
from jaxae.evaluation import mean_max_cosine, top_examples
from jaxae.evaluation.dictionaries import _largest_cosines


def relu_codes():
    """A model whose codes are max(x @ kernel - bias, 0)."""

    def encode(params, batch):
        return jnp.maximum(batch["x"] @ params["kernel"] - params["bias"], 0.0)

    return Autoencoder(None, None, encode, None, None)


def parameters(d=12, units=20):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(d, units)).astype(np.float32) / np.float32(np.sqrt(d))
    bias = rng.uniform(0.0, 1.5, units).astype(np.float32)
    bias[:3] = 1e6  # dead
    return {"kernel": kernel, "bias": bias}


@pytest.mark.parametrize("batch_size", [1, 4, 25, 26, 1000])
@pytest.mark.parametrize("n", [1, 6, 26])
def test_top_examples_are_those_of_a_stable_sort(batch_size, n):
    x = np.random.default_rng(11).normal(size=(26, 12)).astype(np.float32)
    x[13:] = x[:13]  # ties, within and between batches
    model, params, units = relu_codes(), parameters(), [0, 7, 4, 19, 7]
    z = np.asarray(model.encode(params, {"x": x}))[:, units].T
    indices, activations = top_examples(model, params, {"x": x}, units, n, batch_size)
    order = np.argsort(-z, axis=1, kind="stable")[:, :n]
    np.testing.assert_allclose(activations, np.take_along_axis(z, order, 1), rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(z, indices, 1), activations, rtol=1e-5)
    assert all(len(set(row)) == n for row in indices.tolist())
    np.testing.assert_array_equal(indices[0], np.arange(n))  # all ties: the first rows


def test_top_examples_prefer_the_first_of_equal_rows_and_take_negative_codes():
    x = np.float32([[-1.0], [-3.0], [-1.0], [-2.0], [-1.0]])
    model = Autoencoder(None, None, lambda params, batch: batch["x"], None, None)
    for batch_size in (1, 2, 3, 5):
        indices, activations = top_examples(model, None, {"x": x}, np.array([0]), 4, batch_size)
        assert indices.tolist() == [[0, 2, 4, 3]]
        assert activations.tolist() == [[-1.0, -1.0, -1.0, -2.0]]


def test_top_examples_refuse_bad_input():
    model, params, data = relu_codes(), parameters(), {"x": np.ones((5, 12), np.float32)}
    for n in (0, 6):
        with pytest.raises(ValueError, match=rf"n must lie in \[1, 5\].*got {n}"):
            top_examples(model, params, data, [0], n)
    for units in ([], [20], [-1], [0.5], [[0]], 3, [True]):
        with pytest.raises(ValueError, match="units must be integers from 0 to 19"):
            top_examples(model, params, data, units, 2)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        top_examples(model, params, data, [0], 2, 0)


@pytest.mark.parametrize("at_once", [1, 100, 2**24])
def test_mean_max_cosine_is_scikit_learns_best_match(at_once, monkeypatch):
    monkeypatch.setattr("jaxae.evaluation.dictionaries.COSINES_AT_ONCE", at_once)
    rng = np.random.default_rng(at_once)
    atoms, known = rng.normal(size=(37, 8)), 100 * rng.normal(size=(53, 8))
    wanted = cosine_similarity(known, atoms).max(1).mean()
    np.testing.assert_allclose(mean_max_cosine(atoms, known), wanted, rtol=1e-6)


def test_mean_max_cosine_sees_neither_order_nor_length_but_sign():
    rng = np.random.default_rng(12)
    known = np.float32(rng.normal(size=(20, 16)))
    lengths = 10.0 ** rng.uniform(-30, 15, (20, 1))
    shuffled = np.float32((known * lengths)[rng.permutation(20)])
    np.testing.assert_allclose(mean_max_cosine(shuffled, known), 1.0, atol=1e-6)
    assert mean_max_cosine(np.eye(4), -np.eye(4)) == 0.0
    assert mean_max_cosine([[2.0, 0.0]], [[-1.0, 0.0]]) == -1.0


def test_atoms_of_length_zero_have_cosine_zero():
    known = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert mean_max_cosine(np.zeros((3, 2)), known) == 0.0
    assert mean_max_cosine([[0.0, 0.0], [-1.0, 0.0]], known[:1]) == 0.0
    assert mean_max_cosine([[0.0, 0.0], [3.0, 0.0]], known) == 0.5


def test_mean_max_cosine_builds_no_matrix_of_all_pairs():
    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (out.aval.size for out in equation.outvars)
            for inner in jaxprs_in_params(equation.params):
                yield from sizes(inner)

    atoms = jnp.ones((1000, 4))
    for at_once in (100_000, 2**24):
        traced = jax.make_jaxpr(_largest_cosines, static_argnums=0)(at_once, atoms, atoms)
        assert max(sizes(traced.jaxpr)) == min(at_once, 1000**2)


def test_mean_max_cosine_refuses_bad_input():
    cases = [
        ((np.ones((3, 2)), np.ones((2, 3))), "the same dim"),
        ((np.ones((3, 2, 1)), np.ones((2, 2))), "the same dim"),
        ((np.ones(3), np.ones((2, 3))), "atoms must be"),
        ((np.full((3, 2), np.nan), np.ones((2, 2))), "atoms must be finite"),
        ((np.ones((3, 2)), np.eye(2) * [1.0, 0.0]), "1 of 2 have length 0"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            mean_max_cosine(*arguments)
