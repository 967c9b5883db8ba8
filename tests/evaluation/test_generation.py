"""What models generate, against geometry and the closed forms of linear Gaussian models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation, Slerp

import jaxae
from jaxae.evaluation.generation import (
    code_quantiles,
    grid_values,
    interpolate,
    manifold_grid,
    reconstruct,
    traverse,
)
from jaxae.evaluation.paths import lerp, slerp
from jaxae.evaluation.walks import markov_chain, walkback_corruption


def test_straight_lines_are_numpys():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    path = lerp(a, b, np.linspace(0, 1, 5))
    assert path.shape == (4, 5, 3, 2)
    np.testing.assert_allclose(path, np.moveaxis(np.linspace(a, b, 5), 0, 1), atol=1e-6)
    assert (path[:, 0] == a).all()
    assert (path[:, -1] == b).all()


def test_arcs_turn_by_equal_angles_in_one_plane_and_their_norms_change_evenly(x64):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 5)) * rng.uniform(0.1, 9, size=(2, 6, 1))
    path = np.asarray(slerp(a, b, np.linspace(0, 1, 7)))
    norms = np.linalg.norm(path, axis=2)
    ends = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(norms, np.linspace(*ends, 7).T, rtol=1e-12)
    units = path / norms[..., None]
    turns = np.arccos((units[:, 1:] * units[:, :-1]).sum(2))
    whole = np.arccos((units[:, 0] * units[:, -1]).sum(1))
    np.testing.assert_allclose(turns, np.tile(whole[:, None] / 6, (1, 6)), rtol=1e-7)
    np.testing.assert_allclose(path[:, [0, -1]], np.stack([a, b], 1), rtol=1e-12)
    for row in path:
        assert np.linalg.matrix_rank(row, tol=1e-9) == 2


def test_arcs_are_scipys_rotations_of_a_vector(x64):
    axis = np.array([1.0, 2.0, -2.0]) / 3
    start = np.cross(axis, [0.0, 0.0, 1.0])
    turned = Rotation.from_rotvec([0 * axis, 2.5 * axis])
    t = np.linspace(0, 1, 6)
    expected = Slerp([0, 1], turned)(t).apply(start)
    path = slerp(start[None], turned[1].apply(start)[None], t)
    np.testing.assert_allclose(path[0], expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-4, 3e-3, np.pi - 1e-4])
def test_arcs_between_nearly_parallel_or_opposite_codes_turn_evenly(angle):
    a = np.array([[3.0, 0.0]], np.float32)
    b = np.array([[5 * np.cos(angle), 5 * np.sin(angle)]], np.float32)
    t = np.linspace(0, 1, 9, dtype=np.float32)
    direction = np.stack([np.cos(t * angle), np.sin(t * angle)], 1)
    path = np.asarray(slerp(a, b, t))[0]
    np.testing.assert_allclose(path, (3 + 2 * t)[:, None] * direction, rtol=1e-5, atol=3e-6)


def test_arcs_of_opposite_zero_and_equal_codes_are_finite_lines():
    a = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]], np.float32)
    b = np.array([[-2.0, -4.0], [1.0, 1.0], [0.0, 0.0], [3.0, 4.0]], np.float32)
    t = np.linspace(0, 1, 5)
    np.testing.assert_allclose(slerp(a, b, t), lerp(a, b, t), atol=1e-6)


@pytest.mark.parametrize("path", [lerp, slerp])
def test_paths_take_codes_of_any_shape_and_refuse_those_that_differ(path):
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    flat = path(a.reshape(4, 6), b.reshape(4, 6), np.linspace(0, 1, 3))
    np.testing.assert_allclose(path(a, b, np.linspace(0, 1, 3)).reshape(4, 3, 6), flat)
    for arguments in [(a, b[:, :2], np.ones(2)), (a, b, 0.5), (a[0, 0], b[0, 0], np.ones(2))]:
        with pytest.raises(ValueError, match="of one shape and t"):
            path(*arguments)


@pytest.mark.parametrize(("method", "path"), [("linear", lerp), ("spherical", slerp)])
def test_interpolations_decode_the_way_between_codes(world, method, path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 4)).astype(np.float32)
    params = {"W": rng.normal(size=(4, 2)), "V": rng.normal(size=(2, 4))}
    images = interpolate(world.LINEAR, params, {"x": a}, {"x": b}, 5, method=method)
    expected = path(a @ params["W"], b @ params["W"], np.linspace(0, 1, 5)) @ params["V"]
    assert images.shape == (3, 5, 4)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-5)


def test_interpolations_decode_in_the_context_of_the_first_rows_or_the_one_given(world):
    model = world.LINEAR._replace(
        decode=lambda params, z, context=None: world.with_context(z, context)
    )
    a = {"x": jnp.zeros((2, 1)), "context": jnp.array([[1.0], [2.0]])}
    b = {"x": jnp.ones((2, 1)), "context": jnp.array([[1.0], [2.0]])}
    params = {"W": jnp.eye(1)}
    own = interpolate(model, params, a, b, 3)
    np.testing.assert_allclose(own[..., 0], [[2.0, 2.5, 3.0], [4.0, 4.5, 5.0]])
    given = interpolate(model, params, a, b, 3, context=jnp.array([[10.0], [20.0]]))
    np.testing.assert_allclose(given[..., 0], [[11.0, 11.5, 12.0], [22.0, 22.5, 23.0]])


def test_interpolations_refuse_bad_input(world):
    one, two = {"x": np.ones((1, 2))}, {"x": np.ones((2, 2))}
    params = {"W": np.eye(2), "V": np.eye(2)}
    with pytest.raises(ValueError, match="method is one of"):
        interpolate(world.LINEAR, params, one, one, 3, method="cubic")
    with pytest.raises(ValueError, match="steps must lie in"):
        interpolate(world.LINEAR, params, one, one, 1)
    with pytest.raises(ValueError, match="pair rows; got 1 and 2"):
        interpolate(world.LINEAR, params, one, two, 3)


@pytest.mark.parametrize("shared", [True, False])
def test_traversals_set_one_unit_and_leave_the_others(world, shared):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4))
    params = {"W": rng.normal(size=(4, 4)), "V": rng.normal(size=(4, 4))}
    units, values = [3, 1], np.array([[-1.0, 0.0, 2.0], [5.0, 6.0, 7.0]])
    values = values[0] if shared else values
    images = traverse(world.LINEAR, params, {"x": x}, units=units, values=values)
    assert images.shape == (3, 2, 3, 4)
    for i, row in enumerate(x):
        for j, unit in enumerate(units):
            for k in range(3):
                z = row @ params["W"]
                z[unit] = values[k] if shared else values[j, k]
                np.testing.assert_allclose(images[i, j, k], z @ params["V"], rtol=1e-4, atol=1e-5)


def test_code_quantiles_are_numpys_and_serve_as_values(world):
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    values = code_quantiles(z, [2, 0], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(values, np.quantile(z, [0.1, 0.5, 0.9], 0).T[[2, 0]], rtol=1e-5)
    params = {"W": np.eye(4), "V": np.eye(4)}
    images = traverse(world.LINEAR, params, {"x": z[:1]}, units=[2, 0], values=values)
    np.testing.assert_allclose(images[0, 1, :, 0], values[1], rtol=1e-6)


def test_traversals_refuse_bad_input(world):
    params, batch = {"W": np.eye(2), "V": np.eye(2)}, {"x": np.ones((1, 2))}
    for units in ([2], [-1]):
        with pytest.raises(ValueError, match="units must lie in"):
            traverse(world.LINEAR, params, batch, units=units, values=np.ones(2))
    for units in ([], [[0]], [0.5]):
        with pytest.raises(ValueError, match="units are integers"):
            traverse(world.LINEAR, params, batch, units=units, values=np.ones(2))
    for values in (1.0, np.ones((2, 3)), np.ones((1, 2, 3))):
        with pytest.raises(ValueError, match="values must be"):
            traverse(world.LINEAR, params, batch, units=[0], values=values)


def test_the_manifold_lies_at_scipys_normal_quantiles_with_unit_one_upwards(world):
    quantiles = stats.norm.ppf((np.arange(5) + 0.5) / 5)
    np.testing.assert_allclose(grid_values(5), quantiles, rtol=1e-5, atol=1e-6)
    kernel = np.random.default_rng(0).normal(size=(2, 3))
    images = manifold_grid(world.LINEAR, {"V": kernel}, side=5)
    assert images.shape == (5, 5, 3)
    for i in range(5):
        for j in range(5):
            expected = np.array([quantiles[j], quantiles[4 - i]]) @ kernel
            np.testing.assert_allclose(images[i, j], expected, rtol=1e-4, atol=1e-5)
    even = manifold_grid(world.LINEAR, {"V": np.eye(2)}, side=3, low_high=(-2.0, 2.0))
    np.testing.assert_allclose(even[0, :, 0], [-2.0, 0.0, 2.0])
    np.testing.assert_allclose(even[:, 0, 1], [2.0, 0.0, -2.0])


def test_the_manifold_gives_one_context_to_all_and_refuses_codes_that_are_no_plane(world):
    model = world.LINEAR._replace(
        decode=lambda params, z, context=None: world.with_context(z, context)
    )
    plain, moved = (manifold_grid(model, None, side=2, context=c) for c in (None, np.ones(2)))
    np.testing.assert_allclose(moved, plain + 1)
    deep = jaxae.undercomplete(6, 1)
    params = deep.init(jax.random.key(0), {"x": jnp.ones((1, 6))})
    for refused, given in [(deep, params), (world.LINEAR, {"V": np.eye(3)})]:
        with pytest.raises(ValueError, match="latent_dim 2"):
            manifold_grid(refused, given)
    with pytest.raises(ValueError, match="side must lie in"):
        manifold_grid(world.LINEAR, {"V": np.eye(2)}, side=0)


def test_reconstructions_without_a_key_are_means_and_with_one_draws_of_codes_and_data(world):
    params, gain, spread = world.optimal_denoiser()
    params["Q"] = jnp.array([[0.5, 0.0], [0.3, 0.2]])
    batch = {"x": jnp.array([[1.0, -2.0], [0.0, 3.0]])}
    mean = reconstruct(world.LINEAR, params, batch)
    np.testing.assert_allclose(mean, batch["x"] @ gain.T, rtol=1e-5)
    draws = reconstruct(world.LINEAR, params, batch, jax.random.key(0), samples=world.N)
    assert draws.shape == (2, world.N, 2)
    factor = np.float64(params["Q"])
    for row, center in zip(draws, mean, strict=True):
        world.moments_agree(row, center, spread + factor @ factor.T)
    again = reconstruct(world.LINEAR, params, batch, jax.random.key(1), samples=world.N)
    assert (draws != again).all()


def test_reconstructions_refuse_samples_without_a_key_and_models_without_a_likelihood(world):
    params, batch, key = world.optimal_denoiser()[0], {"x": jnp.ones((2, 2))}, jax.random.key(0)
    for samples, given, message in [(2, None, "samples=2 needs a key"), (0, key, "samples must")]:
        with pytest.raises(ValueError, match=message):
            reconstruct(world.LINEAR, params, batch, given, samples=samples)
    plain, corrupt = world.LINEAR._replace(latent=None), jaxae.corruptions.masking(0.1)
    assert reconstruct(plain, params, batch).shape == (2, 2)
    for refused in (
        lambda: reconstruct(plain, params, batch, key),
        lambda: markov_chain(plain, params, key, batch["x"], steps=1, corrupt=corrupt),
        lambda: walkback_corruption(plain, params, corrupt, 1),
    ):
        with pytest.raises(ValueError, match="no likelihood to draw from"):
            refused()
