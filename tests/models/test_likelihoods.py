import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxae import likelihoods

KEY = jax.random.key(3)
RNG = np.random.default_rng(5)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def normal(*shape):
    return RNG.normal(size=shape)


@pytest.mark.parametrize("scale", [0.01, 1, 3.7])
def test_gaussian_of_a_fixed_scale_is_the_normal_density(scale, x64):
    out, x = normal(5, 4), normal(5, 4)
    given = likelihoods.gaussian(scale)
    np.testing.assert_allclose(
        given.log_prob(jnp.asarray(out), x), stats.norm.logpdf(x, out, scale), **EXACT
    )
    np.testing.assert_array_equal(given.mean(out), out)
    assert given.outputs == 1
    assert given.head is None


def test_gaussian_of_a_shared_scale_is_the_normal_density_of_its_parameter(x64):
    given = likelihoods.gaussian("shared")
    out, x = normal(5, 4), normal(5, 4)
    params = given.head.init(KEY, out)
    assert jax.tree.map(jnp.shape, params) == {"params": {"log_scale": ()}}
    natural = given.head.apply({"params": {"log_scale": jnp.asarray(-0.8)}}, jnp.asarray(out))
    np.testing.assert_allclose(
        given.log_prob(natural, x), stats.norm.logpdf(x, out, np.exp(-0.8)), **EXACT
    )
    np.testing.assert_array_equal(given.mean(natural), out)
    assert given.outputs == 1


def test_gaussian_of_a_scale_per_entry_is_the_normal_density_of_the_second_half(x64):
    given = likelihoods.gaussian("per_entry")
    out, x = normal(5, 8), normal(5, 4)
    natural = given.head.apply({}, jnp.asarray(out))
    scale = np.exp(out[:, 4:]) + 1e-3
    np.testing.assert_allclose(
        given.log_prob(natural, x), stats.norm.logpdf(x, out[:, :4], scale), **EXACT
    )
    np.testing.assert_array_equal(given.mean(natural), out[:, :4])
    assert given.outputs == 2


def test_scales_per_entry_stay_above_their_floor(x64):
    given = likelihoods.gaussian("per_entry")
    natural = given.head.apply({}, jnp.asarray([[0.0, -1e6]]))
    np.testing.assert_allclose(np.exp(natural[1]), [[1e-3]], rtol=1e-12)


def test_bernoulli_is_the_scipy_mass(x64):
    out, x = normal(6, 5) * 4, (normal(6, 5) > 0) * 1.0
    given = likelihoods.bernoulli()
    np.testing.assert_allclose(
        given.log_prob(jnp.asarray(out), x), stats.bernoulli.logpmf(x, special.expit(out)), **EXACT
    )
    np.testing.assert_allclose(given.mean(out), special.expit(out), **EXACT)


def test_bernoulli_on_grey_pixels_is_binary_cross_entropy(x64):
    out, x = normal(6, 5), RNG.uniform(size=(6, 5))
    a = special.expit(out)
    cross_entropy = -special.xlogy(x, a) - special.xlogy(1 - x, 1 - a)
    np.testing.assert_allclose(
        -likelihoods.bernoulli().log_prob(jnp.asarray(out), x), cross_entropy, **EXACT
    )


def test_bernoulli_is_greatest_where_the_mean_is_the_pixel(x64):
    x = jnp.asarray([0.0001, 0.2, 0.5, 0.9])
    log_prob = likelihoods.bernoulli().log_prob
    at_pixel = jnp.asarray(special.logit(x))
    entropy = special.entr(x) + special.entr(1 - x)
    np.testing.assert_allclose(log_prob(at_pixel, x), -entropy, **EXACT)
    gradient = jax.grad(lambda out: log_prob(out, x).sum())(at_pixel)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_categorical_is_the_scipy_mass_over_the_last_axis(x64):
    out = normal(6, 3, 4)
    x = np.eye(4)[RNG.integers(4, size=(6, 3))]
    p = special.softmax(out, axis=-1)
    given = likelihoods.categorical()
    np.testing.assert_allclose(
        given.log_prob(jnp.asarray(out), x), stats.multinomial.logpmf(x, 1, p), **EXACT
    )
    np.testing.assert_allclose(given.mean(out), p, **EXACT)


def test_categorical_on_distributions_is_cross_entropy(x64):
    out, x = normal(6, 4), RNG.dirichlet(np.ones(4), 6)
    expected = np.sum(x * np.log(special.softmax(out, axis=-1)), axis=-1)
    given = likelihoods.categorical().log_prob(jnp.asarray(out), x)
    np.testing.assert_allclose(given, expected, **EXACT)


@pytest.mark.parametrize("logit", [-1e4, -90.0, 90.0, 1e4])
@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
def test_bernoulli_stays_finite_at_extreme_logits(logit, x):
    """In float32, where sigmoid(90) is 1 and log(1 - sigmoid(90)) would be -inf."""
    value, slope = jax.value_and_grad(likelihoods.bernoulli().log_prob)(logit, x)
    np.testing.assert_allclose(value, x * logit - max(logit, 0.0), rtol=1e-6)
    assert slope == x - (logit > 0)


@pytest.mark.parametrize("size", [90.0, 1e4])
def test_categorical_stays_finite_at_extreme_logits(size):
    out, x = jnp.asarray([size, -size, 0.0]), jnp.eye(3)[1]
    value, slope = jax.value_and_grad(likelihoods.categorical().log_prob)(out, x)
    assert value == -2 * size
    np.testing.assert_array_equal(slope, [-1.0, 1.0, 0.0])


@pytest.mark.parametrize("log_scale", [-30.0, 30.0])
def test_gaussian_stays_finite_at_extreme_scales(log_scale):
    given = likelihoods.gaussian("per_entry")

    def log_prob(out):
        return given.log_prob(given.head.apply({}, out), jnp.ones(1)).sum()

    value, slope = jax.value_and_grad(log_prob)(jnp.asarray([0.5, log_scale]))
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("scale", [0.5, "shared", "per_entry"])
def test_gaussian_samples_are_normal(scale, x64):
    given = likelihoods.gaussian(scale)
    mean, raw = np.full((200, 100), 1.5), np.full((200, 100), -0.4)
    if scale == "per_entry":
        natural = given.head.apply({}, jnp.concatenate([mean, raw], axis=1))
        deviation = np.exp(-0.4) + 1e-3
    elif scale == "shared":
        natural = given.head.apply({"params": {"log_scale": jnp.asarray(-0.4)}}, jnp.asarray(mean))
        deviation = np.exp(-0.4)
    else:
        natural, deviation = jnp.asarray(mean), 0.5
    x = np.ravel(given.sample(KEY, natural))
    assert stats.kstest((x - 1.5) / deviation, "norm").pvalue > 1e-4


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_bernoulli_samples_are_ones_at_that_rate(p):
    out = jnp.full((100, 200), special.logit(p), jnp.float32)
    x = likelihoods.bernoulli().sample(KEY, out)
    assert x.dtype == out.dtype
    assert set(np.unique(x)) == {0.0, 1.0}
    low, high = stats.binom.interval(1 - 1e-6, x.size, p)
    assert low <= x.sum() <= high


def test_categorical_samples_are_one_hot_at_those_rates():
    p = np.asarray([0.1, 0.2, 0.7])
    out = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (20_000, 3))
    x = np.asarray(likelihoods.categorical().sample(KEY, out))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(np.sort(x, axis=1), np.tile([0.0, 0.0, 1.0], (20_000, 1)))
    assert stats.chisquare(x.sum(axis=0), 20_000 * p).pvalue > 1e-4


def test_supports_are_those_of_the_distributions():
    assert likelihoods.gaussian().support == (-np.inf, np.inf)
    assert likelihoods.bernoulli().support == (0.0, 1.0)
    assert likelihoods.categorical().support == (0.0, 1.0)


def test_a_traced_scale_equals_the_concrete_one_and_has_the_right_gradient(x64):
    out, x = jnp.asarray(normal(5)), jnp.asarray(normal(5))

    def log_prob(scale):
        return likelihoods.gaussian(scale).log_prob(out, x).sum()

    np.testing.assert_allclose(jax.jit(log_prob)(0.3), log_prob(0.3), rtol=1e-14)
    by_hand = np.sum((x - out) ** 2 / 0.3**3 - 1 / 0.3)
    np.testing.assert_allclose(jax.jit(jax.grad(log_prob))(0.3), by_hand, **EXACT)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_scales_that_are_not_positive_are_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        likelihoods.gaussian(scale)


def test_an_unknown_word_for_the_scale_is_refused():
    with pytest.raises(ValueError, match=r"per_entry.*shared.*'learned'"):
        likelihoods.gaussian("learned")
