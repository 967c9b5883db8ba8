import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae.training.learners import TrainState

KEY = jax.random.key(3)
RNG = np.random.default_rng(3)
DATA = {"x": RNG.normal(size=(24, 6)).astype(np.float32)}
MODEL = jaxae.denoising(6, 3)
LEARNER = jaxae.gradient(MODEL.loss, optax.adam(1e-2))


def start(key=KEY):
    return LEARNER.init(MODEL.init(key, DATA), key)


def counted(learner):
    """The learner, and a list that grows by one whenever its step is traced."""
    traces = []

    def step(state, key, batch):
        traces.append(None)
        return learner.step(state, key, batch)

    return jaxae.Learner(learner.init, step), traces


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def recorder(num):
    """A learner of nothing: its state counts and orders the examples that it was shown."""

    def step(state, key, batch):
        seen = state.params.at[batch["x"]].add(1)
        return TrainState(seen, batch["x"]), {"first": batch["x"][0], "sum": batch["x"].sum()}

    return jaxae.Learner(None, step), TrainState(jnp.zeros(num, int), None)


def shown(num, batch_size, epochs):
    """How often each example was shown in each epoch, `(epochs, num)`, and the metrics."""
    learner, state = recorder(num)
    state = state._replace(opt_state=jnp.zeros(batch_size, int))
    counts = lambda params: {"counts": params}  # noqa: E731
    data = {"x": np.arange(num)}
    _, history = jaxae.fit(
        learner, state, data, KEY, epochs=epochs, batch_size=batch_size, evaluate=counts
    )
    return np.diff(history["counts"], axis=0, prepend=0), history


def test_twenty_epochs_are_ten_and_ten_more_without_another_trace():
    learner, traces = counted(LEARNER)

    def chunk(state, first, epochs):
        return jaxae.fit(learner, state, DATA, KEY, epochs=epochs, batch_size=8, first_epoch=first)

    chunk = jax.jit(chunk, static_argnums=2)
    whole, history = chunk(start(), 0, 20)
    traces.clear()
    state, early = chunk(start(), 0, 10)
    before = len(traces)
    state, late = chunk(state, 10, 10)
    assert 0 < before == len(traces)
    assert_identical(state, whole)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), early, late)
    assert_identical(joined, history)
    assert not np.array_equal(early["loss"], late["loss"])


def test_all_examples_are_used_once_in_an_epoch():
    counts, _ = shown(24, 8, epochs=3)
    np.testing.assert_array_equal(counts, np.ones((3, 24)))


def test_what_does_not_fill_a_batch_is_left_out_and_nothing_is_used_twice():
    counts, _ = shown(23, 5, epochs=20)
    np.testing.assert_array_equal(counts.sum(axis=1), 20)
    assert counts.max() == 1
    assert (counts.sum(axis=0) > 0).all()


def test_every_epoch_has_an_order_of_its_own():
    _, history = shown(1000, 1000, epochs=8)
    assert len(np.unique(history["first"])) > 1
    np.testing.assert_array_equal(history["sum"], 999 * 500)


def test_metrics_are_means_over_the_steps_of_an_epoch():
    _, history = shown(24, 8, epochs=2)
    np.testing.assert_allclose(history["sum"], 23 * 12 / 3)


def test_fit_over_keys_is_one_fit_after_another():
    def train(key):
        return jaxae.fit(LEARNER, start(key), DATA, key, epochs=3, batch_size=8)

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(train))(keys)
    alone = [jax.jit(train)(key) for key in keys]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *alone)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, stacked
    )
    assert len(np.unique(together[1]["loss"][:, -1])) == 3


def test_evaluate_is_added_to_the_metrics_of_each_epoch():
    evaluate = lambda params: {"norm": optax.tree.norm(params)}  # noqa: E731
    options = {"epochs": 4, "batch_size": 8}
    state, history = jaxae.fit(LEARNER, start(), DATA, KEY, **options, evaluate=evaluate)
    plain_state, plain = jaxae.fit(LEARNER, start(), DATA, KEY, **options)
    assert set(history) == {*plain, "norm"}
    assert {a.shape for a in history.values()} == {(4,)}
    np.testing.assert_allclose(history["norm"][-1], optax.tree.norm(state.params), rtol=1e-6)
    assert_identical(state, plain_state)


def test_a_memory_map_trains_as_the_array_does(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, DATA["x"])
    mapped = {"x": np.load(path, mmap_mode="r")}
    given, expected = (
        jaxae.fit(LEARNER, start(), d, KEY, epochs=2, batch_size=8) for d in (mapped, DATA)
    )
    assert_identical(given, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is a positive integer"),
        ({"batch_size": 25}, "at most the 24 examples"),
        ({"batch_size": 1.5}, "batch_size is a positive integer"),
        ({"epochs": 0}, "epochs is a positive integer"),
        ({"epochs": 2.0}, "epochs is a positive integer"),
        ({"data": {"x": np.ones((4, 6)), "y": np.ones(5)}}, "same number of rows"),
        ({"data": {"x": np.ones((0, 6))}}, "no examples"),
        ({"data": np.ones((4, 6))}, 'has "x"'),
    ],
)
def test_fit_refuses_what_it_cannot_do(changes, message):
    options = {"data": DATA, "epochs": 1, "batch_size": 4, **changes}
    data = options.pop("data")
    with pytest.raises(ValueError, match=message):
        jaxae.fit(LEARNER, start(), data, KEY, **options)


def batches_of(epoch=0):
    order = np.random.default_rng(epoch).permutation(24)
    return [{"x": DATA["x"][rows]} for rows in order.reshape(3, 8)]


def test_stream_is_the_loop_of_steps():
    state = start()
    step = jax.jit(LEARNER.step)
    streamed = jaxae.stream(LEARNER, start(), KEY, iter(batches_of()), first_step=5)
    for i, batch in enumerate(batches_of()):
        state, metrics = step(state, jax.random.fold_in(KEY, 5 + i), batch)
        assert_identical(next(streamed), (state, metrics))
    assert next(streamed, None) is None


def test_stream_compiles_once_however_often_it_is_called():
    learner, traces = counted(LEARNER)
    for epoch in range(3):
        assert len(list(jaxae.stream(learner, start(), KEY, batches_of(epoch)))) == 3
    assert len(traces) == 1


def validate(params, data):
    return {"val_loss": MODEL.loss(params, KEY, data)[0]}


def run(advance, state, epochs):
    """The state after those epochs, and their metrics stacked as `fit` gives them."""
    rows = []
    for epoch in epochs:
        state, metrics = advance(state, epoch)
        rows.append(metrics)
    return state, jax.tree.map(lambda *a: jnp.stack(a), *rows)


def test_over_arrays_is_fit():
    validation = {"x": DATA["x"][:10] + 1}
    advance = jaxae.over_arrays(
        LEARNER, DATA, KEY, batch_size=8, evaluate=validate, validation=validation
    )

    @jax.jit
    def expected(state, data, validation):
        judge = lambda params: validate(params, validation)  # noqa: E731
        return jaxae.fit(LEARNER, state, data, KEY, epochs=4, batch_size=8, evaluate=judge)

    state, history = run(advance, start(), range(4))
    assert_identical((state, history), expected(start(), DATA, validation))
    last = validate(state.params, validation)["val_loss"]
    np.testing.assert_allclose(history["val_loss"][-1], last, rtol=1e-6)


def test_over_arrays_traces_once_for_all_epochs():
    learner, traces = counted(LEARNER)
    advance = jaxae.over_arrays(learner, DATA, KEY, batch_size=8)
    state, _ = advance(start(), 0)
    before = len(traces)
    run(advance, state, range(1, 4))
    assert 0 < before == len(traces)


@pytest.mark.parametrize("given", [{"evaluate": validate}, {"validation": DATA}])
def test_over_arrays_needs_both_evaluate_and_validation(given):
    with pytest.raises(ValueError, match="belong together"):
        jaxae.over_arrays(LEARNER, DATA, KEY, batch_size=8, **given)


def test_over_batches_is_stream_with_means_over_each_epoch():
    norm = lambda params: {"norm": optax.tree.norm(params)}  # noqa: E731
    advance = jaxae.over_batches(LEARNER, batches_of, KEY, evaluate=norm)
    state, expected = start(), start()
    for epoch in (1, 2):
        state, metrics = advance(state, epoch)
        key = jax.random.fold_in(KEY, epoch)
        steps = list(jaxae.stream(LEARNER, expected, key, batches_of(epoch)))
        expected, losses = steps[-1][0], [step["loss"] for _, step in steps]
        np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-6)
        np.testing.assert_allclose(metrics["norm"], norm(expected.params)["norm"], rtol=1e-6)
        assert_identical(state, expected)


def test_over_batches_traces_once_for_all_epochs():
    learner, traces = counted(LEARNER)
    run(jaxae.over_batches(learner, batches_of, KEY), start(), range(3))
    assert len(traces) == 1


def test_an_epoch_without_batches_is_refused():
    advance = jaxae.over_batches(LEARNER, lambda epoch: [] if epoch else batches_of(), KEY)
    with pytest.raises(ValueError, match=r"batches\(1\) gave no batch"):
        run(advance, start(), range(2))
