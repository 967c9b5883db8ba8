"""How an encoder contracts, against NumPy's closed forms in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import jaxae
from jaxae.base import Autoencoder, as_float
from jaxae.evaluation import (
    contraction_ratio,
    jacobians,
    mean_jacobian_norm,
    saturation,
    singular_values,
)


def encoder(function):
    """A model whose codes are a function of the flat x and the parameters alone."""

    def encode(params, batch):
        return function(as_float(batch["x"]).reshape(len(batch["x"]), -1), params)

    return Autoencoder(None, None, encode, None, None)


SIGMOID = encoder(lambda x, p: jax.nn.sigmoid(x @ p["kernel"] + p["bias"]))
LINEAR = encoder(lambda x, kernel: x @ kernel)


def sigmoid_layer(n, d, latent_dim, shape=None):
    """Data, parameters and diag(s'(a)) Wᵀ, `(n, latent_dim, d)`, of one sigmoid layer."""
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    params = {"kernel": rng.normal(size=(d, latent_dim)), "bias": rng.normal(size=latent_dim)}
    z = expit(x @ params["kernel"] + params["bias"])
    j = (z * (1 - z))[:, :, None] * params["kernel"].T
    return {"x": x.reshape(n, *(shape or (d,)))}, params, j


WIDE_AND_NARROW = pytest.mark.parametrize(("d", "latent_dim"), [(6, 4), (4, 6)])


@WIDE_AND_NARROW
@pytest.mark.parametrize("batch_size", [3, 100])
def test_jacobians_of_a_sigmoid_layer_are_slopes_times_weights(x64, d, latent_dim, batch_size):
    data, params, expected = sigmoid_layer(7, d, latent_dim, (2, d // 2))
    j = jacobians(SIGMOID, params, data, batch_size)
    assert j.dtype == np.float64
    np.testing.assert_allclose(j, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("latent_dim", [3, 9])
def test_jacobians_of_a_deep_encoder_agree_with_finite_differences(x64, latent_dim):
    model = jaxae.deep((2, 3), latent_dim, hidden_dims=(5,), activation="tanh", param_dtype="f8")
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    params = model.init(jax.random.key(0), {"x": x})
    j = jacobians(model, params, {"x": x}, 3)
    step = 1e-6
    for k, direction in enumerate(np.eye(6).reshape(6, 2, 3)):
        far = [model.encode(params, {"x": x + s * step * direction}) for s in (1, -1)]
        np.testing.assert_allclose(j[:, :, k], (far[0] - far[1]) / (2 * step), atol=1e-8)


@WIDE_AND_NARROW
def test_singular_values_are_numpys(x64, d, latent_dim):
    data, params, expected = sigmoid_layer(7, d, latent_dim)
    values = singular_values(SIGMOID, params, data, batch_size=3)
    assert values.shape == (7, 4)
    np.testing.assert_allclose(values, np.linalg.svd(expected, compute_uv=False), rtol=1e-10)


def test_jacobian_norms_are_means_of_numpys(x64):
    data, params, j = sigmoid_layer(7, 6, 4, (2, 3))
    norms = np.linalg.norm(j.reshape(7, -1), axis=1)
    evaluate = mean_jacobian_norm(SIGMOID, batch_size=3)
    for metrics in (evaluate(params, data), jax.jit(evaluate)(params, data)):
        np.testing.assert_allclose(metrics["jacobian_norm"], norms.mean(), rtol=1e-12)
        np.testing.assert_allclose(metrics["squared_jacobian_norm"], (norms**2).mean(), rtol=1e-12)
    pair = jax.tree.map(lambda a: np.stack([a, a]), params)
    swept = jax.vmap(evaluate, (0, None))(pair, data)["jacobian_norm"]
    np.testing.assert_allclose(swept, [norms.mean()] * 2, rtol=1e-12)


def test_a_trained_single_layer_is_read_through_its_own_kernel():
    train = jaxae.load("digits", "train")
    data = {name: a[:50] for name, a in train.items()}
    model = jaxae.undercomplete((8, 8, 1), 10, latent_activation="sigmoid")
    params = model.init(jax.random.key(0), data)
    kernel = np.float64(params["encoder"]["layer_0"]["kernel"])
    a = np.float64(as_float(data["x"])).reshape(50, -1) @ kernel
    slopes = expit(a) * (1 - expit(a))
    squares = slopes**2 @ (kernel**2).sum(0)
    metrics = jax.jit(mean_jacobian_norm(model, batch_size=20))(params, data)
    np.testing.assert_allclose(metrics["squared_jacobian_norm"], squares.mean(), rtol=1e-5)
    values = singular_values(model, params, data, 20)
    np.testing.assert_allclose((np.float64(values) ** 2).sum(1), squares, rtol=1e-5)


def test_what_is_not_observed_has_no_influence():
    model = jaxae.linear(6, 2)
    rng = np.random.default_rng(0)
    mask = (rng.random((5, 6)) < 0.6).astype(np.float32)
    mask[0] = 1
    x = np.where(mask, rng.normal(size=(5, 6)), np.nan).astype(np.float32)
    data = {"x": x, "mask": mask}
    params = model.init(jax.random.key(0), data)
    kernel = np.float64(params["encoder"]["layer_0"]["kernel"])
    expected = kernel.T * mask[:, None]
    np.testing.assert_allclose(jacobians(model, params, data, 2), expected, rtol=1e-6)
    squares = mean_jacobian_norm(model)(params, data)["squared_jacobian_norm"]
    np.testing.assert_allclose(squares, (expected**2).sum((1, 2)).mean(), rtol=1e-5)


def test_the_context_is_held_fixed():
    def encode(params, batch):
        return batch["x"] ** 2 * batch["context"]

    x, context = np.arange(1.0, 7).reshape(3, 2), np.array([[1.0], [2.0], [3.0]])
    j = jacobians(Autoencoder(None, None, encode, None, None), None, {"x": x, "context": context})
    np.testing.assert_allclose(j, 2 * (x * context)[:, None] * np.eye(2))


def test_half_precision_is_measured_in_single():
    model = encoder(lambda x, kernel: (x @ kernel).astype(jnp.bfloat16))
    data, kernel = {"x": jnp.ones((3, 4), jnp.bfloat16)}, jnp.eye(4, 2, dtype=jnp.bfloat16)
    values = singular_values(model, kernel, data)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.ones((3, 2)))
    assert mean_jacobian_norm(model)(kernel, data)["jacobian_norm"].dtype == jnp.float32


@pytest.mark.parametrize("radius", [1e-6, 1e-2, 1.0, 100.0])
def test_a_multiple_of_an_orthogonal_code_contracts_by_that_factor(x64, radius):
    kernel = 0.3 * np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    data = {"x": np.random.default_rng(1).normal(size=(9, 5))}
    ratio = contraction_ratio(LINEAR, kernel, data, jax.random.key(0), [radius], batch_size=4)
    np.testing.assert_allclose(ratio, [0.3], rtol=1e-8)


def test_linear_codes_of_two_inputs_have_the_mean_of_an_ellipse_at_every_radius(x64):
    kernel = np.array([[2.0, 0.0], [0.0, 0.5]])
    data = {"x": np.random.default_rng(0).normal(size=(4000, 2))}
    radii = [0.01, 1.0, 30.0]
    ratios = contraction_ratio(LINEAR, kernel, data, jax.random.key(0), radii, directions=10)
    angles = np.linspace(0, 2 * np.pi, 10_000, endpoint=False)
    lengths = np.hypot(2 * np.cos(angles), 0.5 * np.sin(angles))
    standard_error = lengths.std() / np.sqrt(40_000)
    np.testing.assert_allclose(ratios, lengths.mean(), atol=4 * standard_error)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)  # the same u at all radii


def test_directions_are_uniform_on_the_sphere(x64):
    data = {"x": np.zeros((20_000, 3))}
    first = encoder(lambda x, p: x[:, :1])  # |u_1| is uniform on [0, 1] in three dimensions
    ratio = contraction_ratio(first, None, data, jax.random.key(0), [1.0])
    np.testing.assert_allclose(ratio, [0.5], atol=4 / np.sqrt(12 * 20_000))


def test_small_radii_give_the_mean_length_of_jacobian_vector_products(x64):
    data, params, j = sigmoid_layer(9, 1, 4)  # one entry: u is 1 or -1
    ratio = contraction_ratio(SIGMOID, params, data, jax.random.key(0), [1e-6], directions=2)
    np.testing.assert_allclose(ratio, np.linalg.norm(j, axis=1).mean(), rtol=1e-5)
    data, params, j = sigmoid_layer(2000, 6, 4, (2, 3))
    ratio = contraction_ratio(SIGMOID, params, data, jax.random.key(0), [1e-6, 30.0])
    u = np.random.default_rng(3).normal(size=(2000, 50, 6))
    lengths = np.linalg.norm(np.einsum("nkd,nud->nuk", j, u), axis=2) / np.linalg.norm(u, axis=2)
    error = np.sqrt((lengths.var(1)).mean() / 2000)
    np.testing.assert_allclose(ratio[0], lengths.mean(), atol=4 * error)
    assert ratio[1] < ratio[0] - 4 * error  # beyond the linear part a sigmoid saturates


def test_contraction_ratios_follow_the_key_and_not_the_batch_size(x64):
    data, params, _ = sigmoid_layer(11, 6, 4)
    radii = jnp.array([0.1, 2.0])

    def ratios(seed, size):
        key = jax.random.key(seed)
        return contraction_ratio(SIGMOID, params, data, key, radii, directions=3, batch_size=size)

    np.testing.assert_allclose(ratios(0, 4), ratios(0, 100), rtol=1e-10)
    assert np.abs(ratios(0, 100) - ratios(1, 100)).min() > 1e-6


def test_directions_of_the_contraction_ratio_leave_out_what_is_not_observed(x64):
    kernel = np.diag([3.0, 100.0])
    data = {"x": np.tile([1.0, np.nan], (6, 1)), "mask": np.tile([1, 0], (6, 1))}

    def encode(params, batch):
        return jnp.where(batch["mask"] != 0, batch["x"], 0.0) @ params

    model = Autoencoder(None, None, encode, None, None)
    ratio = contraction_ratio(model, kernel, data, jax.random.key(0), [0.5])
    np.testing.assert_allclose(ratio, [3.0], rtol=1e-12)
    data["mask"] = np.zeros((6, 2))
    assert np.isnan(contraction_ratio(model, kernel, data, jax.random.key(0), [0.5])).all()


def test_contraction_ratios_of_bytes_are_those_of_pixels():
    x = np.random.default_rng(0).integers(0, 256, (20, 8), dtype=np.uint8)
    kernel = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    model = encoder(lambda x, kernel: jnp.tanh(3 * x @ kernel))
    key, radii = jax.random.key(0), [0.1, 1.0]
    pair = ({"x": x}, {"x": np.float32(x) / 255})
    both = [contraction_ratio(model, kernel, data, key, radii) for data in pair]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-4)
    assert abs(both[0][0] - both[0][1]) > 0.1


def test_contraction_ratio_refuses_bad_input():
    data, key = {"x": np.ones((3, 2), np.float32)}, jax.random.key(0)
    kernel = np.eye(2, dtype=np.float32)
    for radii in ([], 0.5, [[0.5]]):
        with pytest.raises(ValueError, match="radii must be one axis"):
            contraction_ratio(LINEAR, kernel, data, key, radii)
    for radii in ([0.0], [1.0, -1.0], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match=r"radii must lie in \(0"):
            contraction_ratio(LINEAR, kernel, data, key, radii)
    with pytest.raises(ValueError, match="directions must lie in"):
        contraction_ratio(LINEAR, kernel, data, key, [1.0], directions=0)
    for function in (jacobians, singular_values):
        with pytest.raises(ValueError, match="batch_size must be at least 1"):
            function(LINEAR, kernel, data, batch_size=0)


def test_saturation_is_the_share_of_codes_beyond_the_bounds():
    z = np.random.default_rng(0).uniform(size=(13, 7)).astype(np.float32)
    identity = encoder(lambda x, params: x)
    default, share = saturation(identity, None, {"x": z}), np.mean((z < 0.05) | (z > 0.95))
    np.testing.assert_allclose(default, share, rtol=1e-6)
    given = saturation(identity, None, {"x": z}, low=0.2, high=0.5, batch_size=5)
    np.testing.assert_allclose(given, np.mean((z < 0.2) | (z > 0.5)), rtol=1e-6)


def test_saturation_of_tanh_at_nine_tenths_is_that_of_a_sigmoid():
    a = np.random.default_rng(0).normal(0, 3, (50, 8)).astype(np.float32)
    sigmoid = encoder(lambda x, params: jax.nn.sigmoid(x))
    tanh = encoder(lambda x, params: jnp.tanh(x / 2))
    same = saturation(tanh, None, {"x": a}, low=-0.9, high=0.9)
    assert 0.1 < saturation(sigmoid, None, {"x": a}) == same < 0.9


def test_saturation_of_codes_that_are_no_numbers_is_none():
    identity = encoder(lambda x, params: x)
    assert np.isnan(saturation(identity, None, {"x": np.array([[0.5, np.nan]], np.float32)}))
    with pytest.raises(ValueError, match="low must be below high"):
        saturation(identity, None, {"x": np.ones((2, 2))}, low=0.9, high=0.1)
