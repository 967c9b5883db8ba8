import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxae
from jaxae import codes, evaluation, likelihoods

KEY = jax.random.key(6)
RNG = np.random.default_rng(7)
W = np.linalg.qr(RNG.normal(size=(4, 2)))[0] * np.array([1.6, 0.9])
BIAS, SCALE = RNG.normal(size=4), 0.6
X = RNG.normal(size=(5, 4)) * 1.5
MARGINAL = stats.multivariate_normal(BIAS, W @ W.T + SCALE**2 * np.eye(4))
PLAIN = {"activation": "identity", "likelihood": likelihoods.gaussian(SCALE)}
SHIFT = np.array([0.3, -0.4])
"""By which the mean of a wrong posterior is off."""


def linear(w=W, shift=0.0, wider=0.0, **others):
    """Parameters of x = w z + BIAS + SCALE · noise with q(z | x) its posterior, or off by so much.

    The columns of w are orthogonal, so that the posterior has independent units.
    """
    variance = 1 / (1 + np.sum(np.square(w), axis=0) / SCALE**2)
    read = w * variance / SCALE**2
    encoder = {
        "kernel": np.concatenate([read, np.zeros_like(w)], axis=1),
        "bias": np.concatenate([shift - BIAS @ read, np.log(variance) + wider]),
    }
    layers = {"encoder": encoder, "decoder": {"kernel": w.T, "bias": BIAS}}
    params = {name: {"layer_0": leaf} for name, leaf in layers.items()}
    return jax.tree.map(jnp.asarray, params | others)


def divergence(shift, wider):
    """KL(q(z | x) ‖ p(z | x)) of these parameters, the same for every x."""
    variance = 1 / (1 + np.sum(np.square(W), axis=0) / SCALE**2)
    squares = np.square(shift) / variance + np.exp(wider)
    return 0.5 * np.sum(squares - 1 - wider)


@pytest.mark.parametrize(("samples", "chunk"), [(1, None), (7, 3), (20, None)])
def test_the_exact_posterior_gives_the_exact_likelihood_whatever_the_number_of_draws(
    samples, chunk, x64
):
    model, params = jaxae.vae(4, 2, **PLAIN), linear()
    found = evaluation.nll(model, samples, batch_size=2, chunk=chunk)(params, KEY, {"x": X})
    np.testing.assert_allclose(found, -MARGINAL.logpdf(X), rtol=1e-10)
    bound = evaluation.elbo(model, samples, batch_size=2)(params, KEY, {"x": X})
    np.testing.assert_allclose(bound["elbo"], MARGINAL.logpdf(X).mean(), rtol=1e-10)


def test_the_exact_posterior_gives_the_exact_likelihood_in_single_precision():
    model, params = jaxae.iwae(4, 2, **PLAIN), linear()
    found = evaluation.nll(model, 50)(params, KEY, {"x": X.astype(np.float32)})
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, -MARGINAL.logpdf(X), rtol=1e-4)


def test_another_posterior_gives_a_bound_that_tightens_with_the_draws_and_converges(x64):
    """At one draw it is off by the divergence from the posterior, exactly.

    Means over 400 keys; a step down counts where it exceeds four standard errors.
    """
    model, wider = jaxae.vae(4, 2, **PLAIN), 0.5
    params, exact = linear(shift=SHIFT, wider=wider), -MARGINAL.logpdf(X)
    keys, means, errors = jax.random.split(KEY, 400), [], []
    for k in (1, 2, 5, 20):
        nll = evaluation.nll(model, k)
        values = jax.jit(jax.vmap(lambda key, nll=nll: nll(params, key, {"x": X})))(keys)
        gaps = np.mean(values - exact, axis=1)
        means.append(gaps.mean())
        errors.append(gaps.std() / np.sqrt(len(keys)))
    assert abs(means[0] - divergence(SHIFT, wider)) < 4 * errors[0]
    for i in range(3):
        assert means[i] - means[i + 1] > 4 * np.hypot(errors[i], errors[i + 1])
    assert means[-1] > 3 * errors[-1]
    many = evaluation.nll(model, 20_000)(params, KEY, {"x": X})
    np.testing.assert_allclose(many, exact, atol=0.05)
    assert abs(np.mean(many - exact)) < means[-1]


def test_the_evidence_bound_is_the_likelihood_less_the_divergence(x64):
    model, wider = jaxae.beta_vae(4, 2, beta=7.0, **PLAIN), -0.8
    params = linear(shift=SHIFT, wider=wider)
    keys = jax.random.split(KEY, 100)
    measure = evaluation.elbo(model, samples=20, batch_size=2)
    metrics = jax.jit(jax.vmap(lambda key: measure(params, key, {"x": X})))(keys)
    found = np.asarray(metrics["elbo"])
    np.testing.assert_allclose(found, -(metrics["distortion"] + metrics["rate"]), rtol=1e-12)
    expected = MARGINAL.logpdf(X).mean() - divergence(SHIFT, wider)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))
    mean, scale = model.latent.posterior(params, {"x": X})
    rate = np.mean(np.sum(0.5 * (mean**2 + scale**2 - 1) - np.log(scale), axis=1))
    found = np.asarray(metrics["rate"])
    assert abs(found.mean() - rate) < 4 * found.std() / np.sqrt(len(found))


def test_a_second_layer_gives_the_likelihood_of_both_layers(x64):
    """Codes are a u + s · noise; q is no joint posterior of both, so that k must be large."""
    a, s = np.array([[0.9], [-0.6]]), 0.8
    exact = stats.multivariate_normal(
        BIAS, W @ (a @ a.T + s**2 * np.eye(2)) @ W.T + 0.36 * np.eye(4)
    )
    variance = 1 / (1 + np.sum(a**2) / s**2)
    upper = {
        "encoder": np.pad(a * variance / s**2, [(0, 0), (0, 1)]),
        "decoder": np.pad(a.T, [(0, 0), (0, 2)]),
    }
    biases = {"encoder": [0, np.log(variance) + 0.3], "decoder": [0, 0, *[2 * np.log(s)] * 2]}
    prior = {
        name: {"layer_0": {"kernel": kernel, "bias": np.array(biases[name], float)}}
        for name, kernel in upper.items()
    }
    params = linear(code={"prior": prior})
    model = jaxae.iwae(4, 2, prior=jaxae.layered_prior(2, 1), **PLAIN)
    nll = evaluation.nll(model, 2_000)
    values = jax.jit(jax.vmap(lambda key: nll(params, key, {"x": X})))(jax.random.split(KEY, 10))
    error = values.std(0) / np.sqrt(10)
    assert np.all(error < 0.05)
    assert np.all(np.abs(values.mean(0) + exact.logpdf(X)) < 4.5 * error + 0.005)


class Counted:
    """A model whose draws cost the same each, so that a count that is off shows in the mean."""

    def __init__(self):
        self.sizes = []
        self.model = jaxae.vae(3, 2)._replace(latent=jaxae.Latent(self.draw, *[None] * 4))

    def draw(self, params, key, batch, samples=1):
        self.sizes.append(samples)
        costs = jnp.broadcast_to(batch["x"].sum(1), (samples, len(batch["x"])))
        return jaxae.Draw(jnp.zeros((samples, len(batch["x"]), 2)), costs, params * costs)


@pytest.mark.parametrize(
    ("samples", "batch_size", "chunk"),
    [(7, 3, 2), (10, 4, 4), (5, 100, None), (9, 1, 100), (1, 2, 1), (10, 3, 7), (6, 7, 3)],
)
def test_draws_are_counted_once_each_however_they_are_cut(samples, batch_size, chunk, x64):
    x, counted = RNG.normal(size=(7, 3)) * 50, Counted()
    nll = evaluation.nll(counted.model, samples, batch_size=batch_size, chunk=chunk)
    found = nll(0.5, KEY, {"x": x})
    np.testing.assert_allclose(found, 1.5 * x.sum(1), rtol=1e-12)
    assert max(counted.sizes) <= (chunk or samples)


def test_memory_is_bounded_by_default_however_many_the_draws():
    counted = Counted()
    x = np.ones((50, 3), np.float32)
    found = evaluation.nll(counted.model, 500_000, batch_size=50)(0.0, KEY, {"x": x})
    np.testing.assert_allclose(found, 3.0, rtol=1e-4)
    assert max(counted.sizes) * 50 * 3 <= 2**21


def test_chunks_and_rows_have_noise_of_their_own():
    model, params = jaxae.vae(4, 2, **PLAIN), linear(shift=SHIFT)
    data = {"x": np.repeat(X[:1], 4, axis=0).astype(np.float32)}
    few = {(b, c): evaluation.nll(model, 3, batch_size=b, chunk=c) for b, c in [(4, 3), (2, 1)]}
    for nll in few.values():
        assert len(np.unique(nll(params, KEY, data))) == 4
    one, three = (evaluation.nll(model, k, batch_size=4, chunk=1) for k in (1, 3))
    assert not np.allclose(one(params, KEY, data), three(params, KEY, data))
    z = evaluation.aggregate_posterior(model, batch_size=2)(params, KEY, data)
    assert z.shape == (4, 2)
    assert len(np.unique(z)) == 8


def test_masks_hide_entries_from_the_likelihood(x64):
    """Of the marginal of the observed entries, where the encoder knows their posterior."""
    model, mask = jaxae.vae(4, 2, **PLAIN), np.array([1.0, 1.0, 0.0, 1.0])
    params = linear(wider=1.5)
    data = {"x": np.where(mask, X, 1e3), "mask": np.broadcast_to(mask, X.shape)}
    seen = mask == 1
    exact = stats.multivariate_normal(BIAS[seen], MARGINAL.cov[np.ix_(seen, seen)])
    found = evaluation.nll(model, 20_000)(params, KEY, data)
    np.testing.assert_allclose(found, -exact.logpdf(X[:, seen]), atol=0.1)


def test_units_are_used_as_their_posterior_says(x64):
    w = np.array([[1.5, 0.0], [0.5, 0.0], [0.0, 0.0], [0.2, 0.0]])  # nothing depends on the second
    model, params = jaxae.vae(4, 2, **PLAIN), linear(w)
    x = RNG.normal(size=(50, 4))
    usage = evaluation.unit_usage(model, batch_size=20)(params, {"x": x})
    variance = 1 / (1 + np.sum(w[:, 0] ** 2) / SCALE**2)
    mean = (x - BIAS) @ w[:, 0] * variance / SCALE**2
    kl = 0.5 * (np.mean(mean**2) + variance - 1 - np.log(variance))
    np.testing.assert_allclose(usage["kl"], [kl, 0.0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(usage["variance"], [mean.var(), 0.0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(usage["scale"], [np.sqrt(variance), 1.0], rtol=1e-9)


def test_the_aggregate_of_exact_posteriors_over_data_of_the_model_is_its_prior():
    model, params = jaxae.vae(4, 2, **PLAIN), linear()
    x = MARGINAL.rvs(4_000, random_state=1).astype(np.float32)
    z = np.asarray(evaluation.aggregate_posterior(model)(params, KEY, {"x": x}))
    assert z.shape == (4_000, 2)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(4_000)


def test_nats_are_bits_for_each_entry():
    np.testing.assert_allclose(evaluation.bits_per_dim(256 * np.log(2), 64), 4.0, rtol=1e-12)
    np.testing.assert_allclose(evaluation.bits_per_dim(jnp.log(jnp.array([2.0, 4.0])), 1), [1, 2])


@pytest.mark.parametrize("options", [{"samples": 0}, {"batch_size": 0}, {"chunk": 0}], ids=str)
def test_numbers_below_one_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        evaluation.nll(jaxae.vae(4, 2), **options)


def test_models_that_are_no_likelihood_with_codes_are_refused():
    machine, data = jaxae.rbm(4, 2), {"x": np.zeros((3, 4), np.float32)}
    for measure in (evaluation.nll, evaluation.elbo, evaluation.aggregate_posterior):
        with pytest.raises(ValueError, match="latent is None"):
            measure(machine)
    with pytest.raises(ValueError, match="latent is None"):
        evaluation.unit_usage(machine)
    with pytest.raises(ValueError, match="samples"):
        evaluation.elbo(jaxae.vae(4, 2), samples=0)
    likelihood = likelihoods.bernoulli()
    for code in (codes.Deterministic(), codes.Binary(2), codes.VectorQuantised(2, 3)):
        model = jaxae.deep(4, 2, code=code, likelihood=likelihood)
        params = model.init(KEY, data)
        with pytest.raises(ValueError, match="Gaussian"):
            evaluation.unit_usage(model)(params, data)
