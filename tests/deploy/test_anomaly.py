"""Anomaly scores of all variants: closed forms, enumeration, masks, bounded memory."""

import importlib.util
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_auc_score

import jaxae
from jaxae.deploy.anomaly import anomaly_scores, feature_scores

KEY = jax.random.key(0)
SPEC = importlib.util.spec_from_file_location(
    "contract", Path(__file__).parents[1] / "test_contract.py"
)
contract = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(contract)


def drawn(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("name", contract.MODELS)
def test_of_every_variant_observed_entries_alone_count_and_features_sum_to_the_score(name):
    model, data = contract.MODELS[name](), contract.data_for(name)
    params = model.init(KEY, data)
    score, features = jax.jit(anomaly_scores(model)), jax.jit(feature_scores(model))
    shape = data["x"].shape
    mask = np.random.default_rng(1).random(shape[:2]) < 0.7
    wide = np.broadcast_to(mask.reshape(*shape[:2], *[1] * (len(shape) - 2)), shape)
    junk = {"x": np.where(wide, data["x"], np.nan), "mask": mask}
    x_hat = model.decode(params, model.encode(params, junk), model.context(junk))
    expected = (np.square(np.float64(data["x"]) - x_hat) * wide).reshape(len(mask), -1).sum(1)
    expected /= np.maximum(wide.reshape(len(mask), -1).sum(1), 1)
    found, each = score(params, KEY, junk), features(params, junk)
    np.testing.assert_allclose(found, expected, rtol=2e-2 if "bfloat16" in name else 1e-4)
    assert each.shape == shape
    assert (np.asarray(each)[~wide] == 0).all()
    np.testing.assert_allclose(np.asarray(each).reshape(len(mask), -1).sum(1), found, rtol=1e-5)


@pytest.fixture(scope="module")
def linear_vae():
    """A linear VAE, and its exact covariance of x."""
    model = jaxae.vae(3, 2, activation="identity", likelihood=jaxae.likelihoods.gaussian(0.5))
    params = model.init(KEY, {"x": np.zeros((1, 3))})
    kernel, bias = (params["decoder"]["layer_0"][name] for name in ("kernel", "bias"))
    return model, params, bias, kernel.T @ kernel + 0.25 * np.eye(3)


def test_nll_is_that_of_a_linear_gaussian_model_of_the_observed_entries_for_each(linear_vae):
    model, params, mean, covariance = linear_vae
    x = 2 * drawn((6, 3)) - 1
    mask = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1]])
    exact = [
        -multivariate_normal(mean[m], covariance[np.ix_(m, m)]).logpdf(row[m]) / m.sum()
        for row, m in zip(x, mask.astype(bool), strict=True)
    ]
    score = jax.jit(anomaly_scores(model, "nll", samples=40_000))
    np.testing.assert_allclose(score(params, KEY, {"x": x, "mask": mask}), exact, atol=0.03)


def test_elbo_and_distortion_are_their_closed_forms_in_the_mean_over_draws(linear_vae):
    model, params, bias, _ = linear_vae
    batch = {"x": 2 * drawn((4, 3), 2) - 1, "mask": np.array([[1, 1, 1], [1, 1, 0]] * 2)}
    mean, scale = (np.float64(a) for a in model.latent.posterior(params, batch))
    kernel = np.float64(params["decoder"]["layer_0"]["kernel"])
    spread = np.square(scale) @ np.square(kernel)  # of x_hat, through that of z
    squares = (np.square(batch["x"] - mean @ kernel - np.asarray(bias)) + spread) / 0.25
    each = 0.5 * squares + 0.5 * np.log(2 * np.pi * 0.25)
    distortion = (each * batch["mask"]).sum(1)
    rate = (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)).sum(1)
    observed = batch["mask"].sum(1)
    for kind, nats in (("distortion", distortion), ("elbo", distortion + rate)):
        found = jax.jit(anomaly_scores(model, kind, samples=40_000))(params, KEY, batch)
        np.testing.assert_allclose(found, nats / observed, rtol=0.02)


def test_distortion_of_a_deterministic_code_is_its_negative_log_likelihood():
    likelihood = jaxae.likelihoods.bernoulli()
    model = jaxae.deep((2, 4), 2, likelihood=likelihood)
    x = (drawn((5, 2, 4)) > 0.5).astype(np.float32)
    params = model.init(KEY, {"x": x})
    p = np.float64(model.decode(params, model.encode(params, {"x": x})))
    expected = -np.log(np.where(x > 0, p, 1 - p)).mean((1, 2))
    found = anomaly_scores(model, "distortion")(params, KEY, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_free_energies_of_a_machine_rank_rows_as_enumeration_does(visible):
    model, energy = jaxae.rbm(5, 3, visible=visible, kernel_scale=1.0), jaxae.rbm_energy(visible)
    x = (drawn((8, 5)) > 0.5).astype(np.float32)
    params = model.init(KEY, {"x": x})
    h = np.array(list(np.ndindex(2, 2, 2)))
    kernel = np.float64(params["encoder"]["layer_0"]["kernel"])
    base = 0.5 * np.square(x).sum(1) if visible == "gaussian" else 0.0
    expected = base - logsumexp(x @ kernel @ h.T, axis=1)  # the biases are zero
    found = anomaly_scores(model, "free_energy", energy=energy, batch_size=3)(params, KEY, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="Leave mask out"):
        anomaly_scores(model, "free_energy")(params, KEY, {"x": x, "mask": np.ones((8, 5))})


@pytest.mark.parametrize("kind", ["reconstruction", "distortion", "elbo", "nll"])
def test_scores_are_pure_in_bounded_batches_and_depend_on_the_key_where_codes_are_drawn(kind):
    model = jaxae.vae((3, 2), 2, hidden_dims=(4,))
    x = drawn((7, 3, 2))
    batch = {"x": x, "mask": np.ones((7, 3), bool)}
    params = jax.tree.map(
        lambda *a: jnp.stack(a), *(model.init(jax.random.key(i), batch) for i in range(2))
    )
    score = anomaly_scores(model, kind, samples=2, batch_size=4)
    both = jax.jit(jax.vmap(score, in_axes=(0, None, None)))(params, KEY, batch)
    one = jax.tree.map(lambda a: a[1], params)
    alone = jax.jit(score)(one, KEY, batch)
    np.testing.assert_allclose(both[1], alone, rtol=1e-5)
    np.testing.assert_allclose(alone, jax.jit(score)(one, KEY, {"x": x}), rtol=1e-5)
    other = jax.jit(score)(one, jax.random.key(1), batch)
    assert np.array_equal(other, alone) == (kind == "reconstruction")
    assert alone.shape == (7,)


def test_bytes_count_as_pixels_and_a_row_without_observations_is_not_strange():
    model = jaxae.undercomplete(4, 2)
    x = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    params = model.init(KEY, {"x": x})
    score = anomaly_scores(model)
    floats = {"x": x.astype(np.float32) / 255}
    np.testing.assert_allclose(score(params, KEY, {"x": x}), score(params, KEY, floats), rtol=1e-5)
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]])
    found = score(params, KEY, {"x": x, "mask": mask})
    assert found[1] == 0
    assert (np.asarray(found)[[0, 2]] > 0).all()


def test_a_context_reaches_encoder_and_decoder():
    model = jaxae.conditional(jaxae.deep(4, 2), 3)
    batch = {"x": drawn((6, 4)), "context": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]}
    params = model.init(KEY, batch)
    x_hat = model.decode(params, model.encode(params, batch), batch["context"])
    expected = np.square(batch["x"] - x_hat).mean(1)
    np.testing.assert_allclose(anomaly_scores(model)(params, KEY, batch), expected, rtol=1e-5)


def test_rows_off_the_line_that_was_learned_are_found_and_features_say_where():
    rng = np.random.default_rng(3)
    line = np.outer(rng.normal(size=400), np.ones(6)).astype(np.float32)
    strange = line[:100].copy()
    strange[:, 2] += 1.0
    model = jaxae.linear(6, 1)
    learner = jaxae.gradient(model.loss, optax.adam(3e-2))
    state, key = jaxae.start(model, learner, {"x": line}, KEY)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=40, batch_size=50))
    params = fit(state, {"x": line[:300]}, key)[0].params
    rows = {"x": np.concatenate([line[300:], strange])}
    found = anomaly_scores(model)(params, KEY, rows)
    assert roc_auc_score(np.arange(200) >= 100, found) == 1.0
    each = feature_scores(model)(params, {"x": strange})
    assert (np.asarray(each).argmax(1) == 2).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anomaly_scores(jaxae.deep(4, 2), "mse"), "kind is one of"),
        (lambda: anomaly_scores(jaxae.deep(4, 2), "elbo"), "deterministic"),
        (lambda: anomaly_scores(jaxae.rbm(4, 2), "distortion"), "no likelihood"),
        (lambda: anomaly_scores(jaxae.vae(4, 2), "nll", samples=0), "samples must lie"),
        (lambda: feature_scores(jaxae.deep(4, 2), batch_size=0), "batch_size must lie"),
    ],
)
def test_what_a_model_has_not_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
