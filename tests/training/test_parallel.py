"""One model on two devices, against the same on one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import evaluation
from jaxae.training import parallel

MESH = parallel.devices_mesh(jax.devices()[:2])
ROWS, WIDTH = 40, 16
X = np.random.default_rng(0).integers(0, 256, (ROWS, WIDTH), np.uint8)
BATCH = 10  # 5 for each device, numbers that no layer has
KEY = jax.random.key(3)


def by_gradient(model, tx=None):
    return model, jaxae.gradient(model.loss, tx or optax.adam(0.01))


def chains():
    model = jaxae.rbm(WIDTH, 6)
    return model, jaxae.persistent(model, optax.sgd(0.1), num_chains=7)


LEARNERS = {
    "deep": lambda: by_gradient(jaxae.deep(WIDTH, 4, hidden_dims=(8,))),
    "denoising": lambda: by_gradient(jaxae.denoising(WIDTH, 4, noise_level=0.3)),
    "rbm": lambda: by_gradient(jaxae.rbm(WIDTH, 6), optax.sgd(0.1)),
    "rbm by persistent chains": chains,
    "sparse": lambda: by_gradient(jaxae.sparse(WIDTH, 6, sparsity_weight=3.0)),
    "winner_take_all": lambda: by_gradient(jaxae.winner_take_all(WIDTH, 6, fraction=0.2)),
    "batch_top_k": lambda: by_gradient(jaxae.batch_top_k(WIDTH, 24, k=3)),
}


def begin(learner, model):
    return learner.init(jax.jit(model.init)(KEY, {"x": X}), jax.random.key(1))


def fitted(learner, model, data, **options):
    fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=3, batch_size=BATCH, **options))
    return fit(begin(learner, model), data, KEY)


def assert_close(got, wanted):
    """Equal but for rounding, of which differences of equal sums have a larger part."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    got, wanted = jax.device_get((got, wanted))
    floats = [a for a in jax.tree.leaves(wanted) if np.issubdtype(a.dtype, np.inexact)]
    close = {"rtol": 1e-5, "atol": 1e-6 * max(np.abs(a).max() for a in floats)}
    jax.tree.map(functools.partial(np.testing.assert_allclose, **close), got, wanted)


def program(learner, model, data):
    """What XLA made of three epochs for each device."""
    fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=3, batch_size=BATCH))
    return fit.lower(begin(learner, model), data, KEY).compile().as_text()


def products(text):
    """The shapes of all matrix products."""
    found = re.findall(r" = \w+\[([\d,]*)\]\S* dot\(", text)
    return {tuple(int(n) for n in shape.split(",") if n) for shape in found}


@pytest.mark.parametrize("name", LEARNERS)
def test_two_devices_learn_the_parameters_of_one(name):
    model, learner = LEARNERS[name]()
    wanted, history = fitted(learner, model, {"x": X})
    data = parallel.replicated({"x": X}, MESH)
    got, histories = fitted(parallel.data_parallel(learner, MESH), model, data)
    assert_close(got.params, wanted.params)
    assert_close(histories, history)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), got, begin(learner, model))
    assert max(jax.tree.leaves(jax.device_get(moved.params))) > 1e-3
    for array in jax.tree.leaves((got, histories)):
        assert array.sharding.is_fully_replicated
        assert array.sharding.device_set == set(MESH.devices.flat)


@pytest.mark.parametrize("name", ["sparse", "winner_take_all", "batch_top_k"])
def test_these_losses_are_no_means_over_devices_so_that_the_test_above_says_something(name):
    model, _ = LEARNERS[name]()
    params = model.init(KEY, {"x": X})
    whole = model.loss(params, KEY, {"x": X[:BATCH]})[0]
    halves = [model.loss(params, KEY, {"x": X[i : i + 5]})[0] for i in (0, 5)]
    assert abs(np.mean(halves) / whole - 1) > 1e-4


def test_each_device_multiplies_its_half_of_a_batch_and_sums_are_exchanged():
    model, learner = LEARNERS["deep"]()
    one = program(learner, model, {"x": X})
    shapes = products(one)
    assert {shape for shape in shapes if BATCH in shape}
    assert not {shape for shape in shapes if BATCH // 2 in shape}
    assert "all-reduce" not in one
    two = program(parallel.data_parallel(learner, MESH), model, parallel.replicated({"x": X}, MESH))
    halved = {tuple(n // 2 if n == BATCH else n for n in shape) for shape in shapes}
    assert products(two) == halved
    assert "all-reduce" in two
    assert "all-gather" not in two


@pytest.mark.parametrize("name", ["denoising", "batch_top_k"])
def test_data_spread_over_the_devices_gives_the_same_and_is_exchanged_as_bytes(name):
    model, learner = LEARNERS[name]()
    wanted, _ = fitted(learner, model, {"x": X})
    data = parallel.global_batch({"x": X}, MESH)
    assert {shard.data.shape for shard in data["x"].addressable_shards} == {(ROWS // 2, WIDTH)}
    both = parallel.data_parallel(learner, MESH)
    got, _ = fitted(both, model, data)
    assert_close(got.params, wanted.params)
    text = program(both, model, data)
    assert re.search(rf"u8\[{BATCH},{WIDTH}\]\S* all-reduce", text)
    assert not re.search(rf"\[{ROWS},{WIDTH}\]", text)  # no device ever holds all of it


def test_masks_and_contexts_are_shared_with_the_rows():
    model, learner = LEARNERS["deep"]()
    data = {"x": X, "mask": np.random.default_rng(1).integers(0, 2, X.shape, np.uint8)}
    wanted, _ = fitted(learner, model, data)
    both = parallel.data_parallel(learner, MESH)
    assert_close(fitted(both, model, parallel.replicated(data, MESH))[0].params, wanted.params)


@pytest.mark.parametrize("spread", [parallel.replicated, parallel.global_batch])
def test_over_arrays_validates_and_traces_once(spread):
    model, learner = LEARNERS["denoising"]()
    traces = []

    def step(*inputs):
        traces.append(None)
        return learner.step(*inputs)

    def trained(learner, data):
        judge = evaluation.validation(model, jax.random.key(5))
        options = {"evaluate": judge, "validation": {"x": X[:7]}}
        advance = jaxae.over_arrays(learner, data, KEY, batch_size=BATCH, **options)
        state = begin(learner, model)
        for epoch in range(3):
            state, metrics = advance(state, epoch)
        return state.params, metrics

    wanted = trained(learner, {"x": X})
    both = parallel.data_parallel(jaxae.Learner(learner.init, step), MESH)
    assert_close(trained(both, spread({"x": X}, MESH)), wanted)
    assert len(traces) == 1


def test_over_batches_takes_shared_batches():
    model, learner = LEARNERS["denoising"]()

    def trained(learner, spread):
        batches = lambda epoch: map(spread, jaxae.batches({"x": X}, BATCH, epoch=epoch))  # noqa: E731
        advance = jaxae.over_batches(learner, batches, KEY)
        state, _ = advance(begin(learner, model), 0)
        return advance(state, 1)

    state, metrics = trained(learner, dict)
    both = parallel.data_parallel(learner, MESH)
    spread = functools.partial(parallel.global_batch, mesh=MESH)
    got, got_metrics = trained(both, spread)
    assert_close((got.params, got_metrics), (state.params, metrics))


def test_a_run_on_two_devices_goes_on_on_one(tmp_path):
    model, learner = LEARNERS["denoising"]()

    def trained(mesh, folder, epochs, **options):
        on = parallel.data_parallel(learner, mesh)
        data = parallel.replicated({"x": X}, mesh)
        advance = jaxae.over_arrays(on, data, KEY, batch_size=BATCH)
        state = begin(on, model)
        return jaxae.run(advance, state, tmp_path / folder, epochs=epochs, examples=ROWS, **options)

    one = parallel.devices_mesh(jax.devices()[1:2])
    wanted = trained(one, "whole", 4)
    trained(MESH, "parts", 2)
    got = trained(one, "parts", 4, resume=True)
    assert jax.tree.leaves(got.state)[0].sharding.device_set == set(one.devices.flat)
    assert_close((got.state.params, got.best), (wanted.state.params, wanted.best))


def test_a_sweep_of_shared_batches_is_each_of_its_members():
    model, learner = LEARNERS["denoising"]()
    both = parallel.data_parallel(learner, MESH)
    data = parallel.replicated({"x": X}, MESH)

    def train(key):
        state = both.init(model.init(key, data), key)
        return jaxae.fit(both, state, data, key, epochs=2, batch_size=BATCH)[0].params

    keys = jax.random.split(KEY, 3)
    swept = jax.jit(jax.vmap(train))(keys)
    for i, key in enumerate(keys):
        alone = jax.jit(train)(key)
        assert_close(jax.tree.map(lambda a, i=i: a[i], swept), alone)


def test_replicated_takes_keys_numbers_and_tracers():
    tree = {"key": jax.random.key(1), "number": 3, "bytes": X}
    for got in (parallel.replicated(tree, MESH), _traced(tree)):
        assert {a.sharding.is_fully_replicated for a in got.values()} == {True}
        assert jax.random.key_data(got["key"]).tolist() == [0, 1]
        assert (got["number"], got["bytes"].dtype) == (3, np.uint8)


def _traced(tree):
    return jax.jit(lambda tree: parallel.replicated(tree, MESH))(tree)


def test_own_rows_of_a_lone_process_are_all_that_devices_share_equally():
    assert parallel.own_rows(11, MESH) == slice(0, 10)


@pytest.mark.parametrize("rows", [1, 11])
def test_batches_that_devices_cannot_share_are_refused_before_anything_is_computed(rows):
    model, learner = LEARNERS["deep"]()
    both = parallel.data_parallel(learner, MESH)
    state = begin(both, model)
    with pytest.raises(ValueError, match=f"2 devices cannot share batches of {rows} .*such as"):
        jaxae.fit(both, state, {"x": X}, KEY, epochs=1, batch_size=rows)
    with pytest.raises(ValueError, match="2 devices, which cannot share"):
        parallel.global_batch({"x": X[:rows]}, MESH)


def test_meshes_of_no_use_are_refused():
    _, learner = LEARNERS["deep"]()
    with pytest.raises(ValueError, match="at least one device"):
        parallel.devices_mesh([])
    with pytest.raises(ValueError, match="each once"):
        parallel.devices_mesh(jax.devices()[:1] * 2)
    explicit = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Explicit,))
    with pytest.raises(ValueError, match="Auto"):
        parallel.data_parallel(learner, explicit)
    with pytest.raises(ValueError, match="cannot share 1 rows"):
        parallel.own_rows(1, MESH)
