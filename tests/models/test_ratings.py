import functools

import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae.data.centring import centre
from jaxae.data.densifying import dense, rating_batches
from jaxae.data.ratings import ratings_from, split_ratings
from jaxae.deploy.recommending import Recommender, predict_ratings, predict_users
from jaxae.evaluation.ranking import recall_at_k, rmse
from jaxae.evaluation.ratings_baselines import biased_means
from jaxae.models.ratings import auto_rec, balanced, mult_dae, mult_vae


@pytest.fixture(scope="module")
def parts():
    """Ratings of rank 2 with biases, a third of all pairs."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(120, 2)), rng.normal(size=(60, 2))
    truth = 5 + rng.normal(size=(120, 1)) + rng.normal(size=60) + users @ items.T
    pairs = rng.choice(120 * 60, 2400, replace=False)
    values = truth.ravel()[pairs] + 0.3 * rng.normal(size=2400)
    return split_ratings(ratings_from(pairs // 60, pairs % 60, values), (0.8, 0.2))


def trained(model, data, epochs=150, rate=1e-2):
    learner = jaxae.gradient(model.loss, optax.adam(rate))
    state, key = jaxae.start(model, learner, data, jax.random.key(0))
    fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=epochs, batch_size=20))
    return fit(state, data, key)[0].params


@pytest.mark.parametrize("by", ["item", "user"])
def test_it_predicts_ratings_held_out_better_than_the_means(parts, by):
    train, test = parts
    centring = centre(train)
    given = centring.apply(train)
    data = dense(given if by == "user" else given.transposed)
    model = auto_rec(data["x"].shape[1], 20, l2=0.01, noise_level=0.3, see_mask=True)
    found = Recommender(model, trained(model, data), train, centring, by)
    rows, columns, values = test.entries
    means = float(rmse(values, biased_means(train)(rows, columns)))
    assert means > 1.2
    assert float(rmse(values, predict_ratings(found, test))) < 0.75 * means


def test_the_loss_is_the_papers_objective_over_twice_the_number_of_rows():
    rng = np.random.default_rng(1)
    x, mask = rng.normal(size=(6, 9)), rng.integers(0, 2, (6, 9)).astype(float)
    batch = {"x": x.astype(np.float32), "mask": mask.astype(np.float32)}
    penalty = 0.8  # λ of the paper
    model = auto_rec(9, 4, l2=penalty / (2 * 6), noise_level=0.0)
    params = model.init(jax.random.key(0), batch)
    (v, mu), (w, b) = (
        [np.asarray(params[part]["layer_0"][name], np.float64) for name in ("kernel", "bias")]
        for part in ("encoder", "decoder")
    )
    h = (1 / (1 + np.exp(-((x * mask) @ v + mu)))) @ w + b
    objective = (mask * (x - h) ** 2).sum() + penalty / 2 * ((v**2).sum() + (w**2).sum())
    constant = 0.5 * np.log(2 * np.pi) * mask.sum() / 6  # of the Gaussian
    loss = float(model.loss(params, jax.random.key(1), batch)[0]) - constant
    assert loss == pytest.approx(objective / (2 * 6), rel=1e-5)


def test_balanced_rows_are_scaled_by_the_root_of_their_number_of_ratings():
    x = np.random.default_rng(4).normal(size=(3, 6)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
    batch = {"x": x, "mask": mask}
    model = auto_rec(6, 2, networks=balanced(4.0), see_mask=True)
    params = model.init(jax.random.key(0), batch)
    layer = params["encoder"]["encoder"]["layer_0"]
    scaled = x * mask * np.array([[1.0], [2.0], [1.0]])
    given = np.concatenate([scaled, mask], axis=1)
    expected = 1 / (1 + np.exp(-(given @ layer["kernel"] + layer["bias"])))
    np.testing.assert_allclose(model.encode(params, batch), expected, atol=1e-5)


def test_penalties_add_up():
    model = auto_rec(9, 4, l2=0.0, penalties=[jaxae.penalties.l2(0.5)])
    batch = {"x": np.ones((2, 9), np.float32)}
    params = model.init(jax.random.key(0), batch)
    kernels = [params[part]["layer_0"]["kernel"] for part in ("encoder", "decoder")]
    expected = 0.25 * sum(float((kernel**2).sum()) for kernel in kernels)
    metrics = model.loss(params, jax.random.key(1), batch)[1]
    assert float(metrics["penalty"]) == pytest.approx(expected, rel=1e-5)


def test_the_multinomial_loss_by_hand_and_inputs_of_length_one():
    x = np.random.default_rng(2).integers(0, 2, (5, 7)).astype(np.float32)
    x[0] = 0
    model = mult_dae(7, 3, noise_level=0.0)
    params = model.init(jax.random.key(0), {"x": x})
    layers = [
        [np.asarray(layer["layer_0"][name], np.float64) for name in ("kernel", "bias")]
        for layer in (params["encoder"]["encoder"], params["decoder"])
    ]
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    (a, b), (c, d) = layers
    out = np.tanh(unit @ a + b) @ c + d
    log_softmax = out - np.log(np.exp(out).sum(1, keepdims=True))
    loss = float(model.loss(params, jax.random.key(1), {"x": x})[0])
    assert loss == pytest.approx(-(x * log_softmax).sum(1).mean(), rel=1e-5)
    np.testing.assert_allclose(
        model.encode(params, {"x": 3 * x}), model.encode(params, {"x": x}), atol=1e-6
    )
    gradient = jax.grad(lambda p: model.loss(p, jax.random.key(1), {"x": x})[0])(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_rate_of_the_variational_one_is_weighted():
    x = np.eye(4, 7, dtype=np.float32)
    plain, half = (mult_vae(7, 2, hidden_dims=(3,), beta=b, noise_level=0.0) for b in (0.0, 0.5))
    params = plain.init(jax.random.key(0), {"x": x})
    (a, _), (b, metrics) = (m.loss(params, jax.random.key(1), {"x": x}) for m in (plain, half))
    assert float(b - a) == pytest.approx(0.5 * float(metrics["rate"]), rel=1e-5)
    assert float(metrics["rate"]) > 0


def test_choices_are_ranked_better_than_by_popularity():
    rng = np.random.default_rng(3)
    taste = rng.integers(0, 3, 150)
    chances = np.where(np.arange(30)[None, :] % 3 == taste[:, None], 0.5, 0.03)
    users, items = np.nonzero(rng.random((150, 30)) < chances)
    train, test = split_ratings(ratings_from(users, items), (0.7, 0.3))
    model = mult_dae(30, 8)
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    data = dense(train, mask=False)
    state, key = jaxae.start(model, learner, data, jax.random.key(0))

    def batches(epoch):
        return rating_batches(train, 30, epoch=epoch, mask=False)

    advance = jaxae.over_batches(learner, batches, key)
    for epoch in range(25):
        state, _ = advance(state, epoch)
    found = Recommender(model, state.params, train, centre(train, "none"), masked=False)
    relevant, seen = dense(test, mask=False)["x"], data["x"]
    scores = predict_users(found, np.arange(len(train.users)))
    popular = np.broadcast_to(data["x"].sum(0), scores.shape)
    ours, theirs = (np.nanmean(recall_at_k(s, relevant, 5, seen)) for s in (scores, popular))
    assert ours > theirs + 0.15


def test_no_tied_decoder_behind_inputs_of_length_one():
    with pytest.raises(ValueError, match="unit_length has no tied decoder"):
        mult_dae(7, 3, decoder="tied")
    with pytest.raises(ValueError, match="balanced has no tied decoder"):
        auto_rec(7, 3, networks=balanced(4.0), decoder="tied")
    with pytest.raises(ValueError, match="typical must lie"):
        balanced(0.0)
    with pytest.raises(ValueError, match="noise_level"):
        auto_rec(7, 3, noise_level=1.5)
