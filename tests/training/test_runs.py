"""What `run` does besides advancing: stopping, the best parameters, divergence, the bar."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import DivergenceError, run
from jaxae.training.checkpoints import open_checkpoints, restore
from jaxae.training.folders import read_rows

LOSSES = [5.0, 4.0, 4.5, 3.0, 3.5, 3.0, 3.2, 3.1, 2.0, 9.0]


class State(NamedTuple):
    params: dict
    seen: jax.Array


START = State({"w": jnp.zeros(3)}, jnp.zeros((), jnp.int32))


@jax.jit
def walk(state, epoch):
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), epoch), (3,))
    return State({"w": state.params["w"] + noise}, state.seen + 1)


def scripted(losses=LOSSES, event=None, at=None):
    """A random walk whose losses are given; `event` happens in the epoch of number `at`."""

    def advance(state, epoch):
        if epoch == at:
            event()
        return walk(state, epoch), {"loss": np.float32(losses[epoch]), "mse": 0.0}

    return advance


def states_by_hand(epochs):
    """The states after 0, 1, ... epochs."""
    states = [START]
    for epoch in range(epochs):
        states.append(walk(states[-1], epoch))
    return states


def go(folder, advance=None, **options):
    options = {"epochs": 10, "examples": 100, "progress": False, **options}
    return run(advance or scripted(), START, folder, **options)


def bits(tree):
    return [np.asarray(a).tobytes() for a in jax.tree.leaves(tree)]


def facts(result):
    """Everything of a run but the seconds, exactly."""
    rows = [{**row, "seconds": 0} for row in result.rows]
    return bits((result.state, result.best)), rows, result.best_epoch, result.stopped


def saved(folder, start=START):
    manager = open_checkpoints(folder / "checkpoints", write=False)
    items = restore(manager, state=start, best=start.params)
    manager.close()
    return items


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_a_finished_run_holds_state_best_and_rows(folder):
    result = go(folder)
    states = states_by_hand(10)
    assert bits(result.state) == bits(states[10])
    assert (result.best_epoch, result.stopped) == (9, "finished")
    assert bits(result.best) == bits(states[9].params)
    assert result.rows == read_rows(folder / "metrics.jsonl")
    assert [row["loss"] for row in result.rows] == [np.float32(loss) for loss in LOSSES]
    assert [row["epoch"] for row in result.rows] == list(range(1, 11))
    assert all(row["seconds"] > 0 for row in result.rows)


def test_the_last_checkpoint_is_what_the_run_returns(folder):
    result = go(folder)
    items = saved(folder)
    assert items["epoch"] == 10
    assert bits((items["state"], items["best"])) == bits((result.state, result.best))


@pytest.mark.parametrize(("patience", "epochs", "best"), [(1, 3, 2), (2, 6, 4), (4, 8, 4)])
def test_patience_counts_epochs_since_the_first_lowest(patience, epochs, best, folder):
    result = go(folder, patience=patience)
    assert (len(result.rows), result.best_epoch, result.stopped) == (epochs, best, "early")
    states = states_by_hand(epochs)
    assert bits(result.best) == bits(states[best].params)
    assert bits(result.state) == bits(states[epochs])


def test_patience_that_does_not_run_out_finishes(folder):
    assert go(folder, patience=5).stopped == "finished"


@pytest.mark.parametrize("first", [1, 4, 5, 7])
def test_the_stopping_state_survives_a_resume(first, folder, tmp_path):
    go(folder, epochs=first, patience=4)
    resumed = go(folder, patience=4, resume=True)
    assert facts(resumed) == facts(go(tmp_path / "other", patience=4))


def test_a_run_that_stopped_early_goes_on_with_more_patience(folder, tmp_path):
    assert go(folder, patience=1).stopped == "early"
    assert go(folder, patience=1, resume=True).stopped == "early"
    assert facts(go(folder, resume=True)) == facts(go(tmp_path / "other"))


def test_a_finished_run_resumes_to_itself_without_an_epoch(folder):
    result = go(folder)
    assert facts(go(folder, scripted(event=pytest.fail, at=0), resume=True)) == facts(result)


@pytest.mark.parametrize("damage", ["cut", "beyond", "neither"])
def test_rows_beyond_the_checkpoint_run_again(damage, folder, tmp_path):
    go(folder, epochs=4)
    with open(folder / "metrics.jsonl", "a") as log:
        if damage == "beyond":
            log.write('{"epoch": 5, "seconds": 1.0, "loss": -7.0}\n' * 2)
        if damage in ("beyond", "cut"):
            log.write('{"epoch": 7, "sec')
    resumed = go(folder, resume=True)
    assert facts(resumed) == facts(go(tmp_path / "other"))
    assert read_rows(folder / "metrics.jsonl") == resumed.rows


def test_a_row_that_the_checkpoint_needs_is_missed(folder):
    go(folder, epochs=4)
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text()[:-5])
    with pytest.raises(ValueError, match="has 3 rows, the checkpoint 4 epochs"):
        go(folder, resume=True)


def test_a_folder_is_not_overwritten_and_its_configuration_is_kept_to(folder):
    go(folder, epochs=2, config={"dims": (8, 2)})
    with pytest.raises(ValueError, match="not overwritten"):
        go(folder, config={"dims": (8, 2)})
    with pytest.raises(ValueError, match=r"dims: it has \[8, 2\], now given \[8, 3\]"):
        go(folder, config={"dims": (8, 3)}, resume=True)
    assert len(go(folder, config={"dims": (8, 2)}, resume=True).rows) == 10


def test_another_state_than_the_checkpoints_is_refused(folder):
    go(folder, epochs=2)
    other = State({"w": jnp.zeros(4)}, START.seen)
    with pytest.raises(ValueError, match=r"params\.w: saved \[\[3\], 'float32'\], wanted \[\[4\]"):
        run(scripted(), other, folder, epochs=3, examples=1, resume=True)
    assert len(read_rows(folder / "metrics.jsonl")) == 2


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"epochs": 2.0}, {"patience": 0}, {"patience": -1}]
)
def test_counts_are_checked_before_anything_is_made(options, folder):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is a positive integer; got"):
        go(folder, scripted(event=pytest.fail, at=0), **options)
    assert not folder.exists()


def test_an_unknown_monitor_is_an_error_after_one_epoch_and_names_the_metrics(folder):
    message = r"monitor is one of the metrics \['loss', 'mse'\]; got 'val'"
    with pytest.raises(ValueError, match=message):
        go(folder, scripted(event=pytest.fail, at=1), monitor="val")
    assert len(go(folder, resume=True).rows) == 10


@pytest.mark.parametrize("patience", [None, 3])
def test_an_unknown_monitor_on_resume_is_an_error_before_any_epoch(patience, folder):
    go(folder, epochs=2)
    with pytest.raises(ValueError, match=r"one of the metrics \['loss', 'mse'\]; got 'val'"):
        go(folder, scripted(event=pytest.fail, at=2), monitor="val", patience=patience, resume=True)


@pytest.mark.parametrize("what", ["loss", "monitor", "parameter"])
def test_divergence_names_the_epoch_and_keeps_the_last_good_state(what, folder):
    def advance(state, epoch):
        state = walk(state, epoch)
        loss = mse = 1.0 - epoch / 10
        if epoch == 2 and what == "parameter":
            state = State({"w": state.params["w"].at[1].set(jnp.inf)}, state.seen)
        elif epoch == 2:
            loss, mse = (jnp.nan, mse) if what == "loss" else (loss, jnp.inf)
        return state, {"loss": loss, "mse": mse}

    with pytest.raises(DivergenceError, match=r"diverged in epoch 3 .*after epoch 2, is kept"):
        go(folder, advance, monitor="mse")
    assert [row["epoch"] for row in read_rows(folder / "metrics.jsonl")] == [1, 2]
    good = states_by_hand(2)[2]
    items = saved(folder)
    assert items["epoch"] == 2
    assert bits((items["state"], items["best"])) == bits((good, good.params))


def test_a_learning_rate_that_is_too_large_diverges_as_by_hand(folder):
    data = {"x": jax.random.normal(jax.random.key(0), (40, 6))}
    model = jaxae.linear(6, 2)
    learner = jaxae.gradient(model.loss, optax.sgd(2.0))
    start = learner.init(model.init(jax.random.key(1), data), jax.random.key(2))
    advance = jaxae.over_arrays(learner, data, jax.random.key(3), batch_size=20)
    good, loss = [start], 0.0
    while jnp.isfinite(loss):
        state, metrics = advance(good[-1], len(good) - 1)
        good, loss = [*good, state], metrics["loss"]
    bad = len(good) - 1
    assert bad > 1
    assert bits(good[bad]) == bits(good[bad - 1])  # `fit` itself left it as it was
    with pytest.raises(DivergenceError, match=f"diverged in epoch {bad} "):
        run(advance, start, folder, epochs=bad + 5, examples=40, progress=False)
    assert bits(saved(folder, start)["state"]) == bits(good[bad - 1])
    assert len(read_rows(folder / "metrics.jsonl")) == bad - 1


@pytest.mark.parametrize("progress", [False, None])
def test_no_bar_unless_wanted_or_on_a_terminal(progress, folder, capfd):
    go(folder, progress=progress)
    assert capfd.readouterr() == ("", "")


def test_the_bar_shows_the_loss_and_the_rate(folder, capfd):
    go(folder, progress=True)
    output, errors = capfd.readouterr()
    assert output == ""
    last = errors.split("\r")[-1]
    assert "10/10" in last
    assert "loss=9" in last
    assert "examples/s=" in last


def test_the_bar_of_a_resumed_run_begins_where_it_was(folder, capfd):
    go(folder, epochs=4)
    capfd.readouterr()
    go(folder, progress=True, resume=True)
    assert "4/10" in capfd.readouterr().err.split("\r")[1]


def test_a_resume_keeps_the_monitor_by_which_its_best_parameters_are_best(folder):
    go(folder, epochs=2)
    with pytest.raises(ValueError, match=r"best by loss.*got .mse."):
        go(folder, epochs=4, resume=True, monitor="mse")
