"""The summary against its parts, and its table."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from jaxae.base import Autoencoder, as_float
from jaxae.evaluation import (
    format_table,
    knn_probe,
    linear_probe,
    mean_baseline,
    pca_baseline,
    summarize,
)
from jaxae.evaluation import summary as summary_module

COLUMNS = ["name", "codes", "mse", "squared_error", "knn_accuracy", "linear_accuracy"]


def encode(params, batch):
    return (as_float(batch["x"]) - params["mean"]) @ params["basis"].T


def decode(params, z, context=None):
    return z @ params["basis"] + params["mean"]


PROJECTION = Autoencoder(None, None, encode, decode, None)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return {"x": x[:1000], "y": y[:1000]}, {"x": x[1000:1400], "y": y[1000:1400]}


def projection(x, k):
    pca = PCA(k).fit(x)
    return {"mean": jnp.asarray(pca.mean_), "basis": jnp.asarray(pca.components_)}


def test_a_model_that_is_pca_ties_with_pca(digits):
    train, test = digits
    rows = summarize(PROJECTION, projection(train["x"], 8), train, test, latent_dim=8)
    assert [row["name"] for row in rows] == ["model", "PCA-8", "mean", "raw input"]
    assert [row["codes"] for row in rows] == [8, 8, 0, 64]
    assert all(list(row) == COLUMNS for row in rows)
    for name in ("mse", "squared_error"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-5)
        assert rows[1][name] == pca_baseline(train, test, 8)[name]
        assert rows[2][name] == mean_baseline(train, test)[name]
    for name in COLUMNS[4:]:
        assert rows[0][name] == pytest.approx(rows[1][name], abs=0.006)
    labels = train["y"], test["x"], test["y"]
    assert rows[3]["knn_accuracy"] == knn_probe(train["x"], *labels)
    assert rows[3]["linear_accuracy"] == pytest.approx(linear_probe(train["x"], *labels), abs=3e-3)
    assert [rows[3]["mse"], rows[2]["knn_accuracy"]] == [None, None]


def test_probes_train_on_a_seeded_draw_and_nearest_codes_test_on_one(digits, monkeypatch):
    train, test = digits
    calls = []

    def spy(train_z, train_y, test_z, test_y, **settings):
        calls.append((train_z, train_y, test_z, test_y))
        return 0.5

    monkeypatch.setattr(summary_module, "knn_probe", spy)
    monkeypatch.setattr(summary_module, "linear_probe", spy)
    monkeypatch.setattr(summary_module, "MAX_KNN_TEST_ROWS", 50)
    params = projection(train["x"], 3)
    for _ in range(2):
        summarize(PROJECTION, params, train, test, latent_dim=3, max_probe_examples=100, seed=4)
    assert len(calls) == 12
    assert all(len(c[0]) == len(c[1]) == 100 for c in calls)
    assert [len(c[2]) for c in calls] == [50, 400] * 6
    for first, second in zip(calls[:6], calls[6:], strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    raw_z, raw_y = calls[4][:2]
    where = [np.flatnonzero((train["x"] == row).all(1))[0] for row in np.float32(raw_z)]
    np.testing.assert_array_equal(train["y"][where], raw_y)


@pytest.mark.parametrize("case", ["none", "train only", "one class"])
def test_no_accuracies_without_labels_to_tell_apart(digits, case):
    train, test = ({"x": split["x"][:60]} for split in digits)
    if case != "none":
        train["y"] = np.arange(60) % 3
    if case == "one class":
        train["y"], test["y"] = np.zeros(60, int), np.arange(60) % 2
    rows = summarize(PROJECTION, projection(train["x"], 3), train, test, latent_dim=3)
    assert all(row[name] is None for row in rows for name in COLUMNS[4:])


def test_more_codes_than_pca_can_have_and_hidden_entries(digits):
    train = {name: array[:40] for name, array in digits[0].items()}
    test = dict(digits[1])
    for split in (train, test):
        hidden = np.random.default_rng(0).random(split["x"].shape) < 0.1
        split["x"] = np.where(hidden, 0.0, split["x"]).astype(np.float32)
        split["mask"] = ~hidden
    rows = summarize(PROJECTION, projection(train["x"], 5), train, test, latent_dim=99)
    assert [row["name"] for row in rows] == ["model", "PCA-40", "mean", "raw input"]
    squares = (test["x"] - decode_numpy(projection(train["x"], 5), test["x"])) ** 2
    assert rows[0]["mse"] == pytest.approx(squares[test["mask"]].mean(), rel=1e-4)
    assert all(0.3 < rows[i]["knn_accuracy"] <= 1 for i in (0, 1, 3))


def decode_numpy(params, x):
    mean, basis = np.float64(params["mean"]), np.float64(params["basis"])
    return (x - mean) @ basis.T @ basis + mean


def test_summarize_refuses_bad_settings(digits):
    train, test = digits
    params = projection(train["x"], 3)
    with pytest.raises(ValueError, match="latent_dim must lie"):
        summarize(PROJECTION, params, train, test, latent_dim=0)
    with pytest.raises(ValueError, match="max_probe_examples must lie"):
        summarize(PROJECTION, params, train, test, latent_dim=3, max_probe_examples=1)


def test_format_table_aligns_and_rounds():
    rows = [
        {"name": "model", "codes": 2, "mse": 0.0556704, "squared_error": 43.645123},
        {"name": "raw input", "codes": 784, "mse": None, "accuracy": 0.9},
    ]
    assert format_table(rows).splitlines() == [
        "name       codes      mse  squared_error  accuracy",
        "---------  -----  -------  -------------  --------",
        "model          2  0.05567         43.645         -",
        "raw input    784        -              -       0.9",
    ]
    with pytest.raises(ValueError, match="at least one row"):
        format_table([])
