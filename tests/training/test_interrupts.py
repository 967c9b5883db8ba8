"""Signals: an interrupt, wherever it strikes, loses nothing that a resume does not bring back."""

import os
import signal
import sys
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import run
from jaxae.training.checkpoints import open_checkpoints
from jaxae.training.folders import read_rows

LOSSES = [5.0, 4.0, 3.0, 3.5, 2.0, 2.5]
STOP = (signal.SIGINT, signal.SIGTERM)


class State(NamedTuple):
    params: dict


START = State({"w": jnp.zeros(3)})


@jax.jit
def walk(state, epoch):
    key = jax.random.fold_in(jax.random.key(0), epoch)
    return State({"w": state.params["w"] + jax.random.normal(key, (3,))})


def scripted(event=None, at=None):
    """A random walk with the losses given; `event` happens in the epoch of number `at`."""

    def advance(state, epoch):
        if epoch == at:
            event()
        return walk(state, epoch), {"loss": LOSSES[epoch]}

    return advance


def go(folder, advance=None, **options):
    options = {"epochs": len(LOSSES), "examples": 1, "checkpoint_seconds": 1000, **options}
    return run(advance or scripted(), START, folder, **options)


def facts(result):
    """Everything of a run but the seconds, exactly."""
    trees = [np.asarray(a).tobytes() for a in jax.tree.leaves((result.state, result.best))]
    rows = [{**row, "seconds": 0} for row in result.rows]
    return trees, rows, result.best_epoch, result.stopped


def saved_epochs(folder):
    manager = open_checkpoints(folder / "checkpoints", write=False)
    steps = list(manager.all_steps())
    manager.close()
    return steps


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return facts(go(tmp_path_factory.mktemp("whole") / "run"))


@pytest.mark.parametrize("number", STOP)
def test_one_signal_ends_the_run_after_the_running_epoch(number, folder, whole):
    result = go(folder, scripted(lambda: signal.raise_signal(number), at=2))
    assert (result.stopped, len(result.rows)) == ("interrupted", 3)
    assert saved_epochs(folder) == [3]
    assert facts(go(folder, resume=True)) == whole


def test_a_second_ctrl_c_ends_it_at_once_and_keeps_the_finished_epochs(folder, whole):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        go(folder, scripted(twice, at=2))
    assert saved_epochs(folder) == [2]
    assert len(read_rows(folder / "metrics.jsonl")) == 2
    assert facts(go(folder, resume=True)) == whole


def test_a_second_sigterm_waits_for_the_epoch_as_the_first_does(folder):
    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert len(go(folder, scripted(twice, at=2)).rows) == 3


class NeverReady:
    """A metric whose computation never ends."""

    def __init__(self):
        self.asked = 0

    def is_ready(self):
        self.asked += 1
        if self.asked in (2, 3):
            os.kill(os.getpid(), signal.SIGINT)
        assert self.asked < 10, "it waits on"
        return False


def test_a_second_ctrl_c_does_not_wait_for_a_compiled_epoch(folder):
    assert walk(START, 0).params["w"].is_ready() in (True, False)  # as arrays of JAX say it
    metric = NeverReady()
    with pytest.raises(KeyboardInterrupt):
        go(folder, lambda state, epoch: (state, {"loss": metric}))
    assert metric.asked == 3


def handlers():
    return [signal.getsignal(number) for number in STOP]


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_handlers_of_before_are_restored(error, folder):
    def fail():
        raise error

    before = handlers()
    signal.signal(signal.SIGTERM, mine := lambda number, frame: None)
    try:
        if error is None:
            go(folder)
        else:
            with pytest.raises(error):
                go(folder, scripted(fail, at=1))
        assert handlers() == [before[0], mine]
    finally:
        signal.signal(signal.SIGTERM, before[1])


def test_a_signal_while_the_last_save_is_written_does_no_harm(folder, monkeypatch):
    import orbax.checkpoint as ocp

    close, ours = ocp.CheckpointManager.close, []

    def interrupted_close(manager):
        ours.append(signal.getsignal(signal.SIGTERM).__module__)
        signal.raise_signal(signal.SIGTERM)
        close(manager)

    monkeypatch.setattr(ocp.CheckpointManager, "close", interrupted_close)
    before = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("not ours"))
    try:
        assert go(folder).stopped == "finished"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ours == ["jaxae.training.processes"]


def test_runs_off_the_main_thread(folder, whole):
    results, before = [], handlers()
    thread = threading.Thread(target=lambda: results.append(go(folder)))
    thread.start()
    thread.join(60)
    assert facts(results[0]) == whole
    assert handlers() == before


def interrupt_at(line, folder, checkpoint_seconds):
    """Runs; in the round after the second epoch raises KeyboardInterrupt before `line` of `run`.

    Returns the lines that were passed in that round.
    """
    passed, epoch = [], [0]

    def trace(frame, event, argument):
        if frame.f_code is not run.__code__:
            return None
        if event == "line" and epoch[0] == 2:
            passed.append(frame.f_lineno)
            if frame.f_lineno == line:
                raise KeyboardInterrupt
        return trace

    def advance(state, number):
        epoch[0] = number
        return scripted()(state, number)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        go(folder, advance, checkpoint_seconds=checkpoint_seconds)
    finally:
        sys.settrace(before)
    return passed


@pytest.mark.parametrize("checkpoint_seconds", [0, 1000])
def test_an_interrupt_at_any_line_of_the_loop_loses_nothing(tmp_path, whole, checkpoint_seconds):
    lines = sorted(set(interrupt_at(None, tmp_path / "lines", checkpoint_seconds)))
    assert len(lines) >= 8
    for line in lines:
        folder = tmp_path / str(line)
        with pytest.raises(KeyboardInterrupt):
            interrupt_at(line, folder, checkpoint_seconds)
        assert saved_epochs(folder)[0] in (2, 3)
        assert facts(go(folder, resume=True)) == whole, f"line {line}"


def test_a_run_over_batches_resumes_bit_for_bit(tmp_path):
    rows = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    model = jaxae.denoising(6, 3, noise_level=0.2)
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    state = learner.init(model.init(jax.random.key(1), {"x": rows}), jax.random.key(2))

    def batches(epoch):
        order = np.random.default_rng(epoch).permutation(24)
        return ({"x": rows[order[i : i + 8]]} for i in range(0, 24, 8))

    def train(folder, epochs, resume=False):
        advance = jaxae.over_batches(learner, batches, jax.random.key(3))
        return facts(run(advance, state, folder, epochs=epochs, examples=24, resume=resume))

    train(tmp_path / "parts", 2)
    assert train(tmp_path / "parts", 4, resume=True) == train(tmp_path / "whole", 4)
