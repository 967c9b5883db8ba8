"""Sparsity and fractions of variance, against float64 NumPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from jaxae.base import Autoencoder, as_float
from jaxae.evaluation import firing_density, sparsity


def relu_model(x_shape=(12,), scale=1.0, shift=0.0):
    """Codes max((x - shift) / scale @ kernel - bias, 0), mapped back to scale and shift."""

    def encode(params, batch):
        x = (as_float(batch["x"]) - shift) / scale
        if "mask" in batch:
            mask = batch["mask"].reshape(batch["mask"].shape + (1,) * (x.ndim - batch["mask"].ndim))
            x = jnp.where(mask != 0, x, 0.0)
        return jnp.maximum(x.reshape(len(x), -1) @ params["kernel"] - params["bias"], 0.0)

    def decode(params, z, context=None):
        x_hat = scale * (z @ params["kernel"].T).reshape(-1, *x_shape) + shift
        return x_hat if context is None else x_hat + context

    return Autoencoder(None, None, encode, decode, None)


def parameters(seed=0, d=12, units=20):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(d, units)).astype(np.float32) / np.float32(np.sqrt(d))
    bias = rng.uniform(0.0, 1.5, units).astype(np.float32)
    bias[:3] = 1e6  # dead
    return {"kernel": kernel, "bias": bias}


def expected(x, x_hat, z, seen=None):
    """All metrics in float64, straight from their definitions; `seen` has x's shape."""
    x, x_hat, z = (np.float64(a).reshape(len(a), -1) for a in (x, x_hat, z))
    seen = np.ones(x.shape, bool) if seen is None else np.asarray(seen, bool).reshape(x.shape)
    mean = np.nanmean(np.where(seen, x, np.nan), axis=0)
    error, variation = ((x - x_hat) ** 2)[seen].sum(), ((x - mean) ** 2)[seen].sum()
    return {
        "l0": (z != 0).sum(1).mean(),
        "fvu": error / variation,
        "explained_variance": 1.0 - error / variation,
        "relative_reconstruction_bias": (x_hat**2)[seen].sum() / (x * x_hat)[seen].sum(),
        "dead_fraction": (z == 0).all(0).mean(),
        "mean_activation": z.mean(),
    }


def assert_metrics(found, wanted, rtol=2e-5):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert np.shape(found[name]) == ()
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 1000])
def test_sparsity_is_that_of_its_definitions_for_any_batch_size(batch_size):
    x = np.random.default_rng(0).normal(1.0, 2.0, size=(23, 12)).astype(np.float32)
    model, params = relu_model(), parameters()
    z = model.encode(params, {"x": x})
    wanted = expected(x, model.decode(params, z), z)
    assert 0 < wanted["dead_fraction"] < 0.5
    evaluate = sparsity(model, batch_size)
    for function in (evaluate, jax.jit(evaluate)):
        assert_metrics(function(params, {"x": x}), wanted)


@pytest.mark.parametrize("mask_shape", [(23,), (23, 4), (23, 4, 3)])
def test_sparsity_counts_observed_entries_only(mask_shape):
    rng = np.random.default_rng(1)
    x = rng.normal(3.0, 1.0, size=(23, 4, 3)).astype(np.float32)
    mask = (rng.random(mask_shape) < 0.6).astype(np.float32)
    mask[:7, ...] = 0.0  # the first batch shows nothing
    seen = np.broadcast_to(mask.reshape(mask_shape + (1,) * (3 - mask.ndim)), x.shape) != 0
    model, params = relu_model((4, 3)), parameters()
    z = model.encode(params, {"x": x, "mask": mask})
    wanted = expected(x, model.decode(params, z), z, seen)
    hidden = np.where(seen, x, np.nan)
    for batch_size in (5, 23):
        metrics = jax.jit(sparsity(model, batch_size))(params, {"x": hidden, "mask": mask})
        assert_metrics(metrics, wanted)


def test_explained_variance_is_scikit_learns_weighted_by_variance():
    x = np.random.default_rng(2).normal(5.0, 2.0, size=(300, 12)).astype(np.float32)
    model, params = relu_model(), parameters()
    x_hat = model.decode(params, model.encode(params, {"x": x}))
    metrics = sparsity(model, 70)(params, {"x": x})
    wanted = r2_score(np.float64(x), np.float64(x_hat), multioutput="variance_weighted")
    np.testing.assert_allclose(metrics["explained_variance"], wanted, rtol=1e-5)


def test_fvu_of_principal_components_is_the_variance_that_they_leave():
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(500, 12)) * np.arange(1, 13) + 7.0).astype(np.float32)
    pca = PCA(4).fit(np.float64(x))

    def encode(params, batch):
        return (batch["x"] - params["mean"]) @ params["components"].T

    def decode(params, z, context=None):
        return z @ params["components"] + params["mean"]

    params = {"mean": np.float32(pca.mean_), "components": np.float32(pca.components_)}
    metrics = sparsity(Autoencoder(None, None, encode, decode, None), 64)(params, {"x": x})
    np.testing.assert_allclose(metrics["fvu"], 1 - pca.explained_variance_ratio_.sum(), rtol=1e-4)
    assert metrics["l0"] == 4.0


@pytest.mark.parametrize(("scale", "shift"), [(10.0, 0.0), (1.0, 100.0), (10.0, -3000.0)])
def test_fvu_has_neither_unit_nor_origin(scale, shift):
    x = np.random.default_rng(4).normal(size=(2000, 12)).astype(np.float32)
    params = parameters()
    plain = sparsity(relu_model(), 300)(params, {"x": x})
    moved_model = relu_model(scale=np.float32(scale), shift=np.float32(shift))
    moved = sparsity(moved_model, 300)(params, {"x": np.float32(scale) * x + np.float32(shift)})
    np.testing.assert_allclose(moved["fvu"], plain["fvu"], rtol=1e-3)
    np.testing.assert_allclose(moved["l0"], plain["l0"], rtol=1e-3)


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_fvu_is_accurate_on_data_far_from_zero_that_drifts(offset):
    rng = np.random.default_rng(5)
    drift = np.linspace(-2.0, 2.0, 20_001)[:, None]
    x = (rng.normal(size=(20_001, 12)) + drift + offset).astype(np.float32)

    def decode(params, z, context=None):
        return z + params

    model = Autoencoder(None, None, lambda params, batch: batch["x"], decode, None)
    metrics = jax.jit(sparsity(model, 1000))(np.float32(0.5), {"x": x})
    variation = ((np.float64(x) - np.float64(x).mean(0)) ** 2).sum()
    np.testing.assert_allclose(metrics["fvu"], 0.25 * x.size / variation, rtol=1e-5)


def test_fvu_of_the_mean_is_one_and_of_data_that_does_not_vary_is_not_finite():
    x = np.random.default_rng(6).normal(4.0, 1.0, size=(50, 3)).astype(np.float32)

    def encode(params, batch):
        return jnp.zeros((len(batch["x"]), 2))

    model = Autoencoder(None, None, encode, lambda p, z, c=None: p + jnp.zeros((len(z), 3)), None)
    metrics = sparsity(model, 20)(x.mean(0), {"x": x})
    np.testing.assert_allclose(metrics["fvu"], 1.0, rtol=1e-5)
    assert (metrics["l0"], metrics["dead_fraction"], metrics["mean_activation"]) == (0, 1, 0)
    constant = sparsity(model, 20)(np.zeros(3, np.float32), {"x": np.ones((50, 3), np.float32)})
    assert np.isinf(constant["fvu"])
    blind = {"x": x, "mask": np.zeros(50)}
    assert np.isnan(sparsity(model, 20)(x.mean(0), blind)["fvu"])


def test_bias_is_the_divisor_that_makes_the_least_squared_error():
    x = np.random.default_rng(7).normal(1.0, 1.0, size=(80, 12)).astype(np.float32)
    model, params = relu_model(), parameters()
    x_hat = np.float64(model.decode(params, model.encode(params, {"x": x})))
    best = minimize_scalar(lambda g: ((x_hat / g - x) ** 2).sum(), bounds=(0.1, 10.0)).x
    found = sparsity(model, 30)(params, {"x": x})["relative_reconstruction_bias"]
    np.testing.assert_allclose(found, best, rtol=1e-4)


def test_shrunken_reconstructions_have_a_bias_below_one():
    x = np.random.default_rng(8).normal(size=(40, 3)).astype(np.float32)
    model = Autoencoder(None, None, lambda p, b: b["x"], lambda p, z, c=None: p * z, None)
    for shrinkage in (0.8, 1.0):
        metrics = sparsity(model)(shrinkage, {"x": x})
        np.testing.assert_allclose(metrics["relative_reconstruction_bias"], shrinkage, rtol=1e-6)


def test_sparsity_reads_bytes_codes_with_axes_context_and_swept_parameters():
    x = np.random.default_rng(9).integers(0, 256, (31, 2, 2), dtype=np.uint8)
    context = np.full((31, 1, 1), 0.25, np.float32)

    def encode(params, batch):
        return jnp.maximum(as_float(batch["x"]) - params, 0.0)

    def decode(params, z, context=None):
        return z + context

    model, levels = Autoencoder(None, None, encode, decode, None), np.float32([0.2, 0.7])
    data = {"x": x, "context": context}
    metrics = jax.vmap(sparsity(model, 8), (0, None))(levels, data)
    for i, level in enumerate(levels):
        z = np.maximum(x / np.float32(255) - level, 0)
        wanted = expected(x / 255.0, z + 0.25, z)
        assert_metrics({name: values[i] for name, values in metrics.items()}, wanted)


def test_sparsity_keeps_neither_codes_nor_reconstructions_of_all_rows():
    n, d, units = 20_000, 100, 400
    params = parameters(d=d, units=units)
    data = {"x": jnp.zeros((n, d), jnp.uint8)}
    for function in (sparsity(relu_model((d,)), 500), firing_density(relu_model((d,)), 500)):
        memory = jax.jit(function).lower(params, data).compile().memory_analysis()
        assert memory.temp_size_in_bytes < min(n * units, n * d * 4)


@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_firing_density_is_the_share_of_codes_that_are_not_zero(batch_size):
    x = np.random.default_rng(10).normal(size=(30, 12)).astype(np.float32)
    model, params = relu_model(), parameters()
    z = np.asarray(model.encode(params, {"x": x}))
    density = jax.jit(firing_density(model, batch_size))(params, {"x": x})
    np.testing.assert_allclose(density, (z != 0).mean(0), rtol=1e-6)
    assert density[:3].tolist() == [0, 0, 0]
    l0 = sparsity(model, batch_size)(params, {"x": x})["l0"]
    np.testing.assert_allclose(density.sum(), l0, rtol=1e-6)


def test_negative_codes_fire():
    model = Autoencoder(None, None, lambda p, b: b["x"], lambda p, z, c=None: z, None)
    data = {"x": jnp.array([[-1.0, 0.0], [2.0, 0.0]])}
    assert firing_density(model)(None, data).tolist() == [1.0, 0.0]
    assert sparsity(model)(None, data)["l0"] == 1.0


def test_sparsity_and_density_refuse_bad_input():
    model, params = relu_model(), parameters()
    x = np.ones((4, 12), np.float32)
    for build in (sparsity, firing_density):
        with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
            build(model, 0)(params, {"x": x})
        with pytest.raises(ValueError, match='mapping of arrays that has "x"'):
            build(model)(params, {"y": x})
    with pytest.raises(ValueError, match=r"must have x's shape \(4, 12\)"):
        sparsity(relu_model((3, 4)))(params, {"x": x})
    identity = Autoencoder(None, None, lambda p, b: b["x"], lambda p, z, c=None: z, None)
    with pytest.raises(ValueError, match="left prefix"):
        sparsity(identity)(None, {"x": x, "mask": np.ones((4, 12, 1))})
