"""Errors over data sets, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxae.base import Autoencoder, as_float
from jaxae.evaluation import codes, map_batches, mean_interval, reconstruction, squared_error


def linear_model(x_shape):
    """Codes are x @ params; reconstructions are the codes mapped back."""

    def encode(params, batch):
        return as_float(batch["x"]).reshape(len(batch["x"]), -1) @ params

    def decode(params, z, context=None):
        x_hat = (z @ params.T).reshape(-1, *x_shape)
        return x_hat if context is None else x_hat + context

    return Autoencoder(None, None, encode, decode, None)


def expected(x, params, mask=None, shift=0.0):
    """(mse, squared_error) in float64."""
    x = np.asarray(x, np.float64) / (255.0 if x.dtype == np.uint8 else 1.0)
    flat = x.reshape(len(x), -1)
    squares = (flat - (flat @ np.float64(params) @ np.float64(params).T + shift)) ** 2
    if mask is not None:
        mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        mask = np.broadcast_to(mask, x.shape).reshape(len(x), -1).astype(bool)
        return squares[mask].mean(), squares[mask].sum() / len(x)
    return squares.mean(), squares.sum() / len(x)


@pytest.mark.parametrize("n", [1, 3, 4, 8, 10, 11])
def test_map_batches_is_exact_for_any_number_of_rows(n):
    x = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
    data = {"x": x, "y": np.arange(n)}

    def function(batch):
        return {"sum": batch["x"].sum(1), "pair": (batch["x"] * 2, batch["y"])}

    out = jax.jit(lambda data: map_batches(function, data, 4))(data)
    np.testing.assert_array_equal(out["sum"], x.sum(1))
    np.testing.assert_array_equal(out["pair"][0], x * 2)
    np.testing.assert_array_equal(out["pair"][1], np.arange(n))


def test_map_batches_traces_once_and_sees_batches_of_one_size():
    sizes = []

    def function(batch):
        sizes.append(len(batch["x"]))
        return batch["x"]

    map_batches(function, {"x": jnp.ones((10, 2))}, 4)
    assert sizes == [4]


def test_map_batches_copies_no_data():
    data = {"x": jnp.zeros((20_000, 100), jnp.uint8)}
    run = jax.jit(lambda data: map_batches(lambda b: as_float(b["x"]).sum(1), data, 500))
    temporary = run.lower(data).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 20_000 * 100 / 2


def test_map_batches_maps_over_swept_parameters():
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    params = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    run = jax.vmap(lambda p: map_batches(lambda b: b["x"] @ p, {"x": x}, 2))
    np.testing.assert_allclose(run(params), params @ x.T, rtol=1e-5, atol=1e-5)


def test_map_batches_refuses_bad_input():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        map_batches(len, {"x": jnp.ones((2, 1))}, 0)
    with pytest.raises(ValueError, match="same number of rows"):
        map_batches(len, {"x": jnp.ones((2, 1)), "y": jnp.ones(3)})


def test_squared_error_sums_over_observed_entries():
    rng = np.random.default_rng(0)
    x, x_hat = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    squares = (np.float64(x) - x_hat) ** 2
    np.testing.assert_allclose(squared_error(x, x_hat), squares.sum((1, 2)), rtol=1e-6)
    for shape in [(5,), (5, 4), (5, 4, 3)]:
        mask = rng.random(shape) < 0.5
        wide = mask.reshape(shape + (1,) * (3 - len(shape)))
        hidden = np.where(wide, x, np.nan)
        for kind in (bool, np.float32, np.int32):
            out = squared_error(hidden, x_hat, mask.astype(kind))
            np.testing.assert_allclose(out, (squares * wide).sum((1, 2)), rtol=1e-6)


def test_squared_error_reads_bytes_as_pixels_and_sums_half_precision_in_single():
    x = np.full((1, 10_000), 255, np.uint8)
    assert squared_error(x, jnp.zeros(x.shape)).tolist() == [10_000.0]
    half = squared_error(jnp.ones((1, 10_000), jnp.bfloat16), jnp.zeros((1, 10_000), jnp.bfloat16))
    assert half.dtype == jnp.float32
    assert half.tolist() == [10_000.0]


def test_squared_error_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"must have x's shape \(2, 3\); got \(2, 1\)"):
        squared_error(jnp.ones((2, 3)), jnp.ones((2, 1)))
    for shape in [(3,), (2, 1), ()]:
        with pytest.raises(ValueError, match="left prefix"):
            squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.ones(shape))


def test_reconstruction_is_accurate_on_many_rows():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60_001, 49), dtype=np.uint8)
    params = np.linalg.qr(rng.normal(size=(49, 5)))[0].astype(np.float32)
    metrics = jax.jit(reconstruction(linear_model((49,))))(params, {"x": x})
    mse, total = expected(x, params)
    np.testing.assert_allclose(metrics["mse"], mse, rtol=1e-6)
    np.testing.assert_allclose(metrics["squared_error"], total, rtol=1e-6)


@pytest.mark.parametrize("mask_shape", [None, (23,), (23, 4), (23, 4, 3)])
def test_reconstruction_counts_observed_entries_only(mask_shape):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(23, 4, 3)).astype(np.float32)
    params = rng.normal(size=(12, 2)).astype(np.float32) / 4
    mask = None if mask_shape is None else (rng.random(mask_shape) < 0.6).astype(np.float32)
    data = {"x": x} | ({} if mask is None else {"mask": mask})
    evaluate = reconstruction(linear_model((4, 3)), batch_size=5)
    for metrics in (evaluate(params, data), jax.jit(evaluate)(params, data)):
        mse, total = expected(x, params, mask)
        np.testing.assert_allclose(metrics["mse"], mse, rtol=1e-5)
        np.testing.assert_allclose(metrics["squared_error"], total, rtol=1e-5)


def test_a_mask_of_ones_is_no_mask():
    x = np.random.default_rng(2).normal(size=(9, 6)).astype(np.float32)
    params = np.eye(6, 2, dtype=np.float32)
    evaluate = reconstruction(linear_model((6,)), batch_size=4)
    plain, ones = evaluate(params, {"x": x}), evaluate(params, {"x": x, "mask": np.ones((9, 6))})
    for name in ("mse", "squared_error"):
        np.testing.assert_allclose(plain[name], ones[name], rtol=1e-6)


def test_reconstruction_hands_the_context_to_decode():
    x = np.random.default_rng(3).normal(size=(9, 6)).astype(np.float32)
    params, context = np.eye(6, 2, dtype=np.float32), np.full((9, 1), 0.5, np.float32)
    metrics = reconstruction(linear_model((6,)), 4)(params, {"x": x, "context": context})
    np.testing.assert_allclose(metrics["mse"], expected(x, params, shift=0.5)[0], rtol=1e-5)


def test_reconstruction_of_nothing_observed_is_undefined():
    data = {"x": np.ones((3, 2), np.float32), "mask": np.zeros(3)}
    metrics = reconstruction(linear_model((2,)))(np.eye(2, dtype=np.float32), data)
    assert np.isnan(metrics["mse"])
    assert metrics["squared_error"] == 0.0


def test_codes_are_those_of_encode():
    x = np.random.default_rng(4).normal(size=(10, 6)).astype(np.float32)
    params = np.eye(6, 2, dtype=np.float32)
    z = codes(linear_model((6,)), params, {"x": x}, batch_size=4)
    assert isinstance(z, np.ndarray)
    np.testing.assert_allclose(z, x @ params, rtol=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_mean_interval_is_students(level):
    values = np.random.default_rng(0).normal(3.0, 2.0, 6)
    mean, half_width = mean_interval(values, level)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    np.testing.assert_allclose([mean - half_width, mean + half_width], [low, high], rtol=1e-12)


def test_mean_interval_of_equal_values_is_a_point():
    assert mean_interval(jnp.ones(5)) == (1.0, 0.0)


def test_mean_interval_refuses_bad_input():
    with pytest.raises(ValueError, match="at least 2 values"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="one axis"):
        mean_interval(np.ones((2, 2)))
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match="level must lie between"):
            mean_interval([1.0, 2.0], level)
