import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

import jaxae
from jaxae import codes, likelihoods, priors

KEY = jax.random.key(1)
RNG = np.random.default_rng(2)
EXACT = {"rtol": 1e-10, "atol": 1e-10}
H = RNG.normal(size=(5, 6))
MEAN, SCALE = H[:, :3], np.exp(0.5 * H[:, 3:])
KL = 0.5 * (MEAN**2 + SCALE**2 - 1) - np.log(SCALE)


def called(code, h, variables=None, key=KEY, **options):
    """Codes, rate and what was reported, as in training unless told otherwise."""
    out, changed = code.apply(
        variables or {},
        jnp.asarray(h),
        rngs={"code": key},
        mutable=["carried", "metrics"],
        **options,
    )
    return *out, changed


def stepped(model, batch, steps):
    """The parameters and metrics after each of so many steps."""
    learner = jaxae.gradient(model.loss, optax.sgd(0.0))
    state, step = learner.init(model.init(KEY, batch), KEY), jax.jit(learner.step)
    for i in range(steps):
        state, metrics = step(state, jax.random.fold_in(KEY, i), batch)
        yield state.params, metrics


def test_the_gaussian_rate_is_the_divergence_in_closed_form(x64):
    z, rate, _ = called(codes.Gaussian(priors.Standard(3)), H)
    assert z.shape == (5, 3)
    np.testing.assert_allclose(rate, KL.sum(1), **EXACT)
    z, rate, _ = called(codes.Gaussian(priors.Standard(3)), H, train=False)
    np.testing.assert_array_equal(z, MEAN)
    np.testing.assert_array_equal(rate, np.zeros(5))


def test_the_rate_of_a_gaussian_draw_is_its_log_ratio(x64):
    mixture = priors.Mixture(3, 4)
    leaves = {"logits": RNG.normal(size=4), "means": RNG.normal(size=(4, 3))}
    leaves["log_scales"] = 0.3 * RNG.normal(size=(4, 3))
    each = [stats.norm(leaves["means"][i], np.exp(leaves["log_scales"][i])) for i in range(4)]

    def log_mixture(z):
        logs = np.stack([law.logpdf(z).sum(1) for law in each])
        return special.logsumexp(logs, b=special.softmax(leaves["logits"])[:, None], axis=0)

    for prior, variables, log_prior in (
        (priors.Standard(3), {}, lambda z: stats.norm.logpdf(z).sum(1)),
        (mixture, {"params": {"prior": jax.tree.map(jnp.asarray, leaves)}}, log_mixture),
    ):
        code = codes.Gaussian(prior)
        drawn = called(code, H, variables, method="draw")
        trained = called(codes.Gaussian(prior, analytic=False), H, variables)
        for z, rate, _ in (drawn, trained):
            log_q = stats.norm.logpdf(z, MEAN, SCALE).sum(1)
            np.testing.assert_allclose(rate, log_q - log_prior(np.asarray(z)), **EXACT)


def test_gaussian_draws_have_the_mean_and_scale_that_the_posterior_says():
    code, h = codes.Gaussian(priors.Standard(3)), np.repeat(H[:1], 5_000, axis=0)
    mean, scale = code.apply({}, jnp.asarray(H), method="posterior")
    np.testing.assert_allclose(mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(scale, SCALE, rtol=1e-6)
    for options in ({}, {"method": "draw"}):
        z = called(code, h, **options)[0]
        white = (np.asarray(z) - MEAN[0]) / SCALE[0]
        assert stats.kstest(white.ravel(), "norm").pvalue > 1e-3
        assert np.abs(np.corrcoef(white.T) - np.eye(3)).max() < 4 / np.sqrt(5_000)


def test_a_unit_below_its_free_bits_counts_for_them_and_has_no_gradient(x64):
    each = KL.mean(0)
    least = np.sort(each)[1] + 1e-3  # two of three units are below
    below = each < least
    assert below.sum() == 2
    code = codes.Gaussian(priors.Standard(3), free_bits=least)
    _, rate, changed = called(code, H)
    np.testing.assert_allclose(rate, np.full(5, np.maximum(each, least).sum()), **EXACT)
    np.testing.assert_allclose(changed["metrics"]["kl"], KL.sum(1).mean(), **EXACT)
    slope = jax.grad(lambda h: called(code, h)[1].mean())(jnp.asarray(H))
    expected = np.concatenate([MEAN, 0.5 * (SCALE**2 - 1)], axis=1) / 5
    expected[:, np.tile(below, 2)] = 0
    np.testing.assert_allclose(slope, expected, **EXACT)


def test_the_capacity_is_what_the_rate_is_held_at(x64):
    z, rate, changed = called(codes.Gaussian(priors.Standard(3), capacity=2.5), H)
    np.testing.assert_allclose(rate, np.abs(KL.sum(1) - 2.5), **EXACT)
    np.testing.assert_allclose(changed["metrics"]["kl"], KL.sum(1).mean(), **EXACT)
    plain, _, _ = called(codes.Gaussian(priors.Standard(3)), H)
    np.testing.assert_array_equal(z, plain)


def test_the_reported_divergence_is_the_true_one_with_free_bits_and_a_capacity(x64):
    code = codes.Gaussian(priors.Standard(3), free_bits=5.0, capacity=1.0)
    _, rate, changed = called(code, H)
    np.testing.assert_allclose(rate, np.full(5, 3 * 5.0 - 1.0), **EXACT)
    np.testing.assert_allclose(changed["metrics"]["kl"], KL.sum(1).mean(), **EXACT)


def test_schedules_of_beta_and_capacity_count_the_steps_and_stand_still_in_use():
    batch = {"x": RNG.integers(0, 2, size=(4, 5)).astype(np.float32)}
    warm = optax.linear_schedule(0.1, 1.0, 4)
    model = jaxae.vae(5, 2, beta=warm, capacity=lambda n: 0.5 * n**2, samples=2)
    params = model.init(KEY, batch)
    count = {"code": {"capacity_steps": 0.0}, "weight": {"beta_steps": 0.0}}
    assert jax.tree.map(float, params["carried"]) == count
    for i, (after, metrics) in enumerate(stepped(model, batch, 6)):
        np.testing.assert_allclose(metrics["beta"], warm(i), rtol=1e-6)
        np.testing.assert_allclose(metrics["capacity"], 0.5 * i**2, rtol=1e-6)
        np.testing.assert_allclose(
            metrics["loss"], metrics["distortion"] + warm(i) * metrics["rate"], rtol=1e-5
        )
        assert set(map(float, jax.tree.leaves(after["carried"]))) == {i + 1.0}
    for _ in range(2):
        _, metrics = model.loss(after, KEY, batch)
        assert metrics["beta"] == warm(6)
        assert metrics["carried"]["weight"]["beta_steps"] == 7
    again = {**after, "carried": params["carried"]}
    for function in (model.encode, lambda p, b: model.latent.draw(p, KEY, b).rate):
        np.testing.assert_array_equal(function(after, batch), function(again, batch))


def test_bits_have_the_rate_of_their_draw_and_the_divergence_in_closed_form(x64):
    code, p = codes.Binary(6), special.expit(H)
    z, rate, _ = called(code, H, method="draw")
    assert set(np.unique(z)) == {0.0, 1.0}
    expected = stats.bernoulli.logpmf(z, p).sum(1) - 6 * np.log(0.5)
    np.testing.assert_allclose(rate, expected, **EXACT)
    z, rate, _ = called(code, H)
    assert set(np.unique(z)) == {0.0, 1.0}
    np.testing.assert_allclose(rate, (6 * np.log(2) - stats.bernoulli(p).entropy().sum(1)), **EXACT)
    z, rate, _ = called(code, H, train=False)
    np.testing.assert_array_equal(z, p > 0.5)
    np.testing.assert_array_equal(rate, np.zeros(5))


@pytest.mark.parametrize("method", ["__call__", "draw"])
def test_bits_are_ones_at_the_rate_of_the_logits(method):
    h = np.repeat(H[:1], 4_000, axis=0).astype(np.float32)
    z = np.asarray(called(codes.Binary(6), h, method=method)[0])
    low, high = stats.binom.interval(1 - 1e-5, 4_000, special.expit(H[0]))
    assert np.all((low <= z.sum(0)) & (z.sum(0) <= high))
    fair = np.asarray(codes.Binary(6).sample_prior(KEY, 4_000))
    low, high = stats.binom.interval(1 - 1e-5, 4_000, 0.5)
    assert np.all((low <= fair.sum(0)) & (fair.sum(0) <= high))
    assert np.abs(np.corrcoef(fair.T) - np.eye(6)).max() < 4.5 / np.sqrt(4_000)


def test_relaxed_bits_pass_the_gradient_of_the_concrete_distribution(x64):
    """With straight_through the value is the rounded bit, the gradient that of the soft one."""
    soft_code = codes.Binary(6, temperature=0.4, straight_through=False)
    hard_code = codes.Binary(6, temperature=0.4)
    soft, hard = called(soft_code, H)[0], called(hard_code, H)[0]
    assert np.all((soft > 0) & (soft < 1))
    np.testing.assert_array_equal(hard, np.asarray(soft) > 0.5)
    expected = soft * (1 - soft) / 0.4
    for code in (soft_code, hard_code):
        slope = jax.grad(lambda h, code=code: called(code, h)[0].sum())(jnp.asarray(H))
        np.testing.assert_allclose(slope, expected, **EXACT)
    noise = 0.4 * special.logit(soft) - H  # that it is logistic, the frequencies show as well
    assert stats.kstest(noise.ravel(), "logistic").pvalue > 1e-3


@pytest.mark.parametrize("h", [-100.0, 0.0, 100.0])
def test_bits_of_extreme_logits_have_finite_rates_and_gradients(h):
    for method in ("__call__", "draw"):

        def total(h, method=method):
            z, rate, _ = called(codes.Binary(3, temperature=0.01), h, method=method)
            return z.sum() + rate.sum(), rate

        (_, rate), slope = jax.value_and_grad(total, has_aux=True)(jnp.full((2, 3), h))
        assert jnp.isfinite(slope).all()
        np.testing.assert_allclose(rate, 3 * np.log(2) * (h != 0), atol=1e-5)


def test_logistic_codes_have_noise_in_training_alone(x64):
    code = codes.Logistic(noise_level=2.0)
    for options in ({"train": False}, {"method": "draw"}):
        z, rate, _ = called(code, H, **options)
        np.testing.assert_allclose(z, special.expit(H), **EXACT)
        np.testing.assert_array_equal(rate, np.zeros(5))
    z, rate, _ = called(code, np.zeros((2_000, 3)))
    np.testing.assert_array_equal(rate, np.zeros(2_000))
    assert stats.kstest(special.logit(z).ravel() / 2.0, "norm").pvalue > 1e-3


def test_matched_codes_are_the_encoders_output_with_a_softmax_of_its_first_entries(x64):
    plain = codes.Matched(priors.Standard(6))
    z, rate, _ = called(plain, H)
    np.testing.assert_array_equal(z, H)
    np.testing.assert_array_equal(rate, np.zeros(5))
    assert plain.apply({}, KEY, 7, method="sample_prior").shape == (7, 6)
    prior = priors.Joint([priors.Categorical(2), priors.Standard(4)], [2, 4])
    mixed = codes.Matched(prior, one_hot=2)
    z, _, _ = called(mixed, H)
    expected = np.concatenate([special.softmax(H[:, :2], axis=1), H[:, 2:]], axis=1)
    np.testing.assert_allclose(z, expected, **EXACT)
    drawn = mixed.apply({}, KEY, 7, method="sample_prior")
    np.testing.assert_array_equal(np.sort(drawn[:, :2], axis=1), np.tile([0.0, 1.0], (7, 1)))


@pytest.mark.parametrize("code", [codes.Deterministic(), codes.Matched(priors.Standard(6))])
def test_codes_without_spread_have_no_posterior(code):
    with pytest.raises(ValueError, match=r"no posterior.*jaxae\.vae"):
        code.apply({}, jnp.asarray(H), method="posterior")


def test_only_codes_with_a_prior_can_be_sampled():
    batch = {"x": np.zeros((2, 5), np.float32)}
    plain = jaxae.deep(5, 2)
    with pytest.raises(ValueError, match="no prior"):
        plain.sample(plain.init(KEY, batch), KEY, 3)
    model = jaxae.deep(5, 2, code=codes.Binary(2), likelihood=likelihoods.bernoulli())
    assert model.sample(model.init(KEY, batch), KEY, 3).shape == (3, 5)
