import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from jaxae.base import Autoencoder, where_observed
from jaxae.data.centring import centre
from jaxae.data.densifying import dense
from jaxae.data.ratings import Ratings, ratings_from, split_ratings
from jaxae.deploy import recommending
from jaxae.deploy.recommending import Recommender, predict_ratings, predict_users, recommend


def _encode(params, batch):
    return jnp.tanh(where_observed(batch, batch["x"]) @ params["read"])


def _decode(params, z, context=None):
    return z @ params["write"] + params["bias"]


MODEL = Autoencoder(None, None, _encode, _decode, None)
"""Its predictions can be written down by hand."""


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    pairs = rng.choice(14 * 9, 80, replace=False)
    users, items = pairs // 9, 100 + pairs % 9
    values = rng.integers(0, 6, 80).astype(float)
    return split_ratings(ratings_from(users, items, values), (0.7, 0.3), seed=1)


def recommender(known, by="user", **options):
    n, m = known.matrix.shape if by == "user" else known.matrix.shape[::-1]
    del n
    keys = jax.random.split(jax.random.key(1), 3)
    params = {
        "read": jax.random.normal(keys[0], (m, 4)),
        "write": jax.random.normal(keys[1], (4, m)),
        "bias": jax.random.normal(keys[2], (m,)),
    }
    return Recommender(MODEL, params, known, centre(known), by, **options)


def by_hand(found, by):
    """Predictions of all pairs, with nothing but NumPy."""
    known, centring = found.known, found.centring
    x = np.zeros(known.matrix.shape)
    rows, columns, values = known.entries
    expected = centring.mean + centring.users[:, None] + centring.items
    x[rows, columns] = values - expected[rows, columns]
    params = {name: np.asarray(value, np.float64) for name, value in found.params.items()}
    given = x if by == "user" else x.T
    out = np.tanh(given @ params["read"]) @ params["write"] + params["bias"]
    rated = np.zeros(known.matrix.shape, bool)
    rated[rows, columns] = True
    asked = rated.any(1)[:, None] & rated.any(0)
    return expected + np.where(asked, out if by == "user" else out.T, 0.0)


@pytest.mark.parametrize("by", ["user", "item"])
@pytest.mark.parametrize("entries", [2**24, 20])
def test_predictions_are_what_the_model_adds_to_what_is_expected(parts, by, entries, monkeypatch):
    monkeypatch.setattr(recommending, "_ENTRIES", entries)  # all rows at once, or two
    train, test = parts
    found = recommender(train, by)
    every = by_hand(found, by)
    rows, columns, _ = test.entries
    np.testing.assert_allclose(predict_ratings(found, test), every[rows, columns], atol=1e-4)
    users = np.array([5, 2, 5, 13])
    np.testing.assert_allclose(predict_users(found, users), every[users], atol=1e-4)
    within = predict_ratings(found._replace(limits=(2.0, 3.0)), test)
    np.testing.assert_allclose(within, np.clip(every[rows, columns], 2.0, 3.0), atol=1e-4)
    assert within.min() == 2.0


@pytest.mark.parametrize("by", ["user", "item"])
def test_values_held_out_change_no_prediction(parts, by):
    train, test = parts
    found = recommender(train, by)
    other = test.with_values(np.zeros(test.size))
    np.testing.assert_array_equal(predict_ratings(found, test), predict_ratings(found, other))


@pytest.mark.parametrize("by", ["user", "item"])
def test_of_whom_nothing_is_known_the_means_are_predicted(by):
    full = ratings_from([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 0, 2], [1.0, 2.0, 3.0, 5.0, 4.0, 0.0])
    known = full._replace(matrix=full.matrix.copy())
    known.matrix.data = known.matrix.data[:5]  # user 3 and item 2 have no rating any more
    known.matrix.indices = known.matrix.indices[:5]
    known.matrix.indptr[-1] = 5
    found = recommender(known, by)
    centring = found.centring
    mean = known.matrix.data.mean()
    predicted = predict_users(found, np.arange(4))
    np.testing.assert_allclose(predicted[3, :2], mean + centring.items[:2], atol=1e-6)
    np.testing.assert_allclose(predicted[:3, 2], mean + centring.users[:3], atol=1e-6)
    assert predicted[3, 2] == pytest.approx(mean)
    assert abs(predicted[0, 0] - centring.expected(0, 0)) > 1e-3
    new = recommend(found, {}, n=3)
    order = np.argsort(-centring.items, kind="stable")
    assert new.items.tolist() == order.tolist()
    np.testing.assert_allclose(new.ratings, mean + centring.items[order], atol=1e-6)


def test_a_new_user_is_treated_as_a_known_one_with_the_same_ratings(parts):
    train, _ = parts
    found = recommender(train)
    row = Ratings(train.matrix[4], train.users[[4]], train.items)
    _, columns, values = row.entries
    mapping = dict(zip(train.items[columns].tolist(), values.tolist(), strict=True))
    batch = dense(row)
    known = recommend(found, train.users[4], n=5)
    for ratings in (row, mapping, dict(reversed(mapping.items())), batch, str(train.users[4])):
        other = recommend(found, ratings, n=5)
        assert other.items.tolist() == known.items.tolist()
        np.testing.assert_allclose(other.ratings, known.ratings, atol=1e-4)
    assert not set(known.items.tolist()) & set(mapping)
    assert (np.diff(known.ratings) <= 0).all()
    every = recommend(found, mapping, n=100, exclude_seen=False)
    assert sorted(every.items.tolist()) == train.items.tolist()


def test_an_item_based_model_fits_a_column_of_a_new_user_by_ridge_regression(parts):
    train, _ = parts
    found = recommender(train, "item", ridge=0.7)
    mapping = {101: 5.0, 104: 0.0, 107: 2.0}
    new = recommend(found, mapping, n=9, exclude_seen=False)
    given = dense(found.centring.apply(train).transposed)["x"]
    z = np.tanh(given @ np.asarray(found.params["read"]))
    z = z - z.mean(0)
    rated = [1, 4, 7]
    rest = np.array([5.0, 0.0, 2.0]) - found.centring.mean - found.centring.items[rated]
    own = rest.sum() / (3 + 2.0)
    ridge = Ridge(alpha=0.7, fit_intercept=False).fit(z[rated], rest - own)
    expected = found.centring.mean + own + found.centring.items + ridge.predict(z)
    at = np.searchsorted(train.items, new.items)
    np.testing.assert_allclose(new.ratings, expected[at], atol=1e-4)
    assert (np.diff(new.ratings) <= 0).all()


def test_scores_of_implicit_feedback_need_no_ratings(parts):
    train, _ = parts
    ones = train.with_values(np.ones(train.size))
    found = recommender(ones, masked=False)._replace(centring=centre(ones, "none"))
    new = recommend(found, {}, n=9)
    bias = np.asarray(found.params["bias"])
    assert new.items.tolist() == train.items[np.argsort(-bias)].tolist()


def test_what_is_refused(parts):
    train, test = parts
    found = recommender(train)
    with pytest.raises(ValueError, match="other users or items"):
        predict_ratings(found, test._replace(users=test.users + 1))
    with pytest.raises(ValueError, match="There is no user 'bob'"):
        recommend(found, "bob")
    with pytest.raises(ValueError, match=r"items \[7\] are not among"):
        recommend(found, {7: 1.0})
    with pytest.raises(ValueError, match="one user's ratings"):
        recommend(found, train)
    with pytest.raises(ValueError, match="batch of one user"):
        recommend(found, {"x": np.ones((2, 9)), "mask": np.ones((2, 9))})
    with pytest.raises(ValueError, match="finite"):
        recommend(found, {101: np.nan})
    with pytest.raises(ValueError, match="n must lie"):
        recommend(found, {101: 1.0}, n=0)
    with pytest.raises(ValueError, match="ridge must lie"):
        recommend(recommender(train, "item", ridge=0.0), {101: 1.0})
