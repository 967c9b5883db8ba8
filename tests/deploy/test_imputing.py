"""Tables filled in, draws of what is missing, and the cells that look wrong."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from scipy import stats

import jaxae
from jaxae.base import Autoencoder, Draw, Latent, context_of
from jaxae.data.column_fitting import hide_cells
from jaxae.data.columns import fit_columns
from jaxae.deploy.cell_surprise import FLOOR, cell_scores, error_scales, expected_cells, name_cells
from jaxae.deploy.imputing import fill_entries, hold_out, impute, impute_draws
from jaxae.evaluation.table_errors import column_errors, mean_or_mode
from jaxae.models.tabular import table


def rows(n=200):
    """Rows of which every column says nearly all of the others."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=n)
    return pd.DataFrame(
        {
            "length": 100 + 30 * t + rng.normal(size=n),
            "width": 5 - 2 * t + 0.1 * rng.normal(size=n),
            "size": np.select([t < -0.5, t < 0.5], ["small", "medium"], "large"),
            "heavy": t > 0,
        },
        index=[f"row {i}" for i in range(n)],
    )


@pytest.fixture(scope="module")
def trained():
    """A model of these rows, their schema, the table with holes and where these are."""
    whole = rows()
    holes, hidden = hide_cells(whole, 0.2)
    columns = fit_columns(whole).scaled_by(holes)
    model = table(columns, 3, hidden_dims=(16,))
    data = columns.encode(holes)
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    state, key = jaxae.start(model, learner, data, jax.random.key(0))
    fit = jax.jit(partial(jaxae.fit, learner, epochs=60, batch_size=40))
    return model, fit(state, data, key)[0].params, columns, holes, hidden


def linear(matrix):
    """The autoencoder x @ matrix."""

    def encode(params, batch):
        return jnp.where(batch["mask"] != 0, batch["x"], 0) @ params

    return Autoencoder(None, None, encode, lambda params, z, context=None: z, None)


def test_what_is_filled_is_near_the_truth_and_observed_cells_are_untouched(trained):
    model, params, columns, holes, hidden = trained
    filled = impute(model, params, holes, columns)
    seen = ~hidden.to_numpy()
    np.testing.assert_array_equal(filled.to_numpy(object)[seen], holes.to_numpy(object)[seen])
    ways = {"model": filled, "mean": mean_or_mode(holes, columns)}
    for row in column_errors(rows(), ways, hidden, columns):
        assert row["model"] < 0.6 * row["mean"], row
    assert filled.index.equals(holes.index)
    assert filled.dtypes.equals(rows().dtypes)
    pd.testing.assert_frame_equal(impute(model, params, rows(), columns), rows())
    twice = holes.set_axis([0] * len(holes))
    pd.testing.assert_frame_equal(
        impute(model, params, twice, columns), filled.set_axis(twice.index)
    )


def test_iterations_feed_back_what_was_filled_as_a_loop_in_numpy_does(x64):
    rng = np.random.default_rng(1)
    matrix, x = rng.normal(size=(4, 4)) / 4, rng.normal(size=(6, 4))
    mask = rng.integers(0, 2, (6, 4))
    expected = np.where(mask, x, (x * mask) @ matrix)
    batch = {"x": jnp.asarray(x), "mask": jnp.asarray(mask)}
    for iterations in (1, 2, 5):
        ours = fill_entries(linear(matrix), jnp.asarray(matrix), batch, iterations)
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
        for _ in range({1: 1, 2: 3, 5: 0}[iterations]):
            expected = np.where(mask, x, expected @ matrix)


def test_held_out_blocks_are_predicted_as_by_hiding_one_after_the_other(x64):
    rng = np.random.default_rng(2)
    matrix, x = rng.normal(size=(5, 5)), rng.normal(size=(6, 5))
    mask, widths = rng.integers(0, 2, (6, 5)), (2, 1, 2)
    batch = {"x": jnp.asarray(x), "mask": jnp.asarray(mask)}
    ours = hold_out(linear(matrix), jnp.asarray(matrix), batch, widths)
    for own in (slice(0, 2), slice(2, 3), slice(3, 5)):
        shown = mask.copy()
        shown[:, own] = 0
        np.testing.assert_allclose(ours[:, own], ((x * shown) @ matrix)[:, own], rtol=1e-12)


def test_a_cell_has_no_say_in_what_is_expected_of_it(trained):
    model, params, columns, _, _ = trained
    frame = rows().iloc[:5]
    before = expected_cells(model, params, frame, columns)
    after = expected_cells(model, params, frame.assign(width=-50.0), columns)
    pd.testing.assert_series_equal(before["width"], after["width"])
    assert not np.allclose(before["length"], after["length"])
    empty = frame.assign(size=None)
    pd.testing.assert_series_equal(
        before["size"], expected_cells(model, params, empty, columns)["size"]
    )


def test_surprise_is_scipys_log_density_around_what_is_expected(trained):
    model, params, columns, holes, hidden = trained
    scores = cell_scores(model, params, holes, columns)
    np.testing.assert_array_equal(scores.isna(), hidden)
    batch = columns.encode(holes)
    x_hat = np.asarray(hold_out(model, params, batch, columns.widths), np.float64)
    for column, place in columns.blocks():
        seen = batch["mask"][:, place.start] > 0
        x, p = batch["x"][seen, place].astype(float), x_hat[seen, place]
        if column.kind == "numeric":
            scale = max(FLOOR, np.quantile(np.abs(x - p), 0.6827))
            expected = -stats.norm.logpdf(x[:, 0], p[:, 0], scale)
        elif column.kind == "binary":
            expected = -stats.bernoulli.logpmf(x[:, 0], p[:, 0])
        else:
            expected = -np.log(p[np.arange(len(p)), x.argmax(1)])
        np.testing.assert_allclose(scores[column.name][seen], expected, rtol=1e-4, atol=1e-6)


def test_a_wrong_cell_is_the_least_likely_of_its_column_and_its_row_of_all_rows(trained):
    model, params, columns, _, _ = trained
    frame = rows()
    mid, low = ((frame["length"] - q).abs().idxmin() for q in (100, 60))
    frame.loc[mid, "width"] = 9.5
    frame.loc[low, "size"] = "large"
    scale = error_scales(model, params, rows(), columns)
    scores = cell_scores(model, params, frame, columns, scale=scale)
    assert scores["width"].idxmax() == mid
    assert scores["size"].idxmax() == low
    assert name_cells(scores.loc[[mid]], 1).iloc[0, :2].tolist() == [mid, "width"]
    assert set(scores.sum(axis=1).nlargest(2).index) == {mid, low}
    few = cell_scores(model, params, frame.loc[[low]], columns, scale=scale)
    pd.testing.assert_frame_equal(few, scores.loc[[low]], rtol=1e-4)


def test_names_come_in_order_of_surprise_and_missing_cells_never():
    scores = pd.DataFrame({"a": [1.0, np.nan, -3.0], "b": [5.0, 2.0, np.nan]}, index=[7, 8, 9])
    named = name_cells(scores, 99)
    assert named["row"].tolist() == [7, 8, 7, 9]
    assert named["column"].tolist() == ["b", "b", "a", "a"]
    assert named["nats"].tolist() == [5.0, 2.0, 1.0, -3.0]
    with pytest.raises(ValueError, match="k must lie"):
        name_cells(scores, 0)


def chained():
    """The code is the first column; the second is twice the code and noise of scale 0.5."""

    def encode(params, batch):
        return batch["x"][:, :1]

    def draw(params, key, batch, samples=1):
        return Draw(encode(params, batch)[None], jnp.zeros((1, 1)), jnp.zeros((1, 1)))

    def emit(params, key, z, context=None):
        return jnp.c_[z, 2 * z + 0.5 * jax.random.normal(key, z.shape)]

    latent = Latent(draw, None, None, emit, None)
    return Autoencoder(None, None, encode, None, None, latent, context_of)


def test_draws_of_what_is_missing_have_the_distribution_of_the_model():
    frame = pd.DataFrame({"a": np.arange(4.0), "b": [1.0, 2.0, np.nan, np.nan]})
    columns = fit_columns(frame)
    drawn = impute_draws(chained(), None, jax.random.key(0), frame, columns, samples=2000)
    cells = np.stack([one["b"] for one in drawn])
    np.testing.assert_array_equal(cells[:, :2], np.broadcast_to([1.0, 2.0], (2000, 2)))
    a, b = columns.columns
    expected = 2 * (frame["a"][2:] - a.mean) / a.scale * b.scale + b.mean
    np.testing.assert_allclose(cells[:, 2:].mean(0), expected, atol=4 * 0.5 * b.scale / 2000**0.5)
    np.testing.assert_allclose(cells[:, 2:].std(0), 0.5 * b.scale, rtol=0.07)
    assert abs(np.corrcoef(cells[:, 2:].T)[0, 1]) < 0.09
    again = impute_draws(chained(), None, jax.random.key(0), frame, columns, samples=2000)
    np.testing.assert_array_equal(np.stack([one["b"] for one in again]), cells)


def test_draws_of_a_trained_model_scatter_where_cells_are_missing_only(trained):
    model, params, columns, holes, hidden = trained
    drawn = impute_draws(model, params, jax.random.key(3), holes, columns, samples=8, iterations=3)
    seen = ~hidden.to_numpy()
    for one in drawn:
        np.testing.assert_array_equal(one.to_numpy(object)[seen], holes.to_numpy(object)[seen])
        assert not one.isna().any(axis=None)
    assert set(drawn[0]["size"]) == {"small", "medium", "large"}
    spread = np.ptp([one["width"] for one in drawn], axis=0)
    assert (spread[hidden["width"]] > 0).all()
    assert (spread[~hidden["width"]] == 0).all()


def test_what_can_not_be_filled_is_refused(trained):
    model, params, columns, holes, _ = trained
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"unknown categories, \['tiny'\]"):
        impute(model, params, holes.assign(size="tiny"), columns)
    kept = impute(model, params, holes.assign(size="tiny"), columns, unknown="missing")
    assert set(kept["size"]) == {"tiny"}
    with pytest.raises(ValueError, match=r"lacks the columns \['width'\]"):
        impute(model, params, holes.drop(columns="width"), columns)
    made = impute(model, params, holes.drop(columns="width"), columns, absent="missing")
    assert not made["width"].isna().any()
    with pytest.raises(ValueError, match="iterations must lie"):
        impute(model, params, holes, columns, iterations=0)
    with pytest.raises(ValueError, match="samples must lie"):
        impute_draws(model, params, key, holes, columns, samples=0)
    with pytest.raises(ValueError, match="no likelihood"):
        impute_draws(model._replace(latent=None), params, key, holes, columns)
