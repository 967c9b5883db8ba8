"""Learning from a stream: equal to steps and `stream`, compiled once a shape, memory reused."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae.training.checkpoints import open_checkpoints, restore, save
from jaxae.training.online import OnlineState, partial_fit

D = 6
LEARNERS = {
    "sgd": lambda: (jaxae.undercomplete(D, 2), lambda m: jaxae.gradient(m.loss, optax.sgd(0.1))),
    "denoising adam": lambda: (
        jaxae.denoising(D, 3, hidden_dims=(5,), noise_level=0.5),
        lambda m: jaxae.gradient(m.loss, optax.adam(1e-2)),
    ),
    "vae": lambda: (jaxae.vae(D, 2), lambda m: jaxae.gradient(m.loss, optax.adam(1e-2))),
    "dead units": lambda: (
        jaxae.top_k(D, 8, k=2, dead_after=3),
        lambda m: jaxae.gradient(m.loss, jaxae.momentum_sgd(0.1, 0.5)),
    ),
    "chains": lambda: (
        jaxae.rbm(D, 4),
        lambda m: jaxae.persistent(m, optax.sgd(0.1), num_chains=4),
    ),
    "bits": lambda: (
        jaxae.vae(D, 2),
        lambda m: jaxae.binarised(jaxae.gradient(m.loss, optax.adam(1e-2))),
    ),
}


def begun(name, seed=0):
    model, learner_of = LEARNERS[name]()
    learner = learner_of(model)
    rows = {"x": np.zeros((1, D), np.float32)}
    return learner, *jaxae.start(model, learner, rows, jax.random.key(seed))


def batches(*sizes):
    rng = np.random.default_rng(1)
    return [{"x": rng.random((n, D), np.float32)} for n in sizes]


def examples(batch):
    return [{name: a[i] for name, a in batch.items()} for i in range(len(batch["x"]))]


@pytest.mark.parametrize("name", LEARNERS)
def test_updates_equal_a_stream_of_the_same_batches_bit_for_bit(name):
    learner, first, key = begun(name)
    parts = batches(4, 4, 7, 4)
    expected = list(jaxae.stream(learner, first, key, parts))
    update, state = partial_fit(learner), first
    for batch, (after, reported) in zip(parts, expected, strict=True):
        state, metrics = update(state, key, batch)
        chex.assert_trees_all_equal(state.state, after)
        chex.assert_trees_all_equal(metrics, reported)
    assert int(state.updates) == 4


@pytest.mark.parametrize("name", ["denoising adam", "dead units", "chains"])
def test_one_example_at_a_time_equals_steps_on_batches_of_one(name):
    learner, first, key = begun(name)
    (rows,) = batches(5)
    expected, step = first, jax.jit(learner.step)
    for i in range(5):
        one = {"x": rows["x"][i : i + 1]}
        expected, reported = step(expected, jax.random.fold_in(key, i), one)
    update, state = partial_fit(learner), first
    for example in examples(rows):
        state, metrics = update.one(state, key, example)
    chex.assert_trees_all_equal(state.state, expected)
    chex.assert_trees_all_equal(metrics, reported)


def test_a_mask_and_a_context_of_one_example_count_as_those_of_a_batch_of_one():
    model = jaxae.deep(D, 2, hidden_dims=(4,))
    learner = jaxae.gradient(model.loss, optax.sgd(0.1))
    batch = {
        "x": np.ones((1, D), np.float32),
        "mask": (np.arange(D) < 4)[None],
        "context": np.ones((1, 2), np.float32),
    }
    state, key = jaxae.start(model, learner, batch, jax.random.key(0))
    expected = jax.jit(learner.step)(state, jax.random.fold_in(key, 0), batch)
    found = partial_fit(learner).one(state, key, examples(batch)[0])
    chex.assert_trees_all_equal((found[0].state, found[1]), expected)


def test_each_shape_is_compiled_once_and_no_more():
    model, learner_of = LEARNERS["denoising adam"]()
    learner = learner_of(model)
    traces = []

    def step(state, key, batch):
        traces.append(batch["x"].shape)
        return learner.step(state, key, batch)

    _, state, key = begun("denoising adam")
    update = partial_fit(learner._replace(step=step))
    for _ in range(3):
        for batch in batches(4, 6):
            state, _ = update(state, key, batch)
            state, _ = update.one(state, key, examples(batch)[0])
    assert sorted(traces) == [(1, D), (4, D), (6, D)]


def test_the_memory_of_a_state_becomes_that_of_the_next_and_a_copy_is_kept():
    learner, state, key = begun("denoising adam")
    (batch,) = batches(4)
    update = partial_fit(learner)
    kept = jax.tree.map(jnp.copy, state)
    after, _ = update(state, key, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(jax.tree.leaves(state.params)[0])
    where = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(after) if leaf.size > 1}
    again, _ = update(after, key, batch)
    assert where & {a.unsafe_buffer_pointer() for a in jax.tree.leaves(again) if a.size > 1}
    assert np.isfinite(jax.tree.leaves(kept.params)[0]).all()
    assert not key.is_deleted()


def test_noise_differs_from_update_to_update_and_goes_on_from_a_checkpoint(tmp_path):
    learner, first, key = begun("denoising adam")
    parts = batches(4, 4, 4, 4)
    update = partial_fit(learner)
    state = jax.tree.map(jnp.copy, first)
    for batch in parts[:2]:
        state, _ = update(state, key, batch)
    manager = open_checkpoints(tmp_path)
    save(manager, 2, state, state.params)
    manager.wait_until_finished()
    resumed = restore(manager, state=state)["state"]
    manager.close()
    assert isinstance(resumed, OnlineState)
    for batch in parts[2:]:
        resumed, _ = update(resumed, key, batch)
    *_, (expected, _) = jaxae.stream(learner, first, key, parts)
    chex.assert_trees_all_equal(resumed.state, expected)
    held = partial(learner.step, first, batch=parts[0])
    losses = [held(jax.random.fold_in(key, i))[1]["loss"] for i in range(2)]
    assert losses[0] != losses[1]


def test_one_vector_at_a_time_learns_the_subspace_of_the_stream():
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(D, 2)))[0]
    x = (rng.normal(size=(3000, 2)) @ basis.T).astype(np.float32)
    model = jaxae.linear(D, 2)
    learner = jaxae.gradient(model.loss, optax.sgd(0.03))
    state, key = jaxae.start(model, learner, {"x": x}, jax.random.key(3))
    update = partial_fit(learner)
    for row in x:
        state, _ = update.one(state, key, {"x": row})
    x_hat = model.decode(state.params, model.encode(state.params, {"x": x}))
    assert np.square(x_hat - x).mean() < 1e-3 * np.square(x).mean()


@pytest.mark.parametrize(
    ("how", "batch", "message"),
    [
        ("batch", {"mask": np.ones((2, D))}, "x"),
        ("batch", {"x": np.ones((0, D))}, "no examples"),
        ("batch", {"x": np.ones((2, D)), "mask": np.ones((3, D))}, "same number of rows"),
        ("one", {"mask": np.ones(D)}, "An example has"),
        ("one", {"x": np.float32(1.0)}, "An example has"),
    ],
)
def test_what_is_no_batch_or_example_is_refused_and_the_state_lives(how, batch, message):
    learner, state, key = begun("sgd")
    with pytest.raises(ValueError, match=message):
        getattr(partial_fit(learner), how)(state, key, batch)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
