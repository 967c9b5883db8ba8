import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jaxae.data import fit_scaler, geometric_median

X = np.random.default_rng(0).normal([1, 100, -5], [1, 20, 0.1], (500, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "reference"), [("standard", StandardScaler()), ("minmax", MinMaxScaler())]
)
def test_equals_scikit_learn_and_inverts(kind, reference):
    scaler = fit_scaler(X, kind)
    expected = reference.fit(X).transform(X)
    np.testing.assert_allclose(scaler.apply(X), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaler.invert(scaler.apply(jnp.asarray(X))), X, rtol=1e-4)
    assert scaler.apply(X).dtype == np.float32


def test_memory_mapped_in_blocks(tmp_path):
    x = np.random.default_rng(0).normal(3, 2, (500_000, 10))
    np.save(tmp_path / "x.npy", x)
    scaler = fit_scaler(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_allclose(scaler.shift, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, x.std(axis=0), rtol=1e-6)


def test_errors():
    constant = X.copy()
    constant[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"columns \[1\] \(\['b'\]\)"):
        fit_scaler(constant, names=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"columns \[1\] are constant"):
        fit_scaler(constant, "minmax")
    with pytest.raises(ValueError, match="2 names for 3"):
        fit_scaler(X, names=["a", "b"])
    with pytest.raises(ValueError, match="robust"):
        fit_scaler(X, "robust")
    with pytest.raises(ValueError, match="NaN"):
        fit_scaler(np.array([[1.0, np.nan], [2.0, 3.0]]))


@pytest.mark.parametrize("shape", [(60, 1), (61, 3), (60, 2, 4)])
def test_the_geometric_median_is_where_the_sum_of_distances_is_least(shape):
    x = np.random.default_rng(1).exponential(size=shape)
    x[:10] += 50.0
    rows = x.reshape(len(x), -1)
    distances = lambda point: np.sum(np.linalg.norm(rows - point, axis=1))  # noqa: E731
    options = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 20_000, "adaptive": True}
    best = minimize(distances, np.median(rows, axis=0), method="Nelder-Mead", options=options)
    given = geometric_median(x, steps=5000, tolerance=1e-10)
    assert given.shape == (rows.shape[1],)
    assert given.dtype == np.float32
    assert distances(given) < best.fun * (1 + 1e-6)
    if rows.shape[1] > 1:
        np.testing.assert_allclose(given, best.x, atol=1e-3)


def test_a_few_far_rows_hardly_move_the_geometric_median():
    x = np.random.default_rng(2).normal(size=(100, 4))
    far = np.concatenate([x, np.full((10, 4), 1e6)])
    assert np.linalg.norm(geometric_median(far) - geometric_median(x)) < 0.5
    assert np.linalg.norm(far.mean(axis=0)) > 1e4


def test_the_geometric_median_moves_and_scales_with_the_rows():
    x = np.random.default_rng(3).normal(size=(50, 3))
    moved = geometric_median(3 * x - 7, tolerance=1e-9)
    np.testing.assert_allclose(moved, 3 * geometric_median(x, tolerance=1e-9) - 7, rtol=1e-4)


def test_the_geometric_median_of_pixels_is_a_share_of_255():
    pixels = np.random.default_rng(4).integers(0, 256, (40, 5), np.uint8)
    np.testing.assert_allclose(geometric_median(pixels), geometric_median(pixels / 255), rtol=1e-6)


@pytest.mark.parametrize("x", [np.ones(5), np.ones((0, 3)), np.ones((3, 0))])
def test_a_geometric_median_needs_rows_of_features(x):
    with pytest.raises(ValueError, match="rows of features"):
        geometric_median(x)
