import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

import jaxae

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(8, 5))
ROWS = {"x": X.astype(np.float32)}
PAIR = jaxae.deep(5, 2, hidden_dims=(4,), activation="tanh")


def quadratic(params, key, batch):
    """Half the squared distance to the mean of x, whose gradient is known."""
    del key
    loss = 0.5 * jnp.sum((params["w"] - batch["x"].mean(axis=0)) ** 2)
    return loss, {"loss": loss, "twice": 2 * loss}


def test_a_step_of_plain_descent_is_the_learning_rate_times_the_gradient(x64):
    learner = jaxae.gradient(quadratic, optax.sgd(0.3))
    w = np.arange(5.0)
    state = learner.init({"w": jnp.asarray(w)}, KEY)
    state, metrics = learner.step(state, KEY, {"x": X})
    np.testing.assert_allclose(state.params["w"], w - 0.3 * (w - X.mean(axis=0)), rtol=1e-12)
    expected = 0.5 * np.sum((w - X.mean(axis=0)) ** 2)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-12)
    np.testing.assert_allclose(metrics["twice"], 2 * expected, rtol=1e-12)


def test_two_steps_of_adam_follow_its_equations(x64):
    """Kingma & Ba (2015), algorithm 1."""
    learner = jaxae.gradient(quadratic, optax.adam(0.1, b1=0.8, b2=0.9, eps=1e-8))
    w = np.arange(5.0)
    state = learner.init({"w": jnp.asarray(w)}, KEY)
    m = v = np.zeros(5)
    for t in (1, 2):
        state, _ = learner.step(state, KEY, {"x": X})
        g = w - X.mean(axis=0)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        w = w - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-9)


def test_the_optimiser_is_given_the_parameters(x64):
    """Weight decay reads them: at the optimum of the loss it alone moves them."""
    learner = jaxae.gradient(quadratic, optax.adamw(0.1, weight_decay=0.5))
    w = X.mean(axis=0)
    state, _ = learner.step(learner.init({"w": jnp.asarray(w)}, KEY), KEY, {"x": X})
    np.testing.assert_allclose(state.params["w"], w * (1 - 0.1 * 0.5), rtol=1e-12)


def test_the_loss_is_given_the_key_of_the_step():
    def noisy(params, key, batch):
        loss = jnp.sum(params * jax.random.normal(key, (5,)))
        return loss, {"loss": loss}

    learner = jaxae.gradient(noisy, optax.sgd(1.0))
    state = learner.init(jnp.zeros(5), KEY)
    moved, _ = learner.step(state, jax.random.key(4), {"x": X})
    np.testing.assert_allclose(-moved.params, jax.random.normal(jax.random.key(4), (5,)), rtol=1e-6)


def test_a_learning_rate_may_be_traced_and_swept():
    def train(learning_rate):
        learner = jaxae.gradient(quadratic, optax.adam(learning_rate))
        state = learner.init({"w": jnp.arange(5.0)}, KEY)
        return learner.step(state, KEY, {"x": X.astype(np.float32)})[0].params["w"]

    rates = jnp.asarray([0.0, 0.01, 0.1])
    swept = jax.jit(jax.vmap(train))(rates)
    for rate, given in zip(rates, swept, strict=True):
        np.testing.assert_allclose(given, train(float(rate)), rtol=1e-6)
    np.testing.assert_array_equal(swept[0], jnp.arange(5.0))


@pytest.mark.parametrize("steps", [1, 5])
def test_the_state_keeps_its_tree_shapes_and_dtypes(steps):
    model = jaxae.tied(5, 2)
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    state = first = learner.init(model.init(KEY, ROWS), KEY)
    for _ in range(steps):
        state, _ = jax.jit(learner.step)(state, KEY, ROWS)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, first)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state, first)), strict=True))


def test_a_linear_autoencoder_learns_the_principal_subspace():
    """Baldi & Hornik (1989): the only minima of its squared error are those of PCA."""
    rng = np.random.default_rng(3)
    scales = np.asarray([3.0, 2.0, 1.5, 0.3, 0.2, 0.1])
    x = rng.normal(size=(256, 6)) * scales @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 1.0
    data = {"x": x.astype(np.float32)}
    model = jaxae.linear(6, 3)
    learner = jaxae.gradient(model.loss, optax.adam(optax.cosine_decay_schedule(0.05, 3000)))
    state = learner.init(model.init(KEY, data), KEY)
    train = jax.jit(lambda s, d: jaxae.fit(learner, s, d, KEY, epochs=3000, batch_size=256))
    params = train(state, data)[0].params
    x_hat = model.decode(params, model.encode(params, data))
    pca = PCA(3).fit(x)
    best = np.sum((x - pca.inverse_transform(pca.transform(x))) ** 2)
    assert best * (1 - 1e-6) < np.sum((x - x_hat) ** 2) < best * 1.001
    kernel = params["decoder"]["layer_0"]["kernel"]
    assert subspace_angles(kernel.T, pca.components_.T).max() < 0.01


def counting(params, key, batch):
    """A loss that reads what it carries: a count, large, by which an optimiser could be misled."""
    count = params["carried"]["count"]
    loss, metrics = quadratic({"w": params["w"]}, key, batch)
    loss = loss + 1e-3 * jnp.sum(count) * jnp.sum(params["w"])
    return loss, {**metrics, "loss": loss, "carried": {"count": count + 1}}


def test_what_a_model_carries_is_no_business_of_its_optimiser(x64):
    """Neither decayed, nor counted in the gradient's norm, nor in the optimiser's state."""
    tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.1, weight_decay=0.5))
    learner, w = jaxae.gradient(counting, tx), jnp.arange(5.0)
    state = learner.init({"w": w, "carried": {"count": jnp.full(3, 1e6)}}, KEY)
    opt_state = tx.init({"w": w})
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(opt_state)
    for n in range(3):
        state, metrics = learner.step(state, KEY, {"x": X})
        grads = {"w": w - X.mean(axis=0) + 1e-3 * 3 * (1e6 + n)}
        updates, opt_state = tx.update(grads, opt_state, {"w": w})
        w = optax.apply_updates({"w": w}, updates)["w"]
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-9)
        np.testing.assert_array_equal(state.params["carried"]["count"], np.full(3, 1e6 + n + 1))
        assert set(metrics) == {"loss", "twice"}


def test_line_searches_do_not_advance_what_is_carried():
    """L-BFGS evaluates the loss many times in a step; a running mean counts that as one."""
    model = jaxae.sparse(5, 4, sparsity_target=0.3, decay=0.9)
    learner = jaxae.gradient(model.loss, optax.lbfgs())
    state, step, losses = learner.init(model.init(KEY, ROWS), KEY), jax.jit(learner.step), []
    for n in range(1, 7):
        before = state.params
        state, metrics = step(state, KEY, ROWS)
        losses.append(metrics["loss"])
        (carried,) = state.params["carried"].values()
        assert carried["mean_activation_steps"] == n
        if n == 1:
            mean = model.encode(before, ROWS).mean(axis=0)
            np.testing.assert_allclose(carried["mean_activation"], mean, rtol=1e-5)
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("tx", [optax.adam(1e-2), optax.lbfgs()], ids=["adam", "l-bfgs"])
def test_what_is_frozen_stays_and_the_rest_learns_as_if_it_were_a_constant(tx):
    """By hand: a tree without the frozen part, which the loss alone puts in again."""
    start, learned = PAIR.init(KEY, ROWS), PAIR.init(KEY, ROWS)
    fixed, before = learned["encoder"].pop("layer_0"), learned["encoder"]["layer_1"]["kernel"]
    learner = jaxae.gradient(PAIR.loss, tx, frozen=("encoder/layer_0",))
    state, opt_state = learner.init(start, KEY), tx.init(learned)
    chex.assert_trees_all_equal_shapes_and_dtypes(state.opt_state, opt_state)

    def value_fn(learned):
        whole = {**learned, "encoder": {**learned["encoder"], "layer_0": fixed}}
        return PAIR.loss(whole, KEY, ROWS)[0]

    for _ in range(3):
        state, metrics = learner.step(state, KEY, ROWS)
        value, grad = jax.value_and_grad(value_fn)(learned)
        updates, opt_state = optax.with_extra_args_support(tx).update(
            grad, opt_state, learned, value=value, grad=grad, value_fn=value_fn
        )
        learned = optax.apply_updates(learned, updates)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert not np.allclose(learned["encoder"]["layer_1"]["kernel"], before, atol=1e-3)
    chex.assert_trees_all_equal(state.params["encoder"].pop("layer_0"), fixed)
    chex.assert_trees_all_close(state.params, learned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [("encoder",), ("encoder/layer_0/kernel", "decoder/layer_1")])
def test_subtrees_and_single_leaves_freeze_also_beside_what_is_carried_and_mapped(frozen):
    model = jaxae.sparse(5, 4, hidden_dims=(3,), decay=0.9)
    learner = jaxae.gradient(model.loss, optax.adamw(1e-2, weight_decay=0.1), frozen=frozen)

    def train(key):
        start = learner.init(model.init(key, ROWS), key)
        state, _ = learner.step(learner.step(start, key, ROWS)[0], key, ROWS)
        return start.params, state.params

    trained = jax.jit(jax.vmap(train))(keys := jax.random.split(KEY, 2))
    alone = jax.tree.map(lambda *a: np.stack(a), *map(train, keys))
    chex.assert_trees_all_close(trained, alone, rtol=1e-4, atol=1e-6)
    before = dict(jax.tree_util.tree_leaves_with_path(trained[0]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained[1]):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.array_equal(leaf, before[path]) == name.startswith(frozen), name
    assert np.all(trained[1]["carried"]["penalties_0"]["mean_activation_steps"] == 2)


def test_paths_that_freeze_nothing_or_everything_are_refused():
    for model, frozen, message in (
        (PAIR, "encoder", r"sequence of paths, such as \('encoder',\)"),
        (PAIR, ("encoder/layer_2",), r"at 'layer_2' there is \['layer_0', 'layer_1'\]"),
        (PAIR, ("encoder/layer_0/kernel/x",), "no further parts"),
        (PAIR, ("encoder/",), "There is no 'encoder/'"),
        (jaxae.sparse(5, 4, decay=0.9), ("encoder", "decoder"), "nothing is left to learn"),
    ):
        learner = jaxae.gradient(model.loss, optax.adam(1e-2), frozen=frozen)
        with pytest.raises(ValueError, match=message):
            learner.init(model.init(KEY, ROWS), KEY)


def test_a_restarted_step_is_so_many_steps_of_a_fresh_optimiser_by_the_same_key():
    model = jaxae.denoising(5, 3, noise_level=0.5)
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    often, expected = jaxae.restarted(learner, 3), model.init(KEY, ROWS)
    state = often.init(expected, KEY)
    for i in range(2):
        state, metrics = jax.jit(often.step)(state, jax.random.key(i), ROWS)
        fresh = learner.init(expected, KEY)
        for _ in range(3):
            fresh, last = learner.step(fresh, jax.random.key(i), ROWS)
        expected = fresh.params
        chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
        chex.assert_trees_all_close((state, metrics), (fresh, last), rtol=1e-5, atol=1e-6)
    for steps in (0, 2.5):
        with pytest.raises(ValueError, match=f"steps is a positive integer; got {steps}"):
            jaxae.restarted(learner, steps)


def test_restarted_line_searches_on_large_batches_come_near_the_least_squares():
    """Far nearer than as many steps of descent at the inverse of the largest curvature."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(400, 6)) * np.geomspace(1, 5, 6)).astype(np.float32)
    data = {"x": x, "y": (x @ rng.normal(size=6) + rng.normal(size=400)).astype(np.float32)}

    def loss(params, key, batch):
        value = jnp.mean((batch["x"] @ params - batch["y"]) ** 2)
        return value, {"loss": value}

    def final(tx):
        learner = jaxae.restarted(jaxae.gradient(loss, tx), 3)
        start = learner.init(jnp.zeros(6), KEY)
        fitted, _ = jaxae.fit(learner, start, data, KEY, epochs=2, batch_size=200)
        return loss(fitted.params, KEY, data)[0]

    least = np.linalg.lstsq(x, data["y"])[1][0] / 400
    rate = 0.5 / np.linalg.eigvalsh(x.T @ x / 400).max()
    assert least < final(optax.lbfgs()) < 1.05 * least < 1.5 * least < final(optax.sgd(rate))


def test_binarised_batches_are_drawn_anew_with_the_entries_as_probabilities():
    seen = []

    def step(state, key, batch):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), batch["x"])
        return state, {}

    learner = jaxae.binarised(jaxae.Learner(lambda params, key: params, step))
    x = np.full((200, 3), [0.0, 0.3, 1.0], np.float32)
    for i in range(40):
        learner.step(None, jax.random.key(i), {"x": x})
    drawn = np.stack(seen)
    assert set(np.unique(drawn).tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean((0, 1)), [0, 0.3, 1], atol=5 * 0.46 / np.sqrt(8000))
    assert (drawn[0] != drawn[1]).any()
