import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jaxae.data import fit_scaler

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
