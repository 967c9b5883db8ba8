"""Runs of many members: each equals a run of its own, whatever becomes of it and of the others."""

import importlib.util
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import DivergenceError, evaluation, over_members, run
from jaxae.training.checkpoints import open_checkpoints, restore
from jaxae.training.folders import read_rows
from jaxae.training.sweeping import take

rng = np.random.default_rng(0)
DATA = {"x": rng.normal(size=(32, 6)).astype(np.float32)}
HELD_OUT = {"x": rng.normal(size=(16, 6)).astype(np.float32)}
RATES = np.array([0.1, 1.0, 0.02, 0.3])  # stops early, diverges, neither, early later
POINTS = {"rate": RATES, "noise_level": np.array([0.3, 0.3, 0.1, 0.2])}
KEYS = jax.random.split(jax.random.key(0), 4)
EPOCHS = 8
OPTIONS = {"examples": 32, "monitor": "validation_loss", "patience": 2, "progress": False}


def member(point):
    model = jaxae.denoising(6, 2, activation="identity", noise_level=point["noise_level"])
    return model, jaxae.gradient(model.loss, optax.sgd(point["rate"]))


def evaluate(model):
    return evaluation.validation(model, jax.random.key(1))


def make(points=POINTS, keys=KEYS, build=member, **options):
    options = {"evaluate": evaluate, "validation": HELD_OUT, "chunk": 2, **options}
    return over_members(build, DATA, points, keys, batch_size=16, **options)


@pytest.fixture(scope="module")
def parts():
    return make()


def go(parts, folder, epochs=EPOCHS, **options):
    return run(parts[1], parts[0], folder, epochs=epochs, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    """An uninterrupted run and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return go(parts, folder), folder


@jax.jit
def begin(key, point):
    return jaxae.start(*member(point), DATA, key)


@jax.jit
def one_epoch(state, key, point, epoch):
    model, learner = member(point)
    judge = lambda params: evaluate(model)(params, HELD_OUT)  # noqa: E731
    options = {"epochs": 1, "batch_size": 16, "evaluate": judge, "first_epoch": epoch}
    state, history = jaxae.fit(learner, state, DATA, key, **options)
    return state, jax.tree.map(lambda a: a[0], history)


def solo(i, folder, **options):
    """The run of member i by itself; None in its place where it diverges."""
    point = {name: jnp.float32(a[i]) for name, a in POINTS.items()}
    state, key = begin(KEYS[i], point)
    try:
        return go((state, lambda now, epoch: one_epoch(now, key, point, epoch)), folder, **options)
    except DivergenceError:
        return None


def lines_of(folder, i=None):
    lines = [{**line, "seconds": 0} for line in read_rows(folder / "metrics.jsonl")]
    if i is None:
        return lines
    mine = [line for line in lines if line["member"] == i]
    return [{k: v for k, v in line.items() if k != "member"} for line in mine]


def facts(result, folder):
    """Everything of a run that a resume must bring back, exactly."""
    leaves = jax.tree.leaves((result.state, result.best, result.best_epoch, result.diverged))
    return [np.asarray(a).tobytes() for a in leaves], result.stopped, lines_of(folder)


def assert_close(tree, expected):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_each_member_equals_a_run_of_its_own_with_that_patience(whole, tmp_path):
    result, folder = whole
    assert result.diverged.tolist() == [False, True, False, False]
    for i in (0, 2, 3):
        alone = solo(i, tmp_path / str(i))
        assert result.best_epoch[i] == alone.best_epoch
        assert_close(take(result.best, i), alone.best)
        assert_close(take(result.state, i), alone.state)
        mine, theirs = lines_of(folder, i), lines_of(tmp_path / str(i))
        assert [line.keys() for line in mine] == [line.keys() for line in theirs]
        for ours, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose([*ours.values()], [*other.values()], rtol=1e-5, atol=1e-5)
    counts = [len(lines_of(folder, i)) for i in (0, 2, 3)]
    assert min(counts) < EPOCHS == max(counts)  # one stopped early, and one did not


def test_a_member_that_diverges_is_kept_as_it_was_and_has_null_and_then_no_lines(whole, tmp_path):
    result, folder = whole
    assert solo(1, tmp_path / "alone") is None
    manager = open_checkpoints(tmp_path / "alone/checkpoints", write=False)
    kept = restore(manager, state=take(result.state, 1), best=take(result.best, 1))
    manager.close()
    chex.assert_tree_all_finite((take(result.state, 1), kept["state"]))
    assert_close(take(result.state, 1), kept["state"])
    assert_close(take(result.best, 1), kept["best"])
    lines, before = lines_of(folder, 1), lines_of(tmp_path / "alone")
    assert 1 < len(lines) == len(before) + 1 < EPOCHS
    assert [None in line.values() for line in lines] == [False] * len(before) + [True]
    assert "NaN" not in (folder / "metrics.jsonl").read_text()


def test_there_is_a_line_for_each_member_and_epoch_until_it_stops(whole):
    result, folder = whole
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["member"]) for line in lines[:8]] == [
        (epoch, i) for epoch in (1, 2) for i in range(4)
    ]
    last = {line["member"]: line["epoch"] for line in lines}
    assert last[0] == result.best_epoch[0] + 2 < EPOCHS
    assert last[2] == EPOCHS
    assert result.stopped == "finished"


def test_what_becomes_of_one_member_changes_no_bit_of_the_others(whole, tmp_path):
    tame = {**POINTS, "rate": np.where(RATES == 1.0, 0.1, RATES)}
    other = go(make(tame), tmp_path / "run")
    assert not other.diverged.any()
    rows = np.array([0, 2, 3])
    for tree, expected in ((other.state, whole[0].state), (other.best, whole[0].best)):
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a[rows], b[rows])
    for i in rows:
        assert lines_of(tmp_path / "run", i) == lines_of(whole[1], i)


@pytest.mark.parametrize("first", [1, 3, 6])
def test_a_stopped_and_resumed_sweep_equals_an_uninterrupted_one(first, parts, whole, tmp_path):
    go(parts, tmp_path / "run", epochs=first)
    resumed = go(parts, tmp_path / "run", resume=True)
    assert facts(resumed, tmp_path / "run") == facts(*whole)


def test_when_all_members_diverge_it_is_an_error_and_the_last_good_states_are_kept(tmp_path):
    parts = make({**POINTS, "rate": np.full(4, 1.0)})
    with pytest.raises(DivergenceError, match="diverged in epoch"):
        go(parts, tmp_path / "run", patience=None)
    lines = lines_of(tmp_path / "run")
    assert {line["member"] for line in lines} == {0, 1, 2, 3}
    with pytest.raises(DivergenceError):
        go(parts, tmp_path / "run", patience=None, resume=True)
    assert lines_of(tmp_path / "run") == lines


def test_all_epochs_are_one_program_that_is_traced_twice_and_compiled_once(caplog):
    traces = []

    def counted(point):
        traces.append(0)
        return member(point)

    state, advance = make(build=counted)
    assert 1 <= len(traces) <= 2
    del traces[:]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        state, _ = advance(state, 0)
        first = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
        caplog.clear()
        for epoch in range(1, 4):
            state, _ = advance(state, epoch)
        again = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
    assert len([message for message in first if "float32[32,6]" in message]) == 1
    assert not again
    assert 1 <= len(traces) <= 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": None}, "belong together"),
        ({"evaluate": None}, "belong together"),
        ({"keys": KEYS[:3]}, "one row for each member"),
        ({"points": {"rate": RATES, "noise_level": RATES[:2]}}, "one row for each member"),
        ({"points": {"rate": 0.1}}, "one row for each member"),
        ({"data": DATA["x"]}, "A batch is a mapping"),
        ({"data": {"y": DATA["x"]}}, "A batch is a mapping"),
        ({"batch_size": 33}, "at most the 32 examples; got 33"),
        ({"batch_size": 0}, "batch_size is a positive integer"),
        ({"batch_size": 1.5}, "batch_size is a positive integer"),
        ({"chunk": 0}, "chunk is a positive number of members; got 0"),
        ({"chunk": 1.5}, "chunk is a positive number of members; got 1.5"),
        ({"devices": []}, "devices has none"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_model_is_built(changes, message):
    given = {"member": pytest.fail, "data": DATA, "points": POINTS, "keys": KEYS}
    given |= {"batch_size": 16, "evaluate": evaluate, "validation": HELD_OUT}
    with pytest.raises(ValueError, match=message):
        over_members(**{**given, **changes})


def test_a_killed_and_resumed_sweep_equals_an_uninterrupted_one(tmp_path):
    path = Path(__file__).with_name("test_resume.py")
    spec = importlib.util.spec_from_file_location("resuming", path)
    resuming = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resuming)
    resuming.SCRIPT = path.with_name("killable_members.py")
    resuming.EPOCHS = 8
    resuming.num_rows = lambda folder: max(
        (line["epoch"] for line in read_rows(folder / "metrics.jsonl")), default=0
    )
    np.save(tmp_path / "digits.npy", rng.random((400, 64), np.float32))
    start = resuming.Training
    never = start(tmp_path / "never", tmp_path, checkpoint_seconds=1000, resume=False)
    assert never.finish()[:2] == (0, "finished")
    killed = start(tmp_path / "killed", tmp_path, pause=0.05, resume=False)
    killed.wait_until(lambda: resuming.finished_saves(killed.folder))
    killed.kill_during_save()
    assert start(killed.folder, tmp_path).finish()[:2] == (0, "finished")
    with np.load(tmp_path / "killed.npz") as ours, np.load(tmp_path / "never.npz") as theirs:
        assert len(theirs.files) > 8
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs.files)
    assert lines_of(killed.folder) == lines_of(never.folder)
    assert len(lines_of(never.folder)) < 3 * 8  # one diverged
