import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from jaxae.data import synthetic

KEY = jax.random.key(0)
SIZES = list(synthetic.FACTORS.values())
HALF_SIDE = 1 / (2**0.5 * (0.5 + (0.5 + 2 / (3 * np.pi)) * (np.pi / 8) / (1 + np.pi / 4)))
AREAS = [2.0, np.pi / 2, HALF_SIDE**2 * (1 + np.pi / 4)]  # of sprites of radius 1


@pytest.mark.parametrize("decay", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("active", [0.5, 6, 63.5, 64])
def test_firing_probabilities_sum_to_the_mean_count_and_fall_as_a_power(active, decay):
    p = synthetic.firing_probabilities(64, active, decay)
    assert p.sum() == pytest.approx(active, rel=1e-9)
    assert p.max() <= 1
    free = np.flatnonzero(p < 1 - 1e-6)
    if len(free) > 1:
        i = free + 1.0
        slope = np.diff(np.log(p[free])) / np.diff(np.log(i))
        np.testing.assert_allclose(slope, -decay, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_atoms_fire_independently_as_often_as_they_should(decay):
    n, atoms, active = 20000, 40, 5
    truth = synthetic.dictionary(KEY, atoms, 16)
    data = synthetic.superposition(jax.random.key(1), n, truth, active=active, decay=decay)
    codes = np.asarray(data.codes, np.float64)
    fired = codes > 0
    p = synthetic.firing_probabilities(atoms, active, decay)
    deviation = np.sqrt(p * (1 - p) / n)
    np.testing.assert_array_less(np.abs(fired.mean(axis=0) - p), 4.5 * deviation + 1e-12)
    variance = np.sum(p * (1 - p))
    assert fired.sum(axis=1).mean() == pytest.approx(active, abs=4.5 * (variance / n) ** 0.5)
    assert fired.sum(axis=1).var() == pytest.approx(variance, rel=0.06)


def test_amplitudes_are_uniform_and_do_not_depend_on_the_frequency():
    truth = synthetic.dictionary(KEY, 30, 8)
    draw = {"active": 3, "decay": 1.0, "amplitudes": (0.25, 2.25)}
    codes = np.asarray(synthetic.superposition(KEY, 30000, truth, **draw).codes, np.float64)
    for atoms in (codes[:, :3], codes[:, 10:]):
        values = atoms[atoms > 0]
        assert 0.25 <= values.min() < 0.26
        assert 2.24 < values.max() <= 2.25
        assert values.mean() == pytest.approx(1.25, abs=4.5 * 2 / (12 * len(values)) ** 0.5)
        assert values.var() == pytest.approx(4 / 12, rel=0.03)


def test_atoms_have_norm_one_and_no_preferred_direction():
    truth = np.asarray(synthetic.dictionary(KEY, 5000, 6), np.float64)
    np.testing.assert_allclose(np.linalg.norm(truth, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(truth.T @ truth / 5000, np.eye(6) / 6, atol=0.015)
    np.testing.assert_allclose(truth.mean(axis=0), 0, atol=4.5 / (6 * 5000) ** 0.5)


def test_superposition_is_codes_times_dictionary_plus_noise_of_the_given_size():
    truth = synthetic.dictionary(KEY, 50, 20)
    exact = synthetic.superposition(KEY, 500, truth, active=4)
    product = np.asarray(exact.codes, np.float64) @ np.asarray(truth, np.float64)
    np.testing.assert_allclose(exact.x, product, atol=1e-5)
    noisy = synthetic.superposition(KEY, 500, truth, active=4, noise=0.3)
    np.testing.assert_array_equal(noisy.codes, exact.codes)
    noise = np.asarray(noisy.x) - product
    assert noise.std() == pytest.approx(0.3, rel=0.03)
    assert abs(noise.mean()) < 0.015


def test_every_atom_fires_where_all_are_active():
    truth = synthetic.dictionary(KEY, 10, 4)
    codes = synthetic.superposition(KEY, 1000, truth, active=10).codes
    assert bool(jnp.all(codes >= 0.5))


def test_the_same_dictionary_gives_fresh_rows_for_another_key_and_the_same_for_the_same():
    truth = synthetic.dictionary(KEY, 50, 20)
    draws = [synthetic.superposition(jax.random.key(k), 9, truth, active=4) for k in (1, 1, 2)]
    for first, again in zip(draws[0], draws[1], strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(draws[0].codes, draws[2].codes)
    np.testing.assert_array_equal(draws[2].dictionary, truth)
    inside = jax.jit(lambda key: synthetic.superposition(key, 9, truth, active=4).x)
    np.testing.assert_allclose(inside(jax.random.key(1)), draws[0].x, atol=1e-6)


def test_low_rank_has_the_covariance_of_probabilistic_pca():
    data = synthetic.low_rank(KEY, 50000, dim=12, rank=4, noise=0.5)
    loadings = np.asarray(data.loadings, np.float64)
    gram = loadings @ loadings.T
    np.testing.assert_allclose(gram, np.diag(np.geomspace(4, 1, 4) ** 2), atol=1e-4)
    x = np.asarray(data.x, np.float64)
    expected = loadings.T @ loadings + 0.25 * np.eye(12)
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.2)
    np.testing.assert_allclose(x.mean(axis=0), data.mean, atol=4.5 * 4 / 50000**0.5)
    rest = x - np.asarray(data.codes, np.float64) @ loadings - np.asarray(data.mean)
    assert rest.std() == pytest.approx(0.5, rel=0.01)


def test_scikit_learn_finds_the_axes_of_low_rank_in_order():
    data = synthetic.low_rank(KEY, 20000, dim=30, rank=5, noise=0.1)
    pca = PCA(5).fit(np.asarray(data.x, np.float64))
    loadings = np.asarray(data.loadings, np.float64)
    assert np.degrees(subspace_angles(pca.components_.T, loadings.T)).max() < 1
    np.testing.assert_allclose(
        pca.explained_variance_, np.geomspace(4, 1, 5) ** 2 + 0.01, rtol=0.05
    )
    axes = loadings / np.linalg.norm(loadings, axis=1, keepdims=True)
    np.testing.assert_array_less(0.995, np.abs(np.sum(axes * pca.components_, axis=1)))
    assert pca.noise_variance_ == pytest.approx(0.01, rel=0.05)


def test_low_rank_is_decided_by_the_key():
    first, again, other = (
        synthetic.low_rank(jax.random.key(k), 5, dim=4, rank=4, noise=0.0) for k in (3, 3, 4)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.x, other.x)


def images(values):
    return np.asarray(synthetic.render(np.asarray(values, np.int32)), np.float64)[..., 0] / 255


def centre(image):
    at = np.arange(32) + 0.5
    return np.array([image.sum(axis=0) @ at, image.sum(axis=1) @ at]) / image.sum()


def test_areas_and_centres_of_mass_are_those_of_the_factors():
    values = np.asarray(synthetic.factors(KEY, 300).y)
    for image, (shape, scale, _, x, y) in zip(images(values), values, strict=True):
        radius = 8 * (0.5 + 0.1 * scale)
        assert image.sum() == pytest.approx(AREAS[shape] * radius**2, rel=0.02)
        np.testing.assert_allclose(centre(image), 9 + 14 * np.array([x, y]) / 31, atol=0.06)


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_pixels_equal_a_fine_count_of_covered_points(shape):
    value = [shape, 4, 7, 11, 22]
    radius, angle = 8 * 0.9, 2 * np.pi * 7 / 40
    at = (np.arange(32 * 20) + 0.5) / 20
    across, down = np.meshgrid(at - 9 - 14 * 11 / 31, at - 9 - 14 * 22 / 31)
    z = np.exp(-1j * angle) * (across + 1j * down) / radius
    if shape == 0:
        inside = np.maximum(np.abs(z.real), np.abs(z.imag)) <= 0.5**0.5
    elif shape == 1:
        inside = z.real**2 + 4 * z.imag**2 <= 1
    else:
        side = HALF_SIDE
        tip = 1j  # the farthest point, below
        w = (z - tip) * np.exp(0.75j * np.pi) / side  # the tip at 0, the square at [0, 1]^2
        inside = (np.abs(w.real - 0.5) <= 0.5) & (np.abs(w.imag - 0.5) <= 0.5)
        inside |= (np.abs(w - (0.5 + 1j)) <= 0.5) | (np.abs(w - (1 + 0.5j)) <= 0.5)
    expected = inside.reshape(32, 20, 32, 20).mean(axis=(1, 3))
    found = images(value)
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(found - expected).sum() < 0.012 * expected.sum()


def test_axis_aligned_squares_are_exact():
    image = images([0, 5, 0, 31, 0])  # centre (23, 9), half a side 5.657
    covered = np.clip(np.minimum(np.arange(32) + 1 - (9 - 32**0.5), 1), 0, 1)
    covered = np.minimum(covered, np.clip(9 + 32**0.5 - np.arange(32), 0, 1))
    np.testing.assert_allclose(image[:, 23], covered, atol=1 / 255)


def test_sprites_stay_inside_the_image():
    corners = [
        [s, 5, r, x, y] for s in range(3) for r in range(40) for x in (0, 31) for y in (0, 31)
    ]
    border = images(corners)
    border[:, 1:-1, 1:-1] = 0
    assert border.max() == 0


def test_symmetries_of_the_shapes():
    turned = images([[s, 5, r, 12, 20] for s in range(3) for r in (0, 10, 20)]).reshape(
        3, 3, 32, 32
    )
    gap = np.abs(turned[:, 0, None] - turned[:, 1:]).sum(axis=(2, 3))
    assert gap[0].max() < 0.1  # a square after a quarter and half a turn
    assert gap[1, 1] < 0.1  # an ellipse after half a turn
    assert min(gap[1, 0], gap[2, 0], gap[2, 1]) > 10
    upright, right = images([[2, 5, 0, 0, 0], [2, 5, 10, 0, 0]])
    np.testing.assert_allclose(np.rot90(upright[:18, :18], -1), right[:18, :18], atol=1 / 255)
    assert upright[9:18].any(axis=1).sum() > upright[:9].any(axis=1).sum()  # the tip is below


def test_factors_are_uniform_independent_and_decided_by_the_key():
    data, again = synthetic.factors(KEY, 4000), synthetic.factors(KEY, 4000)
    assert (data.x.shape, data.x.dtype) == ((4000, 32, 32, 1), jnp.uint8)
    y = np.asarray(data.y)
    np.testing.assert_array_equal(y, again.y)
    np.testing.assert_array_equal(data.x[:3], synthetic.render(y[:3]))
    for column, size in zip(y.T, SIZES, strict=True):
        assert (column.min(), column.max()) == (0, size - 1)
        count = np.bincount(column)
        assert np.sum((count - 4000 / size) ** 2) * size / 4000 < size - 1 + 4.5 * (2 * size) ** 0.5
    assert np.abs(np.corrcoef(y.T) - np.eye(5)).max() < 4.5 / 4000**0.5
    assert not np.array_equal(y, synthetic.factors(jax.random.key(1), 4000).y)


def test_render_maps_and_keeps_leading_axes():
    values = synthetic.factors(KEY, 6).y
    grid = synthetic.render(values.reshape(2, 3, 5))
    assert grid.shape == (2, 3, 32, 32, 1)
    np.testing.assert_array_equal(grid.reshape(6, 32, 32, 1), jax.vmap(synthetic.render)(values))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: synthetic.dictionary(KEY, 0, 4), "atoms=0 must be a positive integer"),
        (lambda: synthetic.dictionary(KEY, 4, 2.5), r"dim=2\.5"),
        (lambda: synthetic.firing_probabilities(4, 5), r"active must lie in \(0, 4\]; got 5"),
        (lambda: synthetic.firing_probabilities(4, 2, -1.0), "decay must lie"),
        (lambda: synthetic.superposition(KEY, 0, jnp.ones((3, 2)), active=1), "n=0"),
        (lambda: synthetic.superposition(KEY, 5, jnp.ones(3), active=1), r"\(atoms, dim\).*\(3,\)"),
        (lambda: synthetic.superposition(KEY, 5, jnp.ones((3, 2)), active=0), "active must"),
        (lambda: synthetic.superposition(KEY, 5, jnp.ones((3, 2)), active=1, noise=-1), "noise"),
        (
            lambda: synthetic.superposition(
                KEY, 5, jnp.ones((3, 2)), active=1, amplitudes=(2.0, 1.0)
            ),
            r"amplitudes must lie in \(0\.0, 1\.0\]; got 2\.0",
        ),
        (lambda: synthetic.low_rank(KEY, 9, dim=3, rank=4), r"rank must lie in \[1, 3\]; got 4"),
        (lambda: synthetic.low_rank(KEY, 9, dim=3, rank=2, noise=np.nan), "noise"),
        (lambda: synthetic.factors(KEY, True), "n=True"),
        (lambda: synthetic.render([1, 2, 3]), r"shape \(3,\)"),
        (lambda: synthetic.render([0.0] * 5), "float32"),
        (lambda: synthetic.render([0, 6, 0, 0, 0]), "must lie in"),
        (lambda: synthetic.render([-1, 0, 0, 0, 0]), "'shape': 3"),
    ],
)
def test_values_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
