from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae

KEY = jax.random.key(0)
RNG = np.random.default_rng(6)
DATA = {"x": RNG.normal(size=(32, 6)).astype(np.float32)}


def seeing(seen):
    """Passes gradients on as they are, and keeps them."""

    def update(grads, state, params=None):
        seen.append(grads)
        return grads, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def fitted(tx, *, epochs=3, key=KEY):
    model = jaxae.relu_l1(6, 12, l1_coefficient=0.1)
    learner = jaxae.gradient(model.loss, tx)
    state = learner.init(model.init(KEY, DATA), KEY)
    return jaxae.fit(learner, state, DATA, key, epochs=epochs, batch_size=8)[0].params


def lengths(params):
    return np.linalg.norm(jaxae.atoms(params), axis=-1)


@pytest.mark.parametrize(
    "tx",
    [optax.adam(0.05), optax.sgd(0.3), optax.adamw(0.05, weight_decay=0.1)],
    ids=["adam", "sgd", "adamw"],
)
def test_atoms_stay_on_the_sphere(tx):
    held, free = (jax.jit(partial(fitted, t))() for t in (jaxae.unit_norm(tx), tx))
    np.testing.assert_allclose(lengths(held), np.ones(12), atol=1e-6)
    assert np.abs(lengths(free) - 1).max() > 1e-3
    encoder = np.linalg.norm(held["encoder"]["layer_0"]["kernel"], axis=0)
    assert np.abs(encoder - 1).max() > 1e-3


def test_in_a_sweep_they_stay_there_too():
    def train(rate, key):
        return fitted(jaxae.unit_norm(optax.adam(rate)), key=key)

    rates = jnp.asarray([0.0, 1e-3, 0.1])
    swept = jax.jit(jax.vmap(train))(rates, jax.random.split(KEY, 3))
    norms = np.linalg.norm(jax.vmap(jaxae.atoms)(swept), axis=-1)
    np.testing.assert_allclose(norms, np.ones((3, 12)), atol=1e-6)
    assert not np.allclose(*jax.vmap(jaxae.atoms)(swept)[1:])


@pytest.mark.parametrize("axis", [0, -1])
def test_the_optimiser_sees_the_gradient_along_the_sphere(axis, x64):
    seen = []
    tx = jaxae.unit_norm(seeing(seen), path="a/b", axis=axis)
    v = RNG.normal(size=(3, 5))
    v = v / np.linalg.norm(v, axis=axis, keepdims=True)
    params = {"a": {"b": jnp.asarray(v), "c": jnp.ones(4)}}
    grads = jax.tree.map(lambda a: RNG.normal(size=a.shape), params)
    updates, _ = tx.update(grads, tx.init(params), params)
    given, whole = seen[0]["a"]["b"], grads["a"]["b"]
    np.testing.assert_allclose(np.sum(given * v, axis=axis), 0, atol=1e-12)
    across = whole - given
    np.testing.assert_allclose(across, v * np.sum(whole * v, axis=axis, keepdims=True), rtol=1e-9)
    moved = v + given
    expected = moved / np.linalg.norm(moved, axis=axis, keepdims=True)
    np.testing.assert_allclose(v + updates["a"]["b"], expected, rtol=1e-12)
    np.testing.assert_array_equal(seen[0]["a"]["c"], grads["a"]["c"])
    np.testing.assert_array_equal(updates["a"]["c"], grads["a"]["c"])


def test_a_small_step_is_that_of_steepest_descent_on_the_sphere(x64):
    """To first order the loss falls by rate · ‖gradient along the sphere‖²."""
    target = RNG.normal(size=(2, 4))
    loss = lambda p: jnp.sum((p["w"] - target) ** 2)  # noqa: E731
    v = RNG.normal(size=(2, 4))
    params = {"w": jnp.asarray(v / np.linalg.norm(v, axis=1, keepdims=True))}
    grads, tx = jax.grad(loss)(params), jaxae.unit_norm(optax.sgd(1e-6), path="w")
    moved = optax.apply_updates(params, tx.update(grads, tx.init(params), params)[0])
    g, w = np.asarray(grads["w"]), np.asarray(params["w"])
    along = g - w * np.sum(g * w, axis=1, keepdims=True)
    np.testing.assert_allclose((loss(params) - loss(moved)) / 1e-6, np.sum(along**2), rtol=1e-4)


def test_vectors_of_another_length_are_brought_onto_the_sphere():
    tx = jaxae.unit_norm(optax.sgd(0.0), path="w")
    params = {"w": jnp.asarray([[3.0, 4.0], [0.0, 0.1]])}
    updates, _ = tx.update({"w": jnp.ones((2, 2))}, tx.init(params), params)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_allclose(moved["w"], [[0.6, 0.8], [0.0, 1.0]], atol=1e-6)


def test_a_tree_without_that_parameter_is_refused():
    model = jaxae.tied(6, 3)
    tx = jaxae.unit_norm(optax.adam(1e-3))
    with pytest.raises(ValueError, match=r"no parameter 'decoder/layer_0/kernel'; there are"):
        tx.init(model.init(KEY, DATA))


def test_an_update_without_parameters_is_refused():
    tx = jaxae.unit_norm(optax.sgd(0.1), path="w")
    params = {"w": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(params, tx.init(params))


COST = 0.02
RATES = {"number": 0.1, "schedule": optax.linear_schedule(0.1, 0.02, 4)}
MOMENTA = {"number": 0.5, "schedule": optax.piecewise_constant_schedule(0.5, {3: 1.8})}


def by_hand(params, gradients, rates, momenta, cost=COST):
    """Steps v <- m v + g + cost · kernel by -rate · v each; only kernels have a cost."""
    v = dict.fromkeys(params, 0.0)
    for g, rate, m in zip(gradients, rates, momenta, strict=True):
        for name in params:
            decay = cost if name == "kernel" else 0.0
            v[name] = m * v[name] + g[name] + decay * params[name]
        params = {name: params[name] - rate * v[name] for name in params}
    return params


def stepped(tx, params, gradients):
    state = tx.init(params)
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def layer(rng):
    return {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("momentum", MOMENTA)
def test_momentum_follows_the_recursion_and_kernels_alone_have_a_cost(rate, momentum, x64):
    rng = np.random.default_rng(0)
    params, gradients = layer(rng), [layer(rng) for _ in range(6)]
    rates = [0.1] * 6 if rate == "number" else [0.1, 0.08, 0.06, 0.04, 0.02, 0.02]
    momenta = [0.5] * 6 if momentum == "number" else [0.5, 0.5, 0.5, 0.9, 0.9, 0.9]
    tx = jaxae.momentum_sgd(RATES[rate], MOMENTA[momentum], weight_cost=COST)
    nest = lambda a: {"encoder": {"layer_0": a}}  # noqa: E731
    given = stepped(tx, nest(params), [nest(g) for g in gradients])["encoder"]["layer_0"]
    wanted = by_hand(params, gradients, rates, momenta)
    for name in params:
        np.testing.assert_allclose(given[name], wanted[name], rtol=1e-6, atol=1e-7)
    free = by_hand(params, gradients, rates, momenta, cost=0.0)
    np.testing.assert_allclose(given["bias"], free["bias"], rtol=1e-6, atol=1e-7)
    assert np.abs(given["kernel"] - free["kernel"]).max() > 1e-3


def test_a_sweep_over_rates_momenta_and_costs_steps_each_as_if_alone():
    rng = np.random.default_rng(1)
    params, gradients = layer(rng), [layer(rng) for _ in range(4)]
    settings = np.array([[0.0, 0.5, 0.0], [0.1, 0.0, 0.1], [0.2, 0.9, 0.01]], np.float32)

    @jax.jit
    @jax.vmap
    def sweep(setting):
        rate, momentum, cost = setting
        return stepped(jaxae.momentum_sgd(rate, momentum, weight_cost=cost), params, gradients)

    swept = sweep(settings)
    for i, (rate, momentum, cost) in enumerate(settings):
        wanted = by_hand(params, gradients, [rate] * 4, [momentum] * 4, cost)
        for name in params:
            np.testing.assert_allclose(swept[name][i], wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"momentum must lie in \[0.0, 1.0\); got 1.0"),
        ({"momentum": -0.1}, "momentum must lie in"),
        ({"weight_cost": -1e-4}, "weight_cost must lie in"),
    ],
)
def test_momentum_and_cost_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jaxae.momentum_sgd(0.1, **options)
