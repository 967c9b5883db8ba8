"""Probes against plain NumPy and known answers."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxae.evaluation import knn_probe, linear_probe


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:1000] / 16, y[:1000], x[1000:] / 16, y[1000:]


def nearest_votes(train_z, train_y, test_z, k):
    """Labels by the votes of the k nearest rows, in NumPy."""
    distances = ((test_z[:, None] - train_z[None]) ** 2).sum(2)
    near = train_y[np.argsort(distances, 1, kind="stable")[:, :k]]
    return np.array([np.bincount(row).argmax() for row in near])


@pytest.mark.parametrize("k", [1, 5])
def test_knn_probe_agrees_with_numpy(digits, k):
    train_z, train_y, test_z, test_y = digits
    share = (nearest_votes(train_z, train_y, test_z, k) == test_y).mean()
    assert knn_probe(*digits, k=k) == pytest.approx(share, abs=1e-12)


def test_linear_probe_reads_digits_and_is_blind_to_scale_and_constants(digits):
    train_z, train_y, test_z, test_y = digits
    accuracy = linear_probe(*digits)
    assert 0.9 < accuracy < 0.97
    scale = np.geomspace(1e-3, 1e3, 64)
    constant = [np.c_[z * scale, np.full(len(z), 7.0)] for z in (train_z, test_z)]
    assert abs(linear_probe(constant[0], train_y, constant[1], test_y) - accuracy) < 0.005


def test_linear_probe_stopped_early_does_not_warn(digits):
    assert linear_probe(*digits, max_iter=2) > 0.5


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_probes_take_other_shapes_and_types(digits, probe):
    train_z, train_y, test_z, test_y = digits
    flat = probe(train_z * 16, train_y, test_z * 16, test_y)
    images = [(16 * z).astype(np.uint8).reshape(-1, 8, 8) for z in (train_z, test_z)]
    assert abs(probe(images[0], list(train_y), images[1], test_y) - flat) < 0.01


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_probes_refuse_bad_input(probe):
    z, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
    broken = z.copy()
    broken[2, 1] = np.nan
    cases = [
        ((z[:, 0], y, z, y), r"train_z must be \(n, features\)"),
        ((z, y, z[0], y), "test_z must be"),
        ((z[:0], y[:0], z, y), "train_z must be"),
        ((z, y, z[:, :1], y), "same number of features; got 2 and 1"),
        ((broken, y, z, y), "train_z must be finite; 1 of 6 rows"),
        ((z, y, broken, y), "test_z must be finite"),
        ((z, y[:5], z, y), r"train_y must be one label per row, shape \(6,\)"),
        ((z, y, z, y[:, None]), "test_y must be one label"),
        ((z, np.zeros(6, int), z, y), "at least two classes"),
        ((z, y + 0.5, z, y), "must be class labels"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            probe(*arguments)


def test_probes_refuse_bad_settings():
    z, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
    for k in (0, 7):
        with pytest.raises(ValueError, match="number of neighbours"):
            knn_probe(z, y, z, y, k=k)
    with pytest.raises(ValueError, match="C must lie"):
        linear_probe(z, y, z, y, C=0.0)
    with pytest.raises(ValueError, match="max_iter must lie"):
        linear_probe(z, y, z, y, max_iter=0)
