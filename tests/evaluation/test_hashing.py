"""Hashes and their searches against distances counted bit by bit, and closed forms."""

import tracemalloc
from collections import Counter

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from jaxae.evaluation import hashing
from jaxae.evaluation.hashing import (
    euclidean_search,
    gini_purity,
    hamming_distances,
    hamming_search,
    pca_sign_hash,
    precision_at_k,
    random_hyperplane_hash,
    to_bits,
)


def random_bits(n, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, bits))


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 64, 65, 130])
def test_bits_unpack_to_what_exceeds_the_threshold(bits):
    z = np.random.default_rng(bits).uniform(size=(20, bits))
    packed = to_bits(z)
    assert packed.dtype == np.uint8
    assert packed.shape == (20, -(-bits // 8))
    unpacked = np.unpackbits(packed, axis=1)
    np.testing.assert_array_equal(unpacked[:, :bits], z > 0.5)
    assert not unpacked[:, bits:].any()


def test_thresholds_may_differ_by_code_and_are_not_exceeded_by_themselves():
    z = np.array([[0.1, 2.0, -1.0], [0.3, 2.5, -3.0]], np.float32)
    np.testing.assert_array_equal(to_bits(z, [0.1, 2.0, -2.0])[:, 0] >> 5, [0b001, 0b110])
    np.testing.assert_array_equal(to_bits(z, 0.1)[:, 0] >> 5, [0b010, 0b110])
    np.testing.assert_array_equal(to_bits(z[:, :, None], 0.1), to_bits(jax.numpy.asarray(z), 0.1))


@pytest.mark.parametrize("bits", [1, 12, 64, 100])
def test_hamming_distances_count_the_bits_that_differ(bits):
    a, b = random_bits(30, bits), random_bits(17, bits, seed=1)
    expected = np.rint(cdist(a, b, "hamming") * bits)
    out = hamming_distances(to_bits(a), to_bits(b))
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, expected)
    fortran = np.asfortranarray(to_bits(a))
    np.testing.assert_array_equal(hamming_distances(fortran, to_bits(b)), expected)


@pytest.mark.parametrize("pairs", [1, 60, 2**22])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_hamming_search_is_a_stable_sort_whatever_the_chunks(monkeypatch, pairs, n):
    monkeypatch.setattr(hashing, "PAIRS_AT_ONCE", pairs)
    a, b = random_bits(25, 6), random_bits(40, 6, seed=1)  # few bits, so many ties
    distances = (a[:, None] != b).sum(2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :n]
    indices, found = hamming_search(to_bits(a), to_bits(b), n)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(found, np.take_along_axis(distances, order, 1))


@pytest.mark.parametrize("pairs", [1, 100, 2**22])
@pytest.mark.parametrize("n", [1, 39])
def test_hamming_search_can_leave_each_query_out_of_what_it_finds(monkeypatch, pairs, n):
    monkeypatch.setattr(hashing, "PAIRS_AT_ONCE", pairs)
    bits = random_bits(40, 4)
    indices, distances = hamming_search(to_bits(bits), to_bits(bits), n, exclude_self=True)
    for i, row in enumerate(bits):
        others = np.delete(np.arange(40), i)
        apart = (bits[others] != row).sum(1)
        order = np.argsort(apart, kind="stable")[:n]
        np.testing.assert_array_equal(indices[i], others[order])
        np.testing.assert_array_equal(distances[i], apart[order])


def test_hamming_search_holds_few_distances_at_a_time(monkeypatch):
    monkeypatch.setattr(hashing, "PAIRS_AT_ONCE", 2**16)
    queries, database = to_bits(random_bits(1000, 16)), to_bits(random_bits(5000, 16, seed=1))
    tracemalloc.start()
    hamming_search(queries, database, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**16 * 40 < 1000 * 5000 / 1.5  # less than a byte for each pair


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_euclidean_search_agrees_with_numpy(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 5)).astype(dtype), rng.normal(size=(50, 5)).astype(dtype)
    distances = np.sqrt(((a[:, None] - b) ** 2).sum(2, dtype=np.float64))
    order = np.argsort(distances, axis=1)[:, :7]
    indices, found = euclidean_search(a, b, 7)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(found, np.take_along_axis(distances, order, 1), rtol=1e-5)
    far, _ = euclidean_search(a.astype(np.float64) + 1e8, b.astype(np.float64) + 1e8, 7)
    np.testing.assert_array_equal(far, order)


def test_euclidean_search_leaves_each_query_out_even_among_equals():
    z = np.repeat([[0.0, 0.0], [3.0, 4.0]], 5, axis=0)
    for n, expected in ((2, [0.0] * 2), (4, [0.0] * 4), (9, [0.0] * 4 + [5.0] * 5)):
        indices, distances = euclidean_search(z, z, n, exclude_self=True)
        assert not (indices == np.arange(10)[:, None]).any()
        assert all(len(set(row)) == n for row in indices.tolist())
        np.testing.assert_allclose(distances, np.tile(expected, (10, 1)), atol=1e-12)


def test_precision_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    query, database = rng.integers(0, 3, 20), rng.integers(0, 3, 50)
    indices = rng.integers(0, 50, (20, 6))
    hits = [database[j] == query[i] for i in range(20) for j in indices[i]]
    assert precision_at_k(query, database, indices) == pytest.approx(np.mean(hits), abs=1e-12)
    names = np.array(["cat", "dog", "eel"])
    assert precision_at_k(names[query], names[database], indices) == pytest.approx(np.mean(hits))


def test_purity_agrees_with_sets_gathered_one_by_one():
    rng = np.random.default_rng(0)
    packed = to_bits(rng.integers(0, 2, (60, 5)))
    y = rng.integers(3, 7, 60)
    sets = {}
    for row, label in zip(packed, y, strict=True):
        sets.setdefault(tuple(row), []).append(label)
    sizes = np.array([len(group) for group in sets.values()])
    impurity = [
        sum(c / len(g) * (1 - c / len(g)) for c in Counter(g).values()) for g in sets.values()
    ]
    purity, shared = 1 - np.array(impurity), sizes > 1
    assert 0 < (sizes == 1).sum() < len(sizes)
    assert gini_purity(packed, y) == pytest.approx(
        {
            "purity": purity.mean(),
            "example_purity": np.average(purity, weights=sizes),
            "shared_purity": purity[shared].mean(),
            "shared_example_purity": np.average(purity[shared], weights=sizes[shared]),
            "sets": len(sizes),
            "singletons": (sizes == 1).sum(),
        }
    )


def test_hashes_that_tell_all_examples_apart_are_pure_and_share_nothing():
    out = gini_purity(np.arange(9, dtype=np.uint8)[:, None], ["a", "b", "c"] * 3)
    assert (out["purity"], out["example_purity"], out["sets"], out["singletons"]) == (1, 1, 9, 9)
    assert np.isnan([out["shared_purity"], out["shared_example_purity"]]).all()


def test_pca_signs_are_those_of_the_singular_vectors():
    x = load_digits().data / 16
    train, test = x[:1000], x[1000:1200]
    basis = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:12]
    signs = (test - train.mean(0)) @ basis.T > 0  # up to the sign of a vector, flipping its bit
    packed = pca_sign_hash(train, test, 12)
    assert packed.shape == (200, 2)
    expected = (signs[:, None] != signs).sum(2)
    np.testing.assert_array_equal(hamming_distances(packed, packed), expected)


def test_random_hyperplanes_part_rows_by_their_angle_about_the_training_mean():
    mean, angles, bits = np.array([5.0, -3.0, 1.0]), np.array([0.0, 0.4, 1.5, np.pi]), 20_000
    train = mean + np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    rays = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    x = mean + rays * [[1.0], [2.0], [0.5], [3.0]]  # lengths have no part in it
    packed = random_hyperplane_hash(jax.random.key(0), train, x, bits)
    shares = hamming_distances(packed[:1], packed)[0] / bits
    np.testing.assert_allclose(shares, angles / np.pi, atol=5 * np.sqrt(0.25 / bits))
    assert shares[3] == 1.0


def test_random_hyperplanes_depend_on_the_key_alone():
    x = np.random.default_rng(0).normal(size=(30, 4))
    first, again, other = (
        random_hyperplane_hash(jax.random.key(seed), x, x[:9], 40) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bad_input_is_refused():
    z, packed, key = np.eye(4), to_bits(np.eye(4)), jax.random.key(0)
    cases = [
        (lambda: to_bits(z[0]), r"z must be \(n, features\)"),
        (lambda: to_bits(z * np.nan), "z must be finite"),
        (lambda: to_bits(z, [0.5, 0.5]), "a finite number or 4 of them; got"),
        (lambda: to_bits(z, np.nan), "threshold must be"),
        (lambda: hamming_distances(z, packed), r"a must be uint8 \(n, bytes\)"),
        (lambda: hamming_distances(packed, packed[:0]), "b must be uint8"),
        (lambda: hamming_distances(packed, to_bits(np.eye(9))), "same size; got 1 and 2"),
        (lambda: hamming_search(z, packed, 1), "queries must be uint8"),
        (lambda: hamming_search(packed, packed, 5), r"n, how many .* must lie in \[1, 4\]"),
        (lambda: hamming_search(packed, packed, 4, exclude_self=True), r"in \[1, 3\]"),
        (lambda: hamming_search(packed[:3], packed, 1, exclude_self=True), "3 queries and 4 rows"),
        (lambda: euclidean_search(z, z, 0), "must lie in"),
        (lambda: euclidean_search(z, z[:, :3], 1), "same size; got 4 and 3"),
        (lambda: euclidean_search(z, z[:3], 1, exclude_self=True), "4 queries and 3 rows"),
        (lambda: precision_at_k([0], [0, 1], [[2]]), r"must lie in \[0, 1\]"),
        (lambda: precision_at_k([0], [0, 1], [1]), r"indices must be integers \(q, k\)"),
        (lambda: precision_at_k([0], [0, 1], [[0.5]]), "indices must be integers"),
        (lambda: precision_at_k([0, 1], [0, 1], [[0]]), "query_labels must be one label per row"),
        (lambda: precision_at_k([0], [[0, 1]], [[0]]), "database_labels must be one label"),
        (lambda: gini_purity(z, [0] * 4), "packed must be uint8"),
        (lambda: gini_purity(packed, [0] * 3), "y must be one label per row"),
        (lambda: pca_sign_hash(z, z, 5), r"dims must lie in \[1, 4\]"),
        (lambda: random_hyperplane_hash(key, z, z, 0), "bits must lie in"),
        (lambda: random_hyperplane_hash(key, z, z[:, :2], 8), "x and train must have the same"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
