import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxae
from jaxae import likelihoods

KEY = jax.random.key(8)
RNG = np.random.default_rng(9)
LEVELS = [2, 5, 256]


def decoded(*shape):
    """What a decoder may give for locations and log scales, side by side."""
    return np.concatenate([RNG.normal(size=shape) * 0.3, RNG.normal(size=shape)], axis=-1)


def natural(given, out):
    """Locations and log scales, of numbers of a decoder."""
    return given.head.apply({}, jnp.asarray(out))


def masses_by_hand(out, levels):
    """Differences of the logistic's distribution function, the ends with their tails."""
    location, log_scale = np.split(out, 2, axis=-1)
    scale = np.exp(np.maximum(log_scale - 2, -np.log(4 * levels)))
    edges = np.concatenate([[-np.inf], (np.arange(1, levels) - 0.5) / (levels - 1), [np.inf]])
    law = stats.logistic(0.5 + location[..., None], scale[..., None])
    # the tail that is small, of the two, keeps all digits
    below, above = np.diff(law.cdf(edges), axis=-1), -np.diff(law.sf(edges), axis=-1)
    return np.where(edges[1:] < 0.5 + location[..., None], below, above)


def mixed(components, *shape):
    """What a decoder may give for so many components; of one, that is no logit."""
    if components == 1:
        return decoded(*shape)
    parts = [a for _ in range(components) for a in (RNG.normal(size=shape), decoded(*shape))]
    return np.concatenate(parts, axis=-1)


def mixed_by_hand(out, levels, components):
    """Weighted sums of the masses of components that are evenly spread."""
    if components == 1:
        return masses_by_hand(out, levels)
    logits, parts = [], []
    for part, centre in zip(
        np.split(out, components, axis=-1), np.linspace(0, 1, components), strict=True
    ):
        logit, location, log_scale = np.split(part, 3, axis=-1)
        logits.append(logit)
        shifted = np.concatenate([location + centre - 0.5, log_scale], axis=-1)
        parts.append(masses_by_hand(shifted, levels))
    return np.sum(special.softmax(logits, axis=0)[..., None] * parts, axis=0)


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("levels", LEVELS)
def test_masses_and_log_masses_are_those_of_the_logistic_and_sum_to_one(levels, components, x64):
    out = mixed(components, 3, 4)
    given = likelihoods.discretised_logistic(levels, components)
    assert given.outputs * 4 == out.shape[-1]
    expected = mixed_by_hand(out, levels, components)
    masses = given.masses(natural(given, out))
    assert masses.shape == (3, 4, levels)
    np.testing.assert_allclose(masses, expected, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(masses.sum(-1), 1.0, rtol=1e-12)
    for i in range(levels):
        x = jnp.full((3, 4), i / (levels - 1))
        found = given.log_prob(natural(given, out), x)
        np.testing.assert_allclose(found, np.log(expected[..., i]), rtol=1e-8, atol=1e-10)
    x = np.arange(levels) / (levels - 1)
    np.testing.assert_allclose(given.mean(natural(given, out)), expected @ x, rtol=1e-10)


def test_bytes_have_the_log_masses_of_their_levels_in_single_precision():
    given, out = likelihoods.discretised_logistic(), decoded(1, 1).astype(np.float32)
    x = jaxae.as_float(np.arange(256, dtype=np.uint8))[:, None]
    found = given.log_prob(natural(given, jnp.broadcast_to(out, (256, 2))), x)
    expected = np.log(masses_by_hand(out.astype(np.float64), 256)).reshape(256, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(found).sum(), 1.0, rtol=1e-5)


def test_the_lowest_and_highest_level_have_the_tails(x64):
    given = likelihoods.discretised_logistic(256)
    for location, x in ((-4.0, 0.0), (4.0, 1.0)):
        found = given.log_prob(natural(given, [[location, 0.0]]), jnp.array([[x]]))
        assert -1e-5 < found[0, 0] < 0
        far = given.log_prob(natural(given, [[location, 0.0]]), jnp.array([[1 - x]]))
        law = stats.logistic(0.5 - abs(location), np.exp(-2))
        np.testing.assert_allclose(far[0, 0], law.logsf(1 - 0.5 / 255), rtol=1e-10)


def test_scales_stop_at_a_quarter_of_a_level(x64):
    given, x = likelihoods.discretised_logistic(256), jnp.array([[0.2]])
    least, below = (
        given.log_prob(natural(given, [[0.1, s]]), x) for s in (2 - np.log(4 * 256), -50.0)
    )
    np.testing.assert_allclose(least, below, rtol=1e-12)
    law = stats.logistic(0.6, 1 / 1024)
    expected = law.logcdf(0.2 + 0.5 / 255) + np.log(-np.expm1(-1024 / 255))
    np.testing.assert_allclose(below[0, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("out", [[0.1, 0.8], [0.5, 0.3, 0.2, -0.4, -0.1, 0.9]])
def test_samples_are_levels_with_the_frequencies_of_the_masses(out):
    components, out = max(len(out) // 3, 1), np.array([out], np.float32)
    given = likelihoods.discretised_logistic(6, components)
    x = np.asarray(given.sample(KEY, natural(given, jnp.broadcast_to(out, (6_000, out.size)))))
    assert x.shape == (6_000, 1)
    level = np.rint(x[:, 0] * 5).astype(int)
    np.testing.assert_allclose(x[:, 0], level / 5, rtol=1e-6)
    expected = 6_000 * mixed_by_hand(out, 6, components)[0, 0]
    assert stats.chisquare(np.bincount(level, minlength=6), expected).pvalue > 1e-3


@pytest.mark.parametrize("location", [-1e6, -1e5, -30.0, 0.0, 30.0, 1e5, 1e6])
def test_log_masses_and_their_gradients_stay_finite_in_single_precision(location):
    given = likelihoods.discretised_logistic()
    log_scale, level = np.meshgrid([-100.0, -3.0, 0.0, 3.0, 100.0], [0, 1, 128, 254, 255])
    out = jnp.stack([jnp.full(25, location), jnp.asarray(log_scale.ravel(), jnp.float32)], axis=1)
    x = jnp.asarray(level.reshape(25, 1) / 255, jnp.float32)
    value, slope = jax.value_and_grad(lambda out: given.log_prob(natural(given, out), x).sum())(out)
    assert jnp.isfinite(value)
    assert value < 0
    assert jnp.isfinite(slope).all()
    assert jnp.isfinite(given.masses(natural(given, out))).all()


def test_far_locations_keep_the_log_masses_in_single_precision():
    given, x = likelihoods.discretised_logistic(), jnp.array([[100 / 255]], jnp.float32)
    for location in (10.0, 1e3, 1e5):
        scale = np.float64(location)
        found = given.log_prob(natural(given, np.float32([[location, np.log(scale) + 2]])), x)
        law = stats.logistic(0.5 + location, scale)
        expected = law.logpdf(100 / 255) - np.log(255)
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("location", [-1e5, 0.0, 1e5])
def test_log_masses_of_mixtures_and_their_gradients_stay_finite(location, logit):
    given = likelihoods.discretised_logistic(components=2)
    out = jnp.array([[logit, location, -100.0, 0.0, -location, 3.0]])

    def total(out):
        natural_out = natural(given, jnp.broadcast_to(out, (3, 6)))
        return given.log_prob(natural_out, jnp.array([[0.0], [128 / 255], [1.0]])).sum()

    value, slope = jax.value_and_grad(total)(out)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


def test_the_logistic_numbers_of_a_mixture_are_those_of_its_masses(x64):
    out = mixed(3, 3, 4)
    given = likelihoods.discretised_logistic(17, 3)
    location, log_scale, share = given.logistic(natural(given, out))
    edges = (np.arange(1, 17) - 0.5)[:, None] / 16
    law = stats.logistic(location[..., None, :], np.exp(log_scale)[..., None, :])
    below = (law.cdf(edges) * share[..., None, :]).sum(-1)
    masses = np.diff(below, axis=-1, prepend=0, append=1)
    np.testing.assert_allclose(masses, mixed_by_hand(out, 17, 3), atol=1e-12)


def test_fewer_than_two_levels_or_one_component_are_refused():
    with pytest.raises(ValueError, match="levels"):
        likelihoods.discretised_logistic(1)
    with pytest.raises(ValueError, match="components"):
        likelihoods.discretised_logistic(components=0)


@pytest.fixture(scope="module", params=[1, 2])
def images(request):
    x = RNG.integers(0, 256, size=(4, 2, 2, 3)).astype(np.uint8)
    likelihood = likelihoods.discretised_logistic(components=request.param)
    model = jaxae.vae((2, 2, 3), 2, likelihood=likelihood)
    narrow = jax.tree.map(lambda leaf: 0.2 * leaf, model.init(KEY, {"x": x}))
    return model, narrow, x


def test_a_model_of_bytes_loses_the_log_masses_of_their_levels(images):
    model, params, x = images
    drawn = model.latent.draw(params, KEY, {"x": x}, 2)
    for z, distortion in zip(drawn.z, drawn.distortion, strict=True):
        masses = model.latent.masses(params, z)
        assert masses.shape == (4, 2, 2, 3, 256)
        own = np.take_along_axis(np.asarray(masses, np.float64), x[..., None].astype(int), -1)
        np.testing.assert_allclose(distortion, -np.log(own).sum((1, 2, 3, 4)), rtol=1e-3)
        mean = np.asarray(masses) @ (np.arange(256) / 255)
        np.testing.assert_allclose(model.decode(params, z), mean, rtol=1e-4)
    emitted = 255 * np.asarray(model.latent.emit(params, KEY, drawn.z[0]))
    assert emitted.shape == x.shape
    np.testing.assert_allclose(emitted, np.rint(emitted), atol=1e-3)


def test_data_outside_zero_to_one_are_refused(images):
    with pytest.raises(ValueError, match=r"\[0.0, 1.0\]"):
        images[0].init(KEY, {"x": 2 * np.ones((2, 2, 2, 3), np.float32)})


def test_hidden_entries_do_not_count(images):
    model, params, x = images
    mask = RNG.integers(0, 2, size=x.shape).astype(np.float32)
    drawn = model.latent.draw(params, KEY, {"x": x, "mask": mask})
    other = np.where(mask, x, 255 - x).astype(np.uint8)
    again = model.latent.draw(params, KEY, {"x": other, "mask": mask})
    np.testing.assert_array_equal(drawn.distortion, again.distortion)
    masses = np.asarray(model.latent.masses(params, drawn.z[0]), np.float64)
    own = np.take_along_axis(masses, x[..., None].astype(int), -1)[..., 0]
    expected = -(mask * np.log(own)).sum((1, 2, 3))
    np.testing.assert_allclose(drawn.distortion[0], expected, rtol=1e-3)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_masses_and_means_of_mapped_rows_are_those_of_each_alone(components):
    # XLA once crashed on two components whose axis was moved to the front
    given = likelihoods.discretised_logistic(17, components)
    out = natural(given, mixed(components, 3, 8, 8, 8, 1))
    for of in (given.masses, given.mean):
        mapped = jax.jit(jax.vmap(of, 1, 1))(out)
        alone = [of(jax.tree.map(lambda a, i=i: a[:, i], out)) for i in range(8)]
        np.testing.assert_allclose(mapped, np.stack(alone, 1), rtol=1e-4, atol=1e-6)
