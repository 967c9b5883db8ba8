"""Baselines against singular value decompositions in NumPy."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxae.evaluation import mean_baseline, pca_baseline, principal_angles
from jaxae.evaluation.baselines import pca_solver


@pytest.fixture(scope="module")
def digits():
    x = load_digits().data
    return {"x": x[:1200] / 16}, {"x": x[1200:] / 16}


def test_mean_baseline_is_the_variance_about_the_training_mean(digits):
    train, test = digits
    squares = (test["x"] - train["x"].mean(0)) ** 2
    out = mean_baseline(train, test)
    np.testing.assert_allclose(out["mse"], squares.mean(), rtol=1e-6)
    np.testing.assert_allclose(out["squared_error"], squares.sum(1).mean(), rtol=1e-6)


@pytest.mark.parametrize("rows", [1200, 30])
@pytest.mark.parametrize("k", [1, 10, 30])
def test_pca_baseline_is_the_truncated_svd(digits, rows, k):
    x, x_test = np.float32(digits[0]["x"][:rows]), np.float32(digits[1]["x"])
    mean = x.mean(0, dtype=np.float64)
    basis = np.linalg.svd(x - mean, full_matrices=False)[2][:k]
    k_safe = min(k, rows - 1)  # the 30th direction of 30 centred rows is arbitrary
    out = pca_baseline({"x": x}, {"x": x_test}, k_safe)
    basis = basis[:k_safe]
    squares = ((x_test - mean) - (x_test - mean) @ basis.T @ basis) ** 2
    np.testing.assert_allclose(out["mse"], squares.mean(), rtol=1e-8)
    np.testing.assert_allclose(out["squared_error"], squares.sum(1).mean(), rtol=1e-8)
    np.testing.assert_allclose(
        np.abs(out["train_codes"]), np.abs((x - mean) @ basis.T), rtol=1e-5, atol=1e-6
    )
    assert out["test_codes"].shape == (len(x_test), k_safe)
    assert principal_angles(out["components"].T, basis.T).max() < 1e-5


def test_images_of_bytes_are_read_as_pixels(digits):
    pixels = [np.round(split["x"] * 255).astype(np.uint8).reshape(-1, 8, 8, 1) for split in digits]
    floats = [{"x": p.reshape(len(p), 64) / 255.0} for p in pixels]
    images = [{"x": p} for p in pixels]
    for baseline in (mean_baseline, lambda a, b: pca_baseline(a, b, 5)):
        np.testing.assert_allclose(baseline(*images)["mse"], baseline(*floats)["mse"], rtol=1e-6)


def test_only_observed_entries_count():
    x = np.array([[[1.0], [5.0]], [[3.0], [np.nan]], [[np.nan], [np.nan]]])
    mask = np.array([[1, 1], [1, 0], [0, 0]])
    test = {"x": np.array([[[4.0], [np.nan]], [[2.0], [7.0]]]), "mask": np.array([[1, 0], [1, 1]])}
    train = {"x": x, "mask": mask}
    assert mean_baseline(train, test) == {"mse": 8.0 / 3.0, "squared_error": 4.0}
    filled = {"x": np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])}
    out = pca_baseline(train, test, 1)
    whole = pca_baseline(filled, {"x": np.array([[4.0, 5.0], [2.0, 7.0]])}, 1)
    np.testing.assert_allclose(out["test_codes"], whole["test_codes"], atol=1e-12)
    np.testing.assert_allclose(out["squared_error"], 2.0)  # only the second column is missed


def test_a_mask_of_ones_is_no_mask(digits):
    masked = [split | {"mask": np.ones(split["x"].shape)} for split in digits]
    for baseline in (mean_baseline, lambda a, b: pca_baseline(a, b, 5)):
        np.testing.assert_allclose(baseline(*masked)["mse"], baseline(*digits)["mse"], rtol=1e-10)


def test_constant_data_has_no_error_and_no_warning():
    data = {"x": np.ones((5, 3))}
    assert mean_baseline(data, data)["mse"] == 0.0
    assert pca_baseline(data, data, 2)["mse"] == pytest.approx(0.0, abs=1e-12)


def test_solver_is_exact_unless_both_sides_are_large():
    assert pca_solver(60_000, 784) == "covariance_eigh"
    assert pca_solver(100, 50_000) == "full"
    assert pca_solver(60_000, 12_288) == "randomized"


def test_principal_angles_of_known_planes():
    angle = 0.3
    a = np.eye(4)[:, :2]
    b = np.array([[1, 0, 0, 0], [0, np.cos(angle), np.sin(angle), 0]]).T
    np.testing.assert_allclose(principal_angles(a, b), [angle, 0.0], atol=1e-9)
    mixed = b @ np.array([[2.0, 1.0], [0.5, -3.0]])  # another basis, the same space
    np.testing.assert_allclose(principal_angles(a, mixed), [angle, 0.0], atol=1e-7)
    assert principal_angles(a, np.eye(4)[:, 3:]).tolist() == pytest.approx([np.pi / 2])


def test_baselines_refuse_bad_input(digits):
    train, test = digits
    for k in (0, 65):
        with pytest.raises(ValueError, match=r"k must lie in \[1, 64\]"):
            pca_baseline(train, test, k)
    with pytest.raises(ValueError, match=r"lesser of 3 rows"):
        pca_baseline({"x": train["x"][:3]}, test, 4)
    for baseline in (mean_baseline, lambda a, b: pca_baseline(a, b, 2)):
        with pytest.raises(ValueError, match="same shape"):
            baseline(train, {"x": np.ones((3, 63))})
        with pytest.raises(ValueError, match="must be finite"):
            baseline({"x": np.array([[np.nan], [1.0]])}, {"x": np.ones((1, 1))})
        with pytest.raises(ValueError, match="left prefix"):
            baseline({"x": train["x"], "mask": np.ones((1200, 63))}, test)
        with pytest.raises(ValueError, match="mapping"):
            baseline(train["x"], test["x"])
    with pytest.raises(ValueError, match="with the same d"):
        principal_angles(np.eye(3), np.eye(4))
