"""Sweeps: every member, wherever and with whomever it is trained, equals a run of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae.training.layout import plan
from jaxae.training.sweeping import sweep, swept, take

CONTRACT = Path(__file__).parents[1] / "test_contract.py"


spec = importlib.util.spec_from_file_location("contract", CONTRACT)
contract = importlib.util.module_from_spec(spec)
spec.loader.exec_module(contract)
every_case = pytest.mark.parametrize(("name", "how"), contract.CASES, ids=lambda part: part)
KEYS = jax.random.split(jax.random.key(3), 3)
RATES = np.geomspace(1e-3, 1e-2, 3).astype(np.float32)
DATA = {"x": np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)}


def train_case(name, how):
    def train(data, key, rate):
        model = contract.MODELS[name]()
        learner = contract.LEARNERS[how](model, rate)
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=5, batch_size=16)

    return train


def train_linear(data, key, rate, **options):
    model = jaxae.linear(6, 2)
    learner = jaxae.gradient(model.loss, optax.sgd(rate))
    state, key = jaxae.start(model, learner, data, key)
    return jaxae.fit(learner, state, data, key, **{"epochs": 5, "batch_size": 16, **options})


def alone(train, data, *args):
    """Each member by a call of its own, with a row for each."""
    one = jax.jit(train)
    members = [one(data, *take(args, i)) for i in range(len(args[0]))]
    return jax.tree.map(lambda *rows: np.stack(rows), *members)


def assert_close(tree, expected, tolerance=1e-5):
    """Within the tolerance, relative to the largest entry of each array; NaN where NaN."""
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def assert_same(tree, expected):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_members_in_chunks_on_two_devices_equal_runs_of_their_own(name, how):
    # 2 at once on each device, and of the 4 places one is filled up
    train, data = train_case(name, how), contract.data_for(name)
    swept = sweep(train, data, KEYS, RATES, chunk=2)
    assert_close(swept, alone(train, data, KEYS, RATES), 1e-2 if "bfloat16" in name else 1e-5)


@pytest.fixture(scope="module")
def expected():
    train, data = train_case("denoising masking", "gradient"), contract.data_for("")
    return alone(train, data, KEYS, RATES)


@pytest.mark.parametrize(("chunk", "devices"), [(1, 2), (3, 1)])
def test_a_stochastic_model_is_trained_the_same_in_any_layout(chunk, devices, expected):
    train, data = train_case("denoising masking", "gradient"), contract.data_for("")
    swept = sweep(train, data, KEYS, RATES, chunk=chunk, devices=jax.devices()[:devices])
    (assert_same if chunk == 1 else assert_close)(swept, expected)


def on_eight_devices():
    assert len(jax.devices()) == 8
    for name in ("denoising masking", "rbm"):
        train, data = train_case(name, "gradient"), contract.data_for(name)
        keys = jax.random.split(jax.random.key(3), 11)
        rates = np.geomspace(1e-3, 1e-2, 11).astype(np.float32)
        assert_close(sweep(train, data, keys, rates), alone(train, data, keys, rates))
        assert plan(train, data, keys, rates).padded == 16


def test_eight_devices_train_eleven_members_as_runs_of_their_own():
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(jaxae.__file__).parents[1]),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    code = f"import runpy; runpy.run_path({__file__!r})['on_eight_devices']()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)


def label(data, point):
    """Greedy pretraining, fine-tuning of the whole stack, then a classifier on it."""
    key = jax.random.key(point["seed"])
    sizes, noise = [(12, 8), (8, 4)], point["noise_level"]
    models = [jaxae.denoising(*size, noise_level=noise) for size in sizes]
    layers = [jaxae.Layer(m, jaxae.gradient(m.loss, optax.adam(0.01)), 2, 16) for m in models]
    stack = jaxae.pretrain(layers, data, key)
    net = jaxae.deep(12, 4, hidden_dims=(8,), latent_activation="elu")
    learner = jaxae.gradient(net.loss, optax.adam(0.01))
    state = learner.init(jaxae.unroll(models, stack.params, net, data), key)
    state, tuned = jaxae.fit(learner, state, data, key, epochs=2, batch_size=16)
    classifier = jaxae.classifier(net, 2, dropout=0.1)
    learner = jaxae.gradient(classifier.loss, optax.adam(0.01))
    params = jaxae.with_model(classifier.init(key, data), state.params)
    state, labelled = jaxae.fit(
        learner, learner.init(params, key), data, key, epochs=2, batch_size=16
    )
    return state.params, stack.history, tuned, labelled


def test_a_whole_greedy_pretraining_and_all_after_it_is_swept_over_noise_and_seed():
    data = {**contract.data_for(""), "y": np.arange(contract.N) % 2}
    points = jaxae.grid(noise_level=[0.0, 0.4], seed=range(2))
    expected = [jax.jit(label)(data, take(points, i)) for i in range(4)]
    together = sweep(label, data, points)
    assert_close(together, jax.tree.map(lambda *rows: np.stack(rows), *expected))
    kernels = together[0]["model"]["encoder"]["layer_0"]["kernel"]
    assert len(np.unique(kernels[:, 0, 0])) == 4


def draw(data, key, a):
    return {"bits": jax.random.bits(key, (3,)), "sum": {"of": data["x"].sum() + a["b"]}}


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("members", [1, 2, 5, 7])
def test_any_number_of_members_in_any_layout_come_back_complete_and_in_order(
    members, devices, chunk
):
    keys, numbers = jax.random.split(jax.random.key(0), members), np.arange(members)
    data = {"x": np.arange(4)}
    how = {"chunk": chunk, "devices": jax.devices()[:devices]}
    out = sweep(draw, data, keys, {"b": numbers}, **how)
    np.testing.assert_array_equal(out["bits"], [jax.random.bits(key, (3,)) for key in keys])
    np.testing.assert_array_equal(out["sum"]["of"], 6 + numbers)
    layout = plan(draw, data, keys, {"b": numbers}, **how)
    assert (layout.members, len(layout.devices)) == (members, min(members, devices))
    assert layout.chunk <= (chunk or members)
    assert members <= layout.padded < members + len(layout.devices) * layout.chunks


def test_a_sweep_is_traced_once_for_its_plan_and_once_to_be_compiled_and_then_never_again(caplog):
    traces = []

    def train(data, key, rate):
        traces.append(0)
        return train_linear(data, key, rate)

    def compiled():
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [message for message in messages if message.startswith("Compiling")]

    run = swept(train, chunk=2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        first = run(DATA, KEYS, RATES)
        assert len([message for message in compiled() if "float32[32,6]" in message]) == 1
        again = run(DATA, KEYS, RATES)
        run({"x": 2 * DATA["x"]}, KEYS, RATES / 2)
        assert not compiled()
    assert 1 <= len(traces) <= 2
    assert_same(again, first)


def test_a_member_that_diverges_stays_finite_and_the_others_are_as_they_were():
    keys = jax.random.split(jax.random.key(1), 4)
    tame, wild = np.array([0.1, 0.05, 0.02, 0.01]), np.array([0.1, 5.0, 0.02, 0.01])
    run = swept(train_linear, chunk=2, devices=jax.devices()[:1])
    (state, history), (_, with_wild) = run(DATA, keys, tame), run(DATA, keys, wild)
    state_with_wild, _ = run(DATA, keys, wild)
    others = np.array([0, 2, 3])
    assert_same(
        jax.tree.map(lambda a: a[others], (state_with_wild, with_wild)),
        jax.tree.map(lambda a: a[others], (state, history)),
    )
    gone = np.isnan(with_wild["loss"][1])
    first = int(np.argmax(gone))
    assert first > 0
    assert gone[first:].all()
    assert not gone[:first].any()
    kept = take(state_with_wild, 1).params
    one = jax.jit(train_linear, static_argnames="epochs")
    before, _ = one(DATA, keys[1], np.float32(5.0), epochs=first)
    assert np.isfinite(jax.tree.leaves(kept)[0]).all()
    assert_close(kept, before.params)


def test_leaving_a_member_out_changes_no_bit_of_the_others_in_chunks_of_equal_size():
    keys, rates = jax.random.split(jax.random.key(1), 6), np.array([0.1, 0.2, 5.0, 5.0, 0.3, 0.4])
    some = np.array([0, 1, 4, 5])
    whole = sweep(train_linear, DATA, keys, rates, chunk=2, devices=jax.devices()[:1])
    fewer = sweep(train_linear, DATA, keys[some], rates[some], chunk=2, devices=jax.devices()[:1])
    assert_same(jax.tree.map(lambda a: a[some], whole), fewer)


def untraced(*args):
    pytest.fail("it was traced")


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((), {}, "one row for each member"),
        ((KEYS, RATES[:2]), {}, r"one row for each member.*\[0\]': 3, '\[1\]': 2"),
        ((KEYS, 0.1), {}, "'none'"),
        (([1.0, 2.0],), {}, "'none'"),
        ((RATES[:0],), {}, "at least one"),
        ((RATES,), {"chunk": 0}, "chunk is a positive number of members; got 0"),
        ((RATES,), {"chunk": -1}, "got -1"),
        ((RATES,), {"chunk": 1.5}, "got 1.5"),
        ((RATES,), {"devices": []}, "devices has none"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_traced(args, options, message):
    for function in (sweep, plan):
        with pytest.raises(ValueError, match=message):
            function(untraced, DATA, *args, **options)


def test_a_member_is_taken_by_its_number():
    tree = {"a": np.arange(6).reshape(3, 2), "key": KEYS}
    assert take(tree, 2)["a"].tolist() == [4, 5]
    assert take(tree, 1)["key"] == KEYS[1]
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"3 members, from 0 to 2; got {number}"):
            take(tree, number)
