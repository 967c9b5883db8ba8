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
    batch = {"x": X.astype(np.float32)}
    state = first = learner.init(model.init(KEY, batch), KEY)
    step = jax.jit(learner.step)
    for _ in range(steps):
        state, _ = step(state, KEY, batch)
    specification = lambda s: jax.tree.map(lambda a: (a.shape, a.dtype), s)  # noqa: E731
    assert specification(state) == specification(first)
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
    batch = {"x": X.astype(np.float32)}
    state, step, losses = learner.init(model.init(KEY, batch), KEY), jax.jit(learner.step), []
    for n in range(1, 7):
        before = state.params
        state, metrics = step(state, KEY, batch)
        losses.append(metrics["loss"])
        (carried,) = state.params["carried"].values()
        assert carried["mean_activation_steps"] == n
        if n == 1:
            mean = model.encode(before, batch).mean(axis=0)
            np.testing.assert_allclose(carried["mean_activation"], mean, rtol=1e-5)
    assert losses[-1] < losses[0] - 0.1
