import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from jaxae.base import as_float
from jaxae.data import synthetic_images

KEY = jax.random.key(0)
DIGITS = np.round(load_digits().images[:40] * (255 / 16)).astype(np.uint8)  # (40, 8, 8)
BLANK = np.zeros((100, 28, 28), np.uint8)


def traced(points):
    """The images of `(n, 3, 2)` points, by distances to 4,000 points of each polynomial."""
    centres = np.stack(np.meshgrid(np.arange(28) + 0.5, np.arange(28) + 0.5), axis=-1)
    images = []
    for three in np.asarray(points, np.float64):
        x, y = (np.polynomial.Polynomial.fit([0, 0.5, 1], values, 2) for values in three.T)
        t = np.linspace(0, 1, 4000)
        distances = cKDTree(np.stack([x(t), y(t)], axis=1)).query(centres)[0]
        images.append(255 * 2 ** -(distances**2))
    return np.stack(images)[..., None]


def random_points(n, seed=0):
    return np.random.default_rng(seed).uniform(5.2, 22.8, (n, 3, 2)).astype(np.float32)


def test_strokes_equal_a_fine_tracing_of_the_quadratic_through_the_points():
    points = random_points(60)
    images = np.asarray(synthetic_images.draw_curves(points), np.float64)
    assert np.abs(images - traced(points)).max() < 5
    assert np.abs(images - traced(points)).mean() < 0.1


def test_curves_depend_on_six_uniform_numbers_of_the_key_and_on_nothing_else():
    points = np.asarray(jax.random.uniform(KEY, (50, 3, 2), minval=5.2, maxval=22.8))
    ordered = [  # of the pairs 01, 02, 12 the second is the longest
        next(p for p in itertools.permutations(three) if pdist(p).argmax() == 1) for three in points
    ]
    found = synthetic_images.curves(KEY, 50)
    assert (found.shape, found.dtype) == ((50, 28, 28, 1), jnp.uint8)
    assert np.abs(np.asarray(found, np.float64) - traced(ordered)).max() < 5
    np.testing.assert_array_equal(found, synthetic_images.curves(KEY, 50))
    assert not np.array_equal(found, synthetic_images.curves(jax.random.key(1), 50))


def test_each_of_the_six_numbers_moves_the_image_in_a_direction_of_its_own():
    bows = [[[7, 20], [14, 8], [21, 19]], [[20, 7], [9, 12], [18, 22]]]
    points = np.float32([*bows, [[6, 6], [13, 10], [22, 21]]])  # and nearly a straight line
    step = 0.5
    moves = step * np.eye(6, dtype=np.float32).reshape(6, 3, 2)
    ahead, behind = (
        np.asarray(synthetic_images.draw_curves(points[:, None] + sign * moves), np.float64)
        for sign in (1, -1)
    )
    jacobians = (ahead - behind).reshape(3, 6, 784) / (2 * step)
    changed = np.count_nonzero(jacobians, axis=(1, 2))
    rounding = changed**0.5 / (2 * step)  # at most, of any singular value
    smallest = np.linalg.svd(jacobians, compute_uv=False)[:, -1]
    np.testing.assert_array_less(2 * rounding, smallest)


def test_pixels_are_continuous_in_the_points():
    points, rng = random_points(200), np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, (200, 3))
    step = 0.1
    moved = points + step * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    before, after = (synthetic_images.draw_curves(p) for p in (points, moved))
    gap = np.abs(np.asarray(after, float) - np.asarray(before, float)).max()
    slope = (2 * np.log(2) / np.e) ** 0.5  # the steepest of 2**-(d**2)
    assert 5 < gap <= 255 * slope * 1.25 * step + 1  # b(t) moves by up to 1.25 steps


def test_order_of_the_ends_does_not_matter_and_coinciding_points_are_a_dot():
    points = random_points(20)
    ways = (synthetic_images.draw_curves(p) for p in (points, points[:, ::-1]))
    np.testing.assert_allclose(*(np.asarray(way, int) for way in ways), atol=1)
    at = np.arange(28) + 0.5
    dot = 255 * 2 ** -((at[:, None] - 9.25) ** 2 + (at - 17.0) ** 2)
    found = synthetic_images.draw_curves(np.full((3, 2), [17.0, 9.25], np.float32))
    np.testing.assert_allclose(found[..., 0], dot, atol=0.51)


def test_every_curve_has_ink_of_two_pixels_width_that_leaves_the_border_free():
    images = np.asarray(synthetic_images.curves(KEY, 2000), np.float64)[..., 0]
    assert images.max(axis=(1, 2)).min() >= 255 * 2**-0.5 - 1  # a pixel's centre is that near
    corners = itertools.product(itertools.product([5.2, 22.8], repeat=2), repeat=3)
    farthest = synthetic_images.draw_curves(np.array(list(corners), np.float32))[..., 0]
    border = np.concatenate([images, farthest])
    border[:, 1:-1, 1:-1] = 0
    assert border.max() <= 4
    level = np.float32([[6, 14.5], [14, 14.5], [22, 14.5]])
    column = np.asarray(synthetic_images.draw_curves(level), np.float64)[:, 14, 0] / 255
    width = (np.pi / np.log(2)) ** 0.5  # the integral of 2**-(d**2)
    assert column.sum() == pytest.approx(width, rel=0.01)
    np.testing.assert_allclose(column[[13, 15]], 0.5, atol=1 / 255)


def test_curves_need_many_linear_dimensions():
    images = np.asarray(synthetic_images.curves(KEY, 2000), np.float64).reshape(2000, 784) / 255
    explained = np.cumsum(PCA(svd_solver="covariance_eigh").fit(images).explained_variance_ratio_)
    assert explained[5] < 0.4
    assert np.searchsorted(explained, 0.9) > 45


def test_curves_are_the_same_whatever_the_chunks_and_the_leading_axes_and_inside_of_jit():
    points = random_points(514)
    images = np.asarray(synthetic_images.draw_curves(points))
    pairs = synthetic_images.draw_curves(points.reshape(2, 257, 3, 2))
    assert pairs.shape == (2, 257, 28, 28, 1)
    for other in (pairs, jax.vmap(synthetic_images.draw_curves)(points)):
        gap = np.asarray(other, int).reshape(images.shape) - images
        assert np.abs(gap).max() <= 1
    inside = jax.jit(lambda key: synthetic_images.curves(key, 3))(KEY)
    assert np.abs(np.asarray(inside, int) - synthetic_images.curves(KEY, 3)).max() <= 1


@pytest.mark.parametrize("size", [8, 7, 1])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4, -1])
def test_quarter_turns_are_those_of_numpy(size, quarters):
    images = DIGITS[:, :size, :size]
    expected = np.rot90(images, quarters, axes=(1, 2))
    found = synthetic_images.turn(images, quarters * np.pi / 2)
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, expected)
    floats = synthetic_images.turn(images[..., None] / np.float32(255), quarters * np.pi / 2)
    np.testing.assert_allclose(floats[..., 0], expected / 255, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 5), (4, 8)])
def test_any_turn_is_that_of_scipy(shape):
    images = DIGITS[:6, : shape[0], : shape[1]] / np.float32(255)
    degrees = np.float32([13, 77, 145, 200, 301, -30])
    how = {"reshape": False, "order": 1, "mode": "grid-constant", "output": np.float64}
    expected = [ndimage.rotate(*pair, **how) for pair in zip(images, degrees, strict=True)]
    found = synthetic_images.turn(images, np.deg2rad(degrees))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pixels = np.round(images * 255).astype(np.uint8)
    found = synthetic_images.turn(pixels, np.deg2rad(degrees))
    np.testing.assert_allclose(found, 255 * np.array(expected), atol=0.501)


def test_a_centred_disc_keeps_its_ink_and_looks_the_same():
    at = np.arange(29) - 14
    disc = np.clip(8.5 - np.hypot(at[:, None], at), 0, 1).astype(np.float32)
    discs = np.repeat(disc[None], 50, axis=0)
    turned = np.asarray(synthetic_images.rotated(KEY, discs).x)
    np.testing.assert_allclose(turned.sum(axis=(1, 2)), discs.sum(axis=(1, 2)), rtol=0.01)
    assert np.abs(turned - discs).max() < 0.3  # at the rim, where bilinear weights blur


def test_angles_are_uniform_of_each_image_its_own_and_those_of_the_images():
    data = synthetic_images.rotated(KEY, np.zeros((5000, 1, 1), np.uint8))
    assert data.angle.shape == (5000,)
    assert stats.kstest(np.asarray(data.angle), "uniform", args=(0, 2 * np.pi)).pvalue > 1e-3
    digits = synthetic_images.rotated(KEY, DIGITS[..., None])
    np.testing.assert_array_equal(digits.x, synthetic_images.turn(DIGITS[..., None], digits.angle))
    again, other = (synthetic_images.rotated(jax.random.key(k), DIGITS[..., None]) for k in (0, 1))
    np.testing.assert_array_equal(digits.x, again.x)
    assert not np.array_equal(digits.x, other.x)


def test_turns_are_the_same_whatever_the_chunks():
    images, angle = np.tile(DIGITS, (14, 1, 1))[:520], np.linspace(0, 6, 520, dtype=np.float32)
    whole = np.asarray(synthetic_images.turn(images, angle), int)
    half = np.asarray(synthetic_images.turn(images[1::2], angle[1::2]), int)
    assert np.abs(half - whole[1::2]).max() <= 1


def test_background_pixels_are_uniform_bytes_and_independent():
    noise = np.asarray(synthetic_images.random_background(KEY, BLANK))
    assert stats.chisquare(np.bincount(noise.ravel(), minlength=256)).pvalue > 1e-3
    x = noise.astype(float)
    for first, second in [(x[:-1], x[1:]), (x[:, :-1], x[:, 1:]), (x[:, :, :-1], x[:, :, 1:])]:
        r = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(r) < 4.5 / first.size**0.5
    np.testing.assert_array_equal(noise, synthetic_images.random_background(KEY, BLANK))
    assert not np.array_equal(noise, synthetic_images.random_background(jax.random.key(1), BLANK))


def test_digits_lie_over_the_background_as_the_maximum():
    noise = np.asarray(synthetic_images.random_background(KEY, np.zeros_like(DIGITS)))
    found = np.asarray(synthetic_images.random_background(KEY, DIGITS))
    np.testing.assert_array_equal(found, np.maximum(DIGITS, noise))
    floats = synthetic_images.random_background(KEY, as_float(DIGITS))
    np.testing.assert_array_equal(floats, as_float(found))
    white = synthetic_images.rotated(KEY, np.ones((500, 20, 20), np.float32)).x
    assert synthetic_images.random_background(KEY, white).max() == 1  # images still


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint8", (3, 8, 8)), ("bfloat16", (3, 4, 16, 1)), ("float16", (3, 16, 4))],
)
def test_shapes_and_dtypes_stay_inside_and_outside_of_jit(dtype, shape):
    images = jnp.asarray(DIGITS[:3].reshape(shape))
    images = images if dtype == "uint8" else as_float(images).astype(dtype)
    for function in (synthetic_images.random_background, synthetic_images.rotated):
        for call in (function, jax.jit(function)):
            found = jax.tree.leaves(call(KEY, images))[0]
            assert (found.shape, found.dtype) == (shape, jnp.dtype(dtype))
            assert np.all((found >= 0) & (found <= (255 if dtype == "uint8" else 1)))


@pytest.mark.parametrize("call", [synthetic_images.rotated, synthetic_images.random_background])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 64), np.uint8), r"\(5, 64\).*Reshape"),
        (np.zeros((5, 8, 8, 3), np.uint8), r"\(5, 8, 8, 3\)"),
        (np.zeros((0, 8, 8), np.uint8), r"at least one pixel; got the shape \(0, 8, 8\)"),
        (np.zeros((5, 8, 8), np.int32), "got int32"),
        (np.zeros((5, 8, 8), bool), "got bool"),
        (np.full((5, 8, 8), 16, np.float32), r"these lie in \[16, 16\]"),
        (np.full((5, 8, 8), -0.1, np.float32), r"in \[0, 1\]"),
        (np.full((5, 8, 8), np.nan, np.float32), r"\[nan, nan\]"),
    ],
)
def test_images_that_are_none_are_refused(call, images, message):
    with pytest.raises(ValueError, match=message):
        call(KEY, images)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: synthetic_images.curves(KEY, 0), "n=0 must be a positive integer"),
        (lambda: synthetic_images.curves(KEY, 2.0), r"n=2\.0"),
        (lambda: synthetic_images.curves(KEY, True), "n=True"),
        (lambda: synthetic_images.draw_curves(jnp.ones((3, 3))), r"float32 of the shape \(3, 3\)"),
        (lambda: synthetic_images.draw_curves(jnp.ones((3, 2), int)), "got int32"),
        (lambda: synthetic_images.draw_curves(jnp.ones((0, 3, 2))), r"\(0, 3, 2\)"),
        (lambda: synthetic_images.draw_curves(jnp.full((3, 2), jnp.nan)), "finite"),
        (lambda: synthetic_images.turn(DIGITS, np.zeros(3)), r"\(40,\); got the shape \(3,\)"),
        (lambda: synthetic_images.turn(DIGITS, np.inf), "angle must lie in"),
    ],
)
def test_values_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
