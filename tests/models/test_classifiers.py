from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

import jaxae
from jaxae import corruptions
from jaxae.models.classifiers import classifier, model_params, with_model

KEY = jax.random.key(0)
N, D, LATENT, CLASSES = 40, 6, 4, 3
RNG = np.random.default_rng(0)
Y = RNG.integers(0, CLASSES, N).astype(np.int32)
X = (np.eye(CLASSES, D)[Y] + RNG.normal(size=(N, D))).astype(np.float32)
DATA = {"x": X, "y": Y}
IDENTITY = jaxae.Autoencoder(lambda *_: {}, None, lambda _, batch: batch["x"], None, None)
SPARSE = partial(jaxae.batch_top_k, D, 2 * D, k=3, dead_after=20)


def start(model=None, drawn_head=False, **options):
    """A classifier and its parameters, with a head that is not zero where it is to be drawn."""
    labeller = classifier(model or jaxae.undercomplete(D, LATENT), CLASSES, **options)
    params, draw = labeller.init(KEY, DATA), np.random.default_rng(1).normal
    if drawn_head:
        params["head"] = jax.tree.map(lambda a: draw(size=a.shape).astype("f4"), params["head"])
    return labeller, params


def nats(logits, y):
    return -log_softmax(np.asarray(logits, np.float64), axis=1)[np.arange(len(y)), y]


def trained(loss, params, tx, steps):
    """The parameters after some steps on all of the data, and the last metrics."""
    learner = jaxae.gradient(loss, tx)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=steps, batch_size=N))
    state, history = fit(learner.init(params, KEY), DATA, KEY)
    return state.params, jax.tree.map(lambda a: a[-1], history)


def apart(model, head):
    """Optimisers of their own for the encoder and the head."""
    return optax.multi_transform({"model": model, "head": head}, {"model": "model", "head": "head"})


def test_loss_and_accuracy_equal_a_log_softmax_by_hand():
    model = jaxae.undercomplete(D, LATENT)
    labeller, params = start(model, drawn_head=True)
    z = np.asarray(model.encode(params["model"], DATA), np.float64)
    expected = z @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(labeller.logits(params, {"x": X}), expected, rtol=1e-4, atol=1e-5)
    loss, metrics = labeller.loss(params, KEY, DATA)
    np.testing.assert_allclose(loss, nats(expected, Y).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(expected.argmax(1) == Y), rtol=1e-6)
    assert metrics["loss"] == loss


def test_the_default_head_starts_indifferent_and_its_first_gradient_leaves_the_encoder_alone():
    labeller, params = start()
    grads, metrics = jax.grad(labeller.loss, has_aux=True)(params, KEY, DATA)
    np.testing.assert_allclose(metrics["loss"], np.log(CLASSES), rtol=1e-6)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["model"]))
    assert np.any(grads["head"]["kernel"])


@pytest.mark.parametrize("C", [0.3, 10.0])
def test_the_default_head_converges_to_scikit_learns_logistic_regression(C, x64):
    """It minimises the mean cross-entropy and |W|² / (2 C n), which decay of 1 / (C n) makes."""
    labeller, params = start(jaxae.linear(D, D))
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    params["model"]["encoder"]["layer_0"]["kernel"] = jnp.eye(D, dtype=jnp.float64)
    mask = {"model": False, "head": {"kernel": True, "bias": False}}
    decay = optax.add_decayed_weights(1 / (C * N), mask=mask)
    tx = apart(optax.set_to_zero(), optax.chain(decay, optax.sgd(0.5, 0.9, nesterov=True)))
    head = trained(labeller.loss, params, tx, 3000)[0]["head"]
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(X.astype(np.float64), Y)
    np.testing.assert_allclose(head["kernel"], reference.coef_.T, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(head["bias"], reference.intercept_, rtol=1e-5, atol=1e-7)


PARTS = {
    "head by multi_transform": apart(optax.set_to_zero(), optax.adam(0.1)),
    "head by masked": optax.chain(
        optax.adamw(0.1), optax.masked(optax.set_to_zero(), {"model": True, "head": False})
    ),
    "all": optax.adam(0.1),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_frozen_encoder_stays_bit_for_bit_and_one_fine_tuned_moves(part):
    labeller, params = start(corrupt=corruptions.gaussian(0.1), dropout=0.1)
    after, metrics = trained(labeller.loss, params, PARTS[part], 20)
    assert metrics["loss"] < np.log(CLASSES) - 0.1
    chex.assert_trees_all_equal(after["model"]["decoder"], params["model"]["decoder"])
    same = jax.tree.map(np.array_equal, after["model"]["encoder"], params["model"]["encoder"])
    assert set(jax.tree.leaves(same)) == {part != "all"}


def test_three_seeds_and_dropouts_vmapped_equal_one_at_a_time():
    def train(key, dropout):
        init_key, fit_key = jax.random.split(key)
        model = jaxae.undercomplete(D, LATENT)
        labeller = classifier(model, CLASSES, dropout=dropout, corrupt=corruptions.masking(0.2))
        learner = jaxae.gradient(labeller.loss, optax.adam(0.02))
        state = learner.init(labeller.init(init_key, DATA), key)
        return jaxae.fit(learner, state, DATA, fit_key, epochs=3, batch_size=8)

    keys, dropouts = jax.random.split(jax.random.key(3), 3), jnp.array([0.0, 0.2, 0.5])
    swept = jax.jit(jax.vmap(train))(keys, dropouts)
    alone = [jax.jit(train)(*pair) for pair in zip(keys, dropouts, strict=True)]
    expected = jax.tree.map(lambda *a: np.stack(a), *alone)
    chex.assert_trees_all_close(expected, swept, rtol=1e-4, atol=1e-6)
    assert len(set(swept[1]["loss"][:, -1].tolist())) == 3


@pytest.mark.parametrize("make", [lambda: None, SPARSE])
def test_steps_trace_once_and_keep_structure(make):
    labeller, params = start(make(), corrupt=corruptions.gaussian(0.1), dropout=0.2)
    learner = jaxae.gradient(labeller.loss, optax.adam(1e-2))
    first = state = learner.init(params, KEY)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(learner.step, n=1))
    for i in range(4):
        state, metrics = step(state, jax.random.key(i), DATA)
    chex.assert_trees_all_equal_shapes_and_dtypes(first, state)
    chex.assert_tree_all_finite((state, metrics))
    assert set(metrics) == {"loss", "accuracy"}


def test_what_a_pretrained_model_carries_survives_fine_tuning_unchanged():
    model = SPARSE()
    pretrained = trained(model.loss, model.init(KEY, DATA), optax.adam(1e-2), 5)[0]
    assert any(np.any(leaf) for leaf in jax.tree.leaves(pretrained["carried"]))
    labeller, params = start(model, drawn_head=True)
    params = with_model(params, pretrained)
    chex.assert_trees_all_equal(model_params(params), pretrained)
    head = params["head"]
    expected = model.encode(pretrained, DATA) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(labeller.logits(params, DATA), expected, rtol=1e-5, atol=1e-5)
    after = model_params(trained(labeller.loss, params, optax.adamw(0.01, weight_decay=0.5), 3)[0])
    chex.assert_trees_all_equal(after["carried"], pretrained["carried"])
    assert not np.array_equal(model.encode(after, DATA), model.encode(pretrained, DATA))
    misplaced = {**params, "model": pretrained}
    for call in (partial(labeller.loss, misplaced, KEY), partial(labeller.logits, misplaced)):
        with pytest.raises(ValueError, match="with_model"):
            call(DATA)


def test_pretrained_parameters_that_do_not_fit_are_refused_by_name():
    params = start()[1]
    wide = jaxae.undercomplete(D, LATENT + 1).init(KEY, DATA)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params["model"])
    tied = jaxae.tied(D, LATENT).init(KEY, DATA)
    for pretrained, message in (
        (wide, r"encoder/layer_0/bias: given float32\[5\], wanted float32\[4\]"),
        (half, r"given bfloat16\[6, 4\], wanted float32\[6, 4\]"),
        (tied, r"decoder/layer_0/bias: given nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            with_model(params, pretrained)
    others = jax.tree.map(lambda a: np.asarray(a) + 1, params["model"])
    chex.assert_trees_all_equal(with_model(params, others), {**params, "model": others})


@pytest.mark.parametrize("how", [jax.jit, lambda loss: loss])
def test_dropout_of_codes_has_the_expected_loss_of_its_enumerated_masks(how):
    rows, rate, z, w = 20_000, 0.25, np.array([1.5, -2.0]), np.array([1.0, 0.5])
    data = {"x": np.tile(z, (rows, 1)).astype(np.float32), "y": np.zeros(rows, np.int32)}
    head = {"kernel": jnp.stack([w, 0 * w], axis=1), "bias": jnp.zeros(2)}

    @how
    def loss(dropout):
        params = {"model": {}, "head": head}
        return classifier(IDENTITY, 2, dropout=dropout).loss(params, KEY, data)[0]

    kept = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    chances = np.where(kept, 1 - rate, rate).prod(axis=1)
    values = np.log1p(np.exp(-(kept * z / (1 - rate)) @ w))
    mean, square = chances @ values, chances @ values**2
    assert abs(loss(rate) - mean) < 4 * np.sqrt((square - mean**2) / rows)
    np.testing.assert_allclose(loss(0.0), np.log1p(np.exp(-z @ w)), rtol=1e-5)


def test_corruption_is_for_the_loss_alone_and_sees_bytes_as_floats():
    labeller, params = start(drawn_head=True, corrupt=corruptions.masking(1.0))
    nothing = {"x": np.zeros_like(X), "y": Y}
    expected = nats(labeller.logits(params, nothing), Y).mean()
    np.testing.assert_allclose(labeller.loss(params, KEY, DATA)[0], expected, rtol=1e-5)
    assert not np.allclose(labeller.logits(params, DATA), labeller.logits(params, nothing))
    pixels = {"x": np.full((N, D), 51, np.uint8), "y": Y}
    labeller, _ = start(corrupt=lambda key, x: x + 0.5)
    expected = nats(labeller.logits(params, {"x": np.full((N, D), 0.7, np.float32)}), Y).mean()
    np.testing.assert_allclose(labeller.loss(params, KEY, pixels)[0], expected, rtol=1e-5)


def test_hidden_entries_change_neither_loss_nor_gradient():
    labeller, params = start(drawn_head=True, corrupt=corruptions.gaussian(0.3))
    mask = np.arange(N * D).reshape(N, D) % 3 > 0
    junk = {**DATA, "x": np.where(mask, X, np.nan).astype(np.float32), "mask": mask}
    of = jax.jit(jax.value_and_grad(labeller.loss, has_aux=True))
    given, expected = of(params, KEY, junk), of(params, KEY, {**DATA, "mask": mask})
    chex.assert_tree_all_finite(given)
    chex.assert_trees_all_equal(given, expected)


class Deep(nn.Module):
    @nn.compact
    def __call__(self, z):
        assert z.ndim == 2
        h = nn.relu(nn.Dense(5)(z))
        return nn.Dense(CLASSES, dtype=jnp.bfloat16)(h)


def test_a_head_of_ones_own_gets_flat_codes_and_its_logits_are_full_floats():
    data, labeller = {"x": X.reshape(N, 2, 3), "y": Y}, classifier(IDENTITY, CLASSES, head=Deep())
    params = labeller.init(KEY, data)
    assert params["head"]["Dense_0"]["kernel"].shape == (D, 5)
    logits = labeller.logits(params, data)
    assert (logits.shape, logits.dtype) == ((N, CLASSES), jnp.float32)
    np.testing.assert_allclose(labeller.loss(params, KEY, data)[0], nats(logits, Y).mean(), 1e-5)


def test_initialisation_needs_shapes_alone():
    labeller, params = start()
    chex.assert_trees_all_equal(params, labeller.init(KEY, {"x": 1 - X[:7], "y": 0 * Y[:7]}))
    like = jax.eval_shape(labeller.init, KEY, DATA)
    chex.assert_trees_all_equal_shapes_and_dtypes(like, params)


def test_class_counts_dropouts_and_heads_that_cannot_be_are_refused():
    for num_classes in (1, 0, -2, 2.5, None):
        with pytest.raises(ValueError, match="num_classes"):
            classifier(IDENTITY, num_classes)
    for dropout in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="dropout must lie"):
            classifier(IDENTITY, 2, dropout=dropout)
    with pytest.raises(ValueError, match=r"gives \(4,\) for one example; it must give \(3,\)"):
        start(head=nn.Dense(4))
    head = nn.Sequential([nn.BatchNorm(use_running_average=True), nn.Dense(CLASSES)])
    with pytest.raises(ValueError, match="batch_stats"):
        start(head=head)
