import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import special, stats
from sklearn.decomposition import PCA

import jaxae
from jaxae import bounds, codes, evaluation, likelihoods, priors

KEY = jax.random.key(2)
RNG = np.random.default_rng(4)
EXACT = {"rtol": 1e-10, "atol": 1e-10}
X = RNG.integers(0, 2, size=(5, 4)).astype(np.float64)


def doubles(model):
    params = model.init(KEY, {"x": X})
    return jax.tree.map(lambda a: 0.1 + 1.5 * a.astype(jnp.float64), params)


def test_the_mean_bound_is_the_mean_of_the_costs(x64):
    distortion, rate = RNG.normal(size=(2, 3, 5))
    expected = np.mean(distortion + 0.7 * rate)
    np.testing.assert_allclose(
        bounds.elbo(jnp.asarray(distortion), jnp.asarray(rate), 0.7), expected, **EXACT
    )


@pytest.mark.parametrize("beta", [1.0, 0.7, 0.0])
def test_the_importance_bound_is_the_log_of_the_mean_weight(beta, x64):
    distortion, rate = RNG.normal(size=(2, 3, 5)) * 4
    expected = -np.mean(special.logsumexp(-(distortion + beta * rate), axis=0, b=1 / 3))
    found = bounds.importance(jnp.asarray(distortion), jnp.asarray(rate), beta)
    np.testing.assert_allclose(found, expected, **EXACT)
    assert found < bounds.elbo(jnp.asarray(distortion), jnp.asarray(rate), beta)


def test_the_importance_bound_of_large_costs_neither_overflows_nor_underflows():
    for cost in (-1e4, 1e4):
        found = bounds.importance(jnp.full((3, 2), cost), jnp.zeros((3, 2)), 1.0)
        np.testing.assert_allclose(found, cost, rtol=1e-6)


def test_the_importance_bound_of_one_draw_is_the_mean_bound_of_that_draw(x64):
    code = codes.Gaussian(priors.Standard(2), analytic=False)
    likelihood = jaxae.likelihoods.bernoulli()
    losses = {
        bound: jaxae.deep(4, 2, likelihood=likelihood, code=code, bound=bound).loss
        for bound in (bounds.elbo, bounds.importance)
    }
    params = doubles(jaxae.deep(4, 2, likelihood=likelihood, code=code))
    (plain, metrics), (weighted, _) = (loss(params, KEY, {"x": X}) for loss in losses.values())
    np.testing.assert_allclose(plain, weighted, rtol=1e-12)
    np.testing.assert_allclose(plain, metrics["distortion"] + metrics["rate"], rtol=1e-12)


def bernoulli_cost(params, z, x):
    """The costs -log p(x | z), by hand."""
    layer = params["decoder"]["layer_0"]
    out = z @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    return np.sum(np.logaddexp(0, out) - x * out, axis=-1)


def test_draws_cost_what_they_say_and_each_has_noise_of_its_own(x64):
    model = jaxae.iwae(4, 2, samples=3)
    params = doubles(model)
    drawn = model.latent.draw(params, KEY, {"x": X}, 3)
    assert drawn.z.shape == (3, 5, 2)
    np.testing.assert_allclose(drawn.distortion, bernoulli_cost(params, drawn.z, X), **EXACT)
    mean, scale = model.latent.posterior(params, {"x": X})
    noise = (np.asarray(drawn.z) - mean) / scale
    assert len(np.unique(noise)) == noise.size
    log_ratio = np.sum(0.5 * np.square(drawn.z) - 0.5 * noise**2 - np.log(scale), axis=-1)
    np.testing.assert_allclose(drawn.rate, log_ratio, **EXACT)


MODELS = {
    "one draw": lambda: jaxae.iwae(4, 2, hidden_dims=(3,), samples=1),
    "three draws": lambda: jaxae.iwae(4, 2, hidden_dims=(3,), samples=3),
    "three draws of two layers": lambda: jaxae.iwae(
        4, 2, samples=3, prior=jaxae.layered_prior(2, 1)
    ),
    "three draws under a learned mixture": lambda: jaxae.iwae(
        4, 2, samples=3, prior=priors.Mixture(2, 2)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_the_importance_bound_is_that_of_central_differences(name, x64):
    """All parameters, with the same noise on both sides of each difference."""
    model = MODELS[name]()
    flat, unravel = ravel_pytree(doubles(model))

    def loss(flat):
        return model.loss(unravel(flat), KEY, {"x": X})[0]

    steps = 1e-5 * jnp.eye(flat.size)
    ends = jax.jit(jax.vmap(loss))(jnp.concatenate([flat + steps, flat - steps]))
    differences = (ends[: flat.size] - ends[flat.size :]) / 2e-5
    slope = jax.jit(jax.grad(loss))(flat)
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-8)
    assert jnp.linalg.norm(slope) > 0.1


def test_more_draws_lower_the_mean_of_the_importance_bound():
    """The mean over keys of the k-draw loss falls with k, by more than four standard errors."""
    x = {"x": X.astype(np.float32)}
    params = jax.tree.map(lambda a: 2 * a, jaxae.iwae(4, 2).init(KEY, x))
    keys = jax.random.split(KEY, 500)
    means, errors = [], []
    for k in (1, 4, 16):
        loss = jaxae.iwae(4, 2, samples=k).loss
        values = jax.jit(jax.vmap(lambda key, loss=loss: loss(params, key, x)[0]))(keys)
        means.append(values.mean())
        errors.append(values.std() / np.sqrt(len(keys)))
    for i in range(2):
        assert means[i] - means[i + 1] > 4 * np.hypot(errors[i], errors[i + 1])


def test_the_mean_bound_of_several_draws_is_the_mean_over_them(x64):
    """With the closed-form rate, which is the same for each draw."""
    model = jaxae.vae(4, 2, samples=3)
    params = doubles(model)
    seen = []
    spy = {"bound": lambda distortion, rate, beta: seen.append((distortion, rate)) or 0.0}
    total, metrics = model.loss(params, KEY, {"x": X})
    jaxae.vae(4, 2, samples=3, **spy).loss(params, KEY, {"x": X})
    distortion, rate = seen[0]
    assert distortion.shape == rate.shape == (3, 5)
    assert len(np.unique(distortion)) == 15
    np.testing.assert_allclose(rate, np.tile(rate[:1], (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(metrics["distortion"], np.mean(distortion), rtol=1e-12)
    np.testing.assert_allclose(total, np.mean(distortion) + np.mean(rate[0]), rtol=1e-12)


def probabilistic_pca(mean, components, eigenvalues, noise):
    """The linear model of these directions and variances, with its posterior."""
    w = components.T * np.sqrt(eigenvalues - noise)
    read = w / eigenvalues
    spread = np.log(noise / eigenvalues)
    encoder = {
        "kernel": np.concatenate([read, np.zeros_like(w)], axis=1),
        "bias": np.concatenate([-mean @ read, spread]),
    }
    layers = {"encoder": encoder, "decoder": {"kernel": w.T, "bias": mean}}
    params = {name: {"layer_0": leaf} for name, leaf in layers.items()}
    params["head"] = {"log_scale": 0.5 * np.log(noise)}
    return jax.tree.map(jnp.asarray, params), w @ w.T + noise * np.eye(len(w))


class Quadrature(codes.Gaussian):
    """Two points for each unit instead of noise: exact for what is quadratic in the code."""

    def noise(self, mean):
        points = np.sqrt(2) * np.concatenate([np.eye(2), -np.eye(2)])
        return jnp.tile(points, (mean.shape[0] // 4, 1))


def test_the_linear_model_at_its_optimum_is_probabilistic_pca(x64):
    """Its bound is scikit-learn's score, and no parameter has a gradient (Lucas et al., 2019)."""
    x = RNG.normal(size=(40, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(40, 5)) + 1.0
    options = {"activation": "identity", "likelihood": likelihoods.gaussian("shared")}
    model, pca = jaxae.vae(5, 2, **options), PCA(2).fit(x)
    found = (pca.mean_, pca.components_, pca.explained_variance_, pca.noise_variance_)
    params, _ = probabilistic_pca(*found)
    assert jax.tree.structure(params) == jax.tree.structure(model.init(KEY, {"x": x}))
    metrics = evaluation.elbo(model)(params, KEY, {"x": x})
    np.testing.assert_allclose(metrics["elbo"], pca.score(x), rtol=1e-9)
    nats = evaluation.nll(model, 3)(params, KEY, {"x": x})
    np.testing.assert_allclose(-nats, pca.score_samples(x), rtol=1e-9)
    share = 39 / 40  # scikit-learn divides by n - 1, the likelihood's optimum by n
    best, covariance = probabilistic_pca(*found[:2], share * found[2], share * found[3])
    exact = jaxae.deep(5, 2, code=Quadrature(priors.Standard(2)), **options)
    rows = {"x": np.repeat(x, 4, axis=0)}
    loss = jax.jit(jax.value_and_grad(lambda params: exact.loss(params, KEY, rows)[0]))
    value, slope = loss(best)
    optimum = stats.multivariate_normal(pca.mean_, covariance).logpdf(x).mean()
    np.testing.assert_allclose(-value, optimum, rtol=1e-9)
    assert -value > pca.score(x)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-9
    assert loss(jax.tree.map(lambda a: a + 0.01, best))[0] > value


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_than_one_draw_is_refused(samples):
    with pytest.raises(ValueError, match="samples"):
        jaxae.iwae(4, 2, samples=samples)
