"""Errors of filled tables against scikit-learn's metrics and imputers."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.impute import SimpleImputer

import jaxae
from jaxae.data.column_fitting import hide_cells
from jaxae.data.columns import fit_columns
from jaxae.evaluation import format_table
from jaxae.evaluation.table_errors import column_errors, hidden_error, mean_or_mode


@pytest.fixture(scope="module")
def tables():
    """A table, one with holes, where these are, and one with other cells in them."""
    rng = np.random.default_rng(0)
    truth = pd.DataFrame(
        {
            "a": rng.normal(50, 10, 40),
            "b": rng.normal(size=40),
            "c": rng.choice(list("xyz"), 40),
            "d": rng.random(40) < 0.3,
            "whole": 1.0 * np.arange(40),
        }
    )
    holes, hidden = hide_cells(truth[list("abcd")], 0.3, seed=1)
    shuffled = truth.sample(frac=1, random_state=0).reset_index(drop=True)
    guess = truth.assign(**holes.where(holes.notna(), shuffled[list("abcd")]))
    holes, hidden = holes.assign(whole=truth["whole"]), hidden.assign(whole=False)
    return truth, holes, hidden, guess


def test_errors_are_those_of_scikit_learn(tables):
    truth, _, hidden, guess = tables
    columns = fit_columns(truth)
    rows = {row["column"]: row for row in column_errors(truth, {"guess": guess}, hidden, columns)}
    assert list(rows) == ["a", "b", "c", "d", "all numeric", "all categories"]
    scaled = []
    for name in "ab":
        at = hidden[name]
        expected = metrics.root_mean_squared_error(truth[name][at], guess[name][at])
        np.testing.assert_allclose(rows[name]["guess"], expected)
        assert rows[name]["cells"] == at.sum()
        scaled += list((truth[name] - guess[name])[at] / truth[name].std(ddof=0))
    wrong = []
    for name in "cd":
        at = hidden[name]
        right, found = (list(map(str, t[name][at])) for t in (truth, guess))
        expected = 1 - metrics.accuracy_score(right, found)
        np.testing.assert_allclose(rows[name]["guess"], expected)
        wrong += list(truth[name][at] != guess[name][at])
    np.testing.assert_allclose(rows["all numeric"]["guess"], np.sqrt(np.mean(np.square(scaled))))
    np.testing.assert_allclose(rows["all categories"]["guess"], np.mean(wrong))
    perfect = column_errors(truth, {"guess": guess, "truth": truth}, hidden, columns)
    assert [row["truth"] for row in perfect] == [0.0] * 6
    assert "all categories  error rate" in format_table(perfect)


def test_mean_and_mode_are_those_of_scikit_learn(tables):
    _, holes, _, _ = tables
    filled = mean_or_mode(holes, fit_columns(holes))
    numbers = SimpleImputer().fit_transform(holes[["a", "b"]])
    np.testing.assert_allclose(filled[["a", "b"]], numbers, rtol=1e-6)
    for name in "cd":
        mode = SimpleImputer(strategy="most_frequent", missing_values=None)
        cells = holes[[name]].astype(object).where(holes[[name]].notna(), None)
        np.testing.assert_array_equal(filled[[name]].astype(object), mode.fit_transform(cells))


def test_cells_that_can_not_be_judged_are_refused(tables):
    truth, holes, hidden, guess = tables
    columns = fit_columns(truth)
    with pytest.raises(ValueError, match="not filled"):
        column_errors(truth, {"none": holes}, hidden, columns)
    with pytest.raises(ValueError, match="missing in truth"):
        column_errors(holes, {"guess": guess}, hidden, columns)
    with pytest.raises(ValueError, match="nothing to judge"):
        column_errors(truth, {"guess": guess}, hidden & False, columns)
    with pytest.raises(ValueError, match="the same rows"):
        column_errors(truth, {"guess": guess.iloc[:5]}, hidden, columns)
    with pytest.raises(ValueError, match="the column 'c'"):
        column_errors(truth, {"guess": guess.drop(columns="c")}, hidden, columns)


def test_the_error_to_watch_is_that_of_the_hidden_entries_alone(x64):
    rng = np.random.default_rng(0)
    model = jaxae.linear(4, 2)
    x, target, hidden = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.integers(0, 2, (5, 4))
    mask = 1 - hidden
    batch = {"x": jnp.asarray(x), "mask": mask, "target": jnp.asarray(target), "hidden": hidden}
    params = model.init(jax.random.key(0), batch)
    ours = jax.jit(hidden_error(model))(params, batch)["validation_mse"]
    into, back = (params[part]["layer_0"] for part in ("encoder", "decoder"))
    z = (x * mask) @ into["kernel"] + into["bias"]
    x_hat = z @ back["kernel"] + back["bias"]
    np.testing.assert_allclose(ours, np.mean((x_hat - target)[hidden == 1] ** 2), rtol=1e-6)
