import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import jaxae
from jaxae import priors

KEY = jax.random.key(4)
RNG = np.random.default_rng(6)
EXACT = {"rtol": 1e-10, "atol": 1e-10}
MEAN, LOG_SCALE = np.array([0.5, -1.0, 2.0]), np.array([0.3, -0.7, 0.0])
LEARNED = {"params": {"mean": MEAN, "log_scale": LOG_SCALE}}
WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS, LOG_SCALES = RNG.normal(size=(3, 2)) * 2, RNG.normal(size=(3, 2)) * 0.3


def mixture():
    leaves = {"logits": np.log(WEIGHTS) + 3.0, "means": MEANS, "log_scales": LOG_SCALES}
    return priors.Mixture(2, 3), {"params": jax.tree.map(jnp.asarray, leaves)}


def linear_gaussian():
    """Of z = a u + c + s · noise, where the posterior of u has independent units.

    Returns:
        The prior of z, its variables with q(u | z) = p(u | z), and the marginal of z.
    """
    s = np.array([0.5, 1.0, 0.8])
    a = s[:, None] * np.linalg.qr(RNG.normal(size=(3, 2)))[0] * np.array([2.0, 0.7])
    c = np.array([1.0, -0.5, 0.2])
    variance = 1 / (1 + np.sum(np.square(a / s[:, None]), axis=0))
    back = (a / np.square(s)[:, None]) * variance
    leaves = {
        "encoder": {
            "kernel": np.concatenate([back, np.zeros((3, 2))], axis=1),
            "bias": np.concatenate([-c @ back, np.log(variance)]),
        },
        "decoder": {
            "kernel": np.concatenate([a.T, np.zeros((2, 3))], axis=1),
            "bias": np.concatenate([c, 2 * np.log(s)]),
        },
    }
    layers = {name: {"layer_0": leaf} for name, leaf in leaves.items()}
    marginal = stats.multivariate_normal(c, a @ a.T + np.diag(np.square(s)))
    return jaxae.layered_prior(3, 2), {"params": jax.tree.map(jnp.asarray, layers)}, marginal


def test_the_standard_normal_has_the_density_of_scipy(x64):
    z = RNG.normal(size=(6, 3)) * 2
    found = priors.Standard(3).log_prob(jnp.asarray(z))
    np.testing.assert_allclose(found, stats.norm.logpdf(z).sum(1), **EXACT)


def test_the_learned_gaussian_has_the_density_of_scipy(x64):
    z = RNG.normal(size=(6, 3)) * 2
    prior = priors.Learned(3)
    found = prior.apply(LEARNED, jnp.asarray(z), method="log_prob")
    expected = stats.norm.logpdf(z, MEAN, np.exp(LOG_SCALE)).sum(1)
    np.testing.assert_allclose(found, expected, **EXACT)
    start = prior.init(KEY, jnp.asarray(z), method="log_prob")
    standard = prior.apply(start, jnp.asarray(z), method="log_prob")
    np.testing.assert_allclose(standard, stats.norm.logpdf(z).sum(1), **EXACT)


def test_the_mixture_has_the_density_of_scipy(x64):
    z = RNG.normal(size=(6, 2)) * 3
    prior, variables = mixture()
    each = stats.norm.logpdf(z[:, None], MEANS, np.exp(LOG_SCALES)).sum(-1)
    expected = special.logsumexp(each, b=WEIGHTS, axis=1)
    found = prior.apply(variables, jnp.asarray(z), method="log_prob")
    np.testing.assert_allclose(found, expected, **EXACT)


def test_the_mixture_far_from_its_components_is_finite_and_so_is_its_gradient():
    prior, variables = mixture()

    def log_prob(z):
        return prior.apply(variables, z, method="log_prob").sum()

    value, slope = jax.value_and_grad(log_prob)(jnp.full((1, 2), 1e4))
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("name", ["standard", "learned"])
def test_the_divergence_is_the_integral_by_quadrature_and_the_mean_of_log_ratios(name, x64):
    prior, variables = {
        "standard": (priors.Standard(3), {}),
        "learned": (priors.Learned(3), LEARNED),
    }[name]
    own = (MEAN, np.exp(LOG_SCALE)) if name == "learned" else (np.zeros(3), np.ones(3))
    mean, scale = np.array([[0.3, -1.2, 0.0]]), np.array([[0.4, 1.5, 1.0]])
    found = prior.apply(variables, jnp.asarray(mean), jnp.asarray(scale), method="kl")
    assert found.shape == (1, 3)
    for j in range(3):
        q, p = stats.norm(mean[0, j], scale[0, j]), stats.norm(own[0][j], own[1][j])
        ends = (q.mean() - 12 * q.std(), q.mean() + 12 * q.std())
        by_quadrature = integrate.quad(
            lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *ends, epsabs=1e-12
        )[0]
        np.testing.assert_allclose(found[0, j], by_quadrature, rtol=1e-8, atol=1e-10)
    z = mean + scale * RNG.normal(size=(40_000, 3))
    log_p = prior.apply(variables, jnp.asarray(z), method="log_prob")
    ratios = stats.norm.logpdf(z, mean, scale).sum(1) - np.asarray(log_p)
    error = ratios.std() / np.sqrt(len(ratios))
    assert abs(ratios.mean() - found.sum()) < 4 * error


def test_samples_have_the_distribution_of_the_density():
    z = np.asarray(priors.Standard(3).sample(KEY, 5_000))
    assert z.shape == (5_000, 3)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    z = np.asarray(priors.Learned(3).apply(LEARNED, KEY, 5_000, method="sample"))
    assert z.shape == (5_000, 3)
    assert stats.kstest(((z - MEAN) / np.exp(LOG_SCALE)).ravel(), "norm").pvalue > 1e-3
    prior, variables = mixture()
    z = np.asarray(prior.apply(variables, KEY, 5_000, method="sample"))
    assert z.shape == (5_000, 2)
    for j in range(2):

        def cdf(a, j=j):
            return stats.norm.cdf(a[:, None], MEANS[:, j], np.exp(LOG_SCALES[:, j])) @ WEIGHTS

        assert stats.kstest(z[:, j], cdf).pvalue > 1e-3
    moments = MEANS.T @ (WEIGHTS[:, None] * MEANS) - np.outer(WEIGHTS @ MEANS, WEIGHTS @ MEANS)
    products = np.prod(z - z.mean(0), axis=1)  # the units share the component
    assert abs(products.mean() - moments[0, 1]) < 4 * products.std() / np.sqrt(len(z))


def test_a_second_layer_with_the_exact_posterior_gives_the_marginal_at_every_draw(x64):
    prior, variables, marginal = linear_gaussian()
    z = RNG.normal(size=(6, 3)) * 2
    for key in jax.random.split(KEY, 3):
        found = prior.apply(variables, jnp.asarray(z), method="log_prob", rngs={"code": key})
        np.testing.assert_allclose(found, marginal.logpdf(z), **EXACT)


def test_a_second_layer_with_another_posterior_gives_a_lower_bound_that_tightens(x64):
    """The mean of exp(draw) is the marginal density, that of the draw itself less than its log."""
    prior, variables, marginal = linear_gaussian()
    variables["params"]["encoder"]["layer_0"]["bias"] += jnp.array([0.2, -0.3, 0.4, 0.3])
    z = jnp.asarray(RNG.normal(size=(3, 3)))

    def draw(key):
        return prior.apply(variables, z, method="log_prob", rngs={"code": key})

    draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(KEY, 20_000)))
    ratios = np.exp(draws - marginal.logpdf(z))
    error = ratios.std(0) / np.sqrt(len(ratios))
    assert np.all(np.abs(ratios.mean(0) - 1) < 4 * error)
    error = draws.std(0) / np.sqrt(len(draws))
    assert np.all(draws.mean(0) < marginal.logpdf(z) - 4 * error)


def test_a_second_layer_samples_its_marginal():
    prior, variables, marginal = linear_gaussian()
    z = np.asarray(prior.apply(variables, KEY, 5_000, method="sample"))
    white = np.linalg.solve(np.linalg.cholesky(marginal.cov), (z - marginal.mean).T)
    for row in white:
        assert stats.kstest(row, "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(white), np.eye(3), atol=4 / np.sqrt(5_000))


def test_classes_are_one_hot_at_even_odds():
    prior = priors.Categorical(4)
    z = np.asarray(prior.sample(KEY, 4_000))
    np.testing.assert_array_equal(np.sort(z, axis=1), np.tile([0.0, 0.0, 0.0, 1.0], (4_000, 1)))
    assert stats.chisquare(z.sum(0)).pvalue > 1e-3
    expected = stats.multinomial.logpmf(z[:5], 1, np.full(4, 0.25))
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(z[:5])), expected, rtol=1e-6)


def test_parts_side_by_side_are_independent(x64):
    prior = priors.Joint([priors.Categorical(4), priors.Learned(3)], [4, 3])
    variables = {"params": {"parts_1": LEARNED["params"]}}
    z = np.concatenate([np.eye(4), RNG.normal(size=(4, 3))], axis=1)
    found = prior.apply(variables, jnp.asarray(z), method="log_prob")
    expected = -np.log(4) + stats.norm.logpdf(z[:, 4:], MEAN, np.exp(LOG_SCALE)).sum(1)
    np.testing.assert_allclose(found, expected, **EXACT)
    drawn = np.asarray(prior.apply(variables, KEY, 4_000, method="sample"))
    assert drawn.shape == (4_000, 7)
    np.testing.assert_array_equal(drawn[:, :4].sum(1), 1.0)
    white = (drawn[:, 4:] - MEAN) / np.exp(LOG_SCALE)
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-3
    between = np.corrcoef(drawn.T)[:4, 4:]
    assert np.abs(between).max() < 4.5 / np.sqrt(4_000)


def test_the_parts_of_a_joint_prior_draw_with_keys_of_their_own():
    prior = priors.Joint([priors.Standard(2), priors.Standard(2)], [2, 2])
    z = np.asarray(prior.apply({}, KEY, 1_000, method="sample"))
    assert abs(np.corrcoef(z[:, 0], z[:, 2])[0, 1]) < 4 / np.sqrt(1_000)
