"""Runs: the host's loop around compiled epochs, with everything that outlives a process."""

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Metrics, Params
from jaxae.training import checkpoints, processes
from jaxae.training.fitting import Advance, all_finite
from jaxae.training.folders import Row, keep_rows, open_folder, to_lines
from jaxae.training.standing import Standing


class Run(NamedTuple):
    """What a run leaves in memory.

    Attributes:
        state: after the last epoch.
        best: the parameters of the epoch with the lowest monitored metric.
        rows: metrics of each epoch, as in `metrics.jsonl`; of a sweep arrays `(members,)`.
        best_epoch: the number of epochs that `best` had seen; of a sweep an array.
        stopped: why it ended: "finished", "early" (patience ran out) or "interrupted".
        diverged: whether it did (then it is as before that epoch); of a sweep an array.
    """

    state: Any
    best: Params
    rows: list[Row]
    best_epoch: Any
    stopped: Literal["finished", "early", "interrupted"]
    diverged: Any


class DivergenceError(FloatingPointError):
    """The loss or a parameter is no finite number any more; of a sweep, in every member."""


def run(
    advance: Advance,
    state: Any,
    folder: Path | str,
    *,
    epochs: int,
    examples: int,
    config: Mapping[str, Any] | None = None,
    monitor: str = "loss",
    patience: int | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 10.0,
    progress: bool | None = None,
    title: str = "",
) -> Run:
    """Trains epoch by epoch and keeps in `folder` what is needed to look at it and to go on.

    `config.json`, `metrics.jsonl` (a line for each epoch) and `checkpoints/` (the latest
    state and the best parameters). Ctrl-C and SIGTERM end it after the running epoch with
    the checkpoint written; a second Ctrl-C at once. A run that was stopped, or killed at
    any moment, and then resumed equals an uninterrupted one bit for bit.

    A sweep, whose metrics and state have a row for each member, goes the same way: a line for
    each member and epoch, the best parameters of each. A member that diverged, or found no
    better epoch for `patience`, stays as it is while the others go on.

    Args:
        advance: `(state, epoch) -> (state, metrics)`, of `over_arrays` or `over_batches`.
        state: the learner's initial state.
        folder: of the run; made, and never overwritten.
        epochs: the number of epochs in all.
        examples: the number of examples in an epoch, for the rate that the bar shows.
        config: what JSON can hold and what made `advance` and `state`; a resume with
            another one is refused.
        monitor: the metric whose lowest value marks the best parameters.
        patience: stop after so many epochs without a new lowest value; None never does.
        resume: go on with the run in `folder`.
        checkpoint_seconds: the least time between two checkpoints.
        progress: show a bar; None shows it on a terminal only.
        title: in front of the bar.

    Raises:
        ValueError: the folder has a run and `resume` is False, or none and it is True; the
            configuration differs; the checkpoint does not fit; `monitor` is no metric.
        DivergenceError: the loss or the parameters (of a sweep, of every member) are not
            finite; the last good state is kept.
    """
    _check(epochs, patience)
    folder = Path(folder)
    settings, first = json.loads(json.dumps(config or {})), processes.is_first()
    processes.from_first(lambda: open_folder(folder, settings, resume))
    with ExitStack() as stack:
        # entered first, so that signals are waited for until the last save is on disk
        interrupted = stack.enter_context(processes.stop_signals())
        manager = checkpoints.open_checkpoints(folder / "checkpoints")
        stack.callback(manager.close)
        saved = checkpoints.restore(manager, state=state, best=state.params)
        state, best = saved.get("state", state), saved.get("best", state.params)
        path, done = folder / "metrics.jsonl", saved.get("epoch", 0)
        rows = processes.from_first(lambda: keep_rows(path, done))
        log = stack.enter_context(open(path if first else os.devnull, "a"))
        if rows:
            _check_monitor(monitor, rows[-1], saved["monitor"])
        standing = Standing.of(rows, monitor, patience)
        bar = stack.enter_context(_bar(epochs, len(rows), progress if first else False, title))
        saved_epoch, saved_at, together = len(rows), time.monotonic(), True
        try:
            while (stopped := _why_stop(standing, epochs, interrupted)) is None:
                after, row = _one_epoch(advance, state, len(rows), monitor)
                row = _of_moving(row, standing.moving)
                now, good, better = standing.after(row)
                if not now.moving.any() and now.diverged.all():
                    raise _divergence(row)
                log.write(to_lines(row, np.broadcast_to(standing.moving, good.shape)))
                log.flush()
                chosen = _choose(good, after, state), _choose(better, after.params, best)
                # at once, so that a second Ctrl-C, wherever it strikes, leaves what fits together
                (state, best), rows, standing = chosen, [*rows, row], now
                rate = f"{examples / row['seconds']:,.0f}"
                shown = {monitor: float(np.fmin.reduce(np.ravel(row[monitor]))), "examples/s": rate}
                bar.set_postfix(shown, refresh=False)
                bar.update()
                if processes.anyone(time.monotonic() - saved_at > checkpoint_seconds):
                    _save(manager, log, len(rows), state, best, monitor)
                    saved_epoch, saved_at = len(rows), time.monotonic()
        except BaseException as error:  # of one process alone: it cannot save without its peers
            together = jax.process_count() == 1 or isinstance(error, DivergenceError)
            raise
        finally:  # also after a divergence or an error: `state` is the last good one
            if saved_epoch != len(rows) and together:
                _save(manager, log, len(rows), state, best, monitor)
    return Run(state, best, rows, standing.best_epoch, stopped, standing.diverged)


def _check(epochs: int, patience: int | None) -> None:
    for name, value in (("epochs", epochs), ("patience", 1 if patience is None else patience)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is a positive integer; got {value!r}.")


def _one_epoch(advance: Advance, state: Any, epoch: int, monitor: str) -> tuple[Any, Row]:
    start = time.perf_counter()
    state, metrics = advance(state, epoch)
    _wait_for(metrics)
    values = jax.device_get(metrics)
    _check_monitor(monitor, values)
    members = np.ndim(values[monitor])
    finite = np.asarray(_finite(state.params, members))
    values = {**values, monitor: np.where(finite, values[monitor], np.nan)}
    row = {name: a if members else float(a) for name, a in values.items()}
    return state, {"epoch": epoch + 1, "seconds": time.perf_counter() - start, **row}


def _of_moving(row: Row, moving: np.ndarray) -> Row:
    """The row as `metrics.jsonl` brings it back: NaN where a member had stopped, or in its end."""
    return {
        name: np.where(moving & np.isfinite(a), np.float64(a), np.nan) if np.ndim(a) else a
        for name, a in row.items()
    }


_finite = jax.jit(all_finite, static_argnums=1)


def _divergence(row: Row) -> DivergenceError:
    names = [name for name in row if name not in ("epoch", "seconds")]
    shown = ", ".join(f"{name} {np.ravel(row[name])[0]:.4g}" for name in names)
    kept = (
        f"The last good state, after epoch {row['epoch'] - 1}, is kept in the checkpoint."
        if row["epoch"] > 1
        else "No epoch was finished before, so no checkpoint was written."
    )
    return DivergenceError(
        f"Training diverged in epoch {row['epoch']} ({shown}). {kept} Try a smaller learning "
        "rate, or clip gradients (optax.clip_by_global_norm)."
    )


def _choose(members: np.ndarray, new: Any, old: Any) -> Any:
    """`new` for these members, `old` for the others."""
    if members.all():
        return new
    return _select(members, new, old) if members.any() else old


@jax.jit
def _select(members: jax.Array, new: Any, old: Any) -> Any:
    def chosen(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(members.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(chosen, new, old)


def _wait_for(metrics: Metrics) -> None:
    """Returns when they are computed, and lets signals through, as JAX's own waiting does not."""
    start = time.perf_counter()
    for value in jax.tree.leaves(metrics):
        while hasattr(value, "is_ready") and not value.is_ready():
            time.sleep(min(0.05, 0.01 * (time.perf_counter() - start)))


def _check_monitor(monitor: str, metrics: Mapping[str, float], before: str | None = None) -> None:
    names = sorted(metrics.keys() - {"epoch", "seconds"})
    if monitor not in names:
        raise ValueError(f"monitor is one of the metrics {names}; got {monitor!r}.")
    if before not in (None, monitor):
        raise ValueError(
            f"The run kept the parameters that are best by {before}; it goes on with "
            f"monitor={before!r} only, got {monitor!r}."
        )


def _save(manager: Any, log: IO[str], epochs: int, state: Any, best: Params, monitor: str) -> None:
    if processes.is_first():
        os.fsync(log.fileno())  # the rows of these epochs come to disk before the checkpoint
    checkpoints.save(manager, epochs, state, best, monitor)


def _why_stop(
    standing: Standing, epochs: int, interrupted: threading.Event
) -> Literal["finished", "early", "interrupted"] | None:
    stop = processes.anyone(interrupted.is_set())  # all of them, or none
    if standing.epoch >= epochs:
        return "finished"
    if not standing.moving.any():
        return "early"
    return "interrupted" if stop else None


def _bar(epochs: int, done: int, progress: bool | None, title: str) -> Any:
    from tqdm import tqdm

    hide = None if progress is None else not progress
    bar = {"total": epochs, "initial": done, "unit": "epoch", "desc": title or None}
    return tqdm(**bar, disable=hide, dynamic_ncols=True)
