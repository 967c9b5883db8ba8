"""Runs: the host's loop around compiled epochs, with everything that outlives a process."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Metrics, Params
from jaxae.training import checkpoints
from jaxae.training.fitting import Advance
from jaxae.training.folders import Row, keep_rows, open_folder


class Run(NamedTuple):
    """What a run leaves in memory.

    Attributes:
        state: after the last epoch.
        best: the parameters of the epoch with the lowest monitored metric.
        rows: metrics of each epoch, as in `metrics.jsonl`.
        best_epoch: the number of epochs that `best` had seen.
        stopped: why it ended: "finished", "early" (patience ran out) or "interrupted".
    """

    state: Any
    best: Params
    rows: list[Row]
    best_epoch: int
    stopped: Literal["finished", "early", "interrupted"]


class DivergenceError(FloatingPointError):
    """The loss or a parameter is no finite number any more."""


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
        DivergenceError: the loss or the parameters are not finite; the last good state is kept.
    """
    _check(epochs, patience)
    folder = Path(folder)
    open_folder(folder, json.loads(json.dumps(config or {})), resume)
    with ExitStack() as stack:
        interrupted = stack.enter_context(_stop_signals())  # until the last save is on disk
        manager = checkpoints.open_checkpoints(folder / "checkpoints")
        stack.callback(manager.close)
        saved = checkpoints.restore(manager, state=state, best=state.params)
        state, best = saved.get("state", state), saved.get("best", state.params)
        rows = keep_rows(folder / "metrics.jsonl", saved.get("epoch", 0))
        log = stack.enter_context(open(folder / "metrics.jsonl", "a"))
        if rows:
            _check_monitor(monitor, rows[-1], saved["monitor"])
        bar = stack.enter_context(_bar(epochs, len(rows), progress, title))
        saved_epoch, saved_at = len(rows), time.monotonic()
        try:
            while (stopped := _why_stop(rows, epochs, monitor, patience, interrupted)) is None:
                after, row = _one_epoch(advance, state, len(rows), monitor)
                log.write(json.dumps(row) + "\n")
                log.flush()
                is_best = best_epoch([*rows, row], monitor) == len(rows) + 1
                # at once, so that a second Ctrl-C, wherever it strikes, leaves what fits together
                state, best, rows = after, after.params if is_best else best, [*rows, row]
                rate = f"{examples / row['seconds']:,.0f}"
                bar.set_postfix({monitor: row[monitor], "examples/s": rate}, refresh=False)
                bar.update()
                if time.monotonic() - saved_at > checkpoint_seconds:
                    _save(manager, log, len(rows), state, best, monitor)
                    saved_epoch, saved_at = len(rows), time.monotonic()
        finally:  # also after a divergence or an error: `state` is the last good one
            if saved_epoch != len(rows):
                _save(manager, log, len(rows), state, best, monitor)
    return Run(state, best, rows, best_epoch(rows, monitor), stopped)


def best_epoch(rows: list[Row], monitor: str) -> int:
    """How many epochs the run with the lowest `monitor` had seen, the first of equals."""
    values = [row[monitor] for row in rows]
    return 1 + values.index(min(values)) if rows else 0


def _check(epochs: int, patience: int | None) -> None:
    for name, value in (("epochs", epochs), ("patience", 1 if patience is None else patience)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is a positive integer; got {value!r}.")


def _one_epoch(advance: Advance, state: Any, epoch: int, monitor: str) -> tuple[Any, Row]:
    start = time.perf_counter()
    state, metrics = advance(state, epoch)
    _wait_for(metrics)
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    _check_monitor(monitor, values)
    watched = [values[name] for name in ("loss", monitor) if name in values]
    if not (np.all(np.isfinite(watched)) and _all_finite(state.params)):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        kept = (
            f"The last good state, after epoch {epoch}, is kept in the checkpoint."
            if epoch
            else "No epoch was finished before, so no checkpoint was written."
        )
        raise DivergenceError(
            f"Training diverged in epoch {epoch + 1} ({shown}). {kept} Try a smaller learning "
            "rate, or clip gradients (optax.clip_by_global_norm)."
        )
    return state, {"epoch": epoch + 1, "seconds": time.perf_counter() - start, **values}


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
    os.fsync(log.fileno())  # the rows of these epochs come to disk before the checkpoint
    checkpoints.save(manager, epochs, state, best, monitor)


def _why_stop(
    rows: list[Row], epochs: int, monitor: str, patience: int | None, interrupted: threading.Event
) -> Literal["finished", "early", "interrupted"] | None:
    if len(rows) >= epochs:
        return "finished"
    if patience is not None and len(rows) - best_epoch(rows, monitor) >= patience:
        return "early"
    return "interrupted" if interrupted.is_set() else None


@jax.jit
def _all_finite(params: Params) -> jax.Array:
    floats = [a for a in jax.tree.leaves(params) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(a)) for a in floats]))


def _bar(epochs: int, done: int, progress: bool | None, title: str) -> Any:
    from tqdm import tqdm

    hide = None if progress is None else not progress
    bar = {"total": epochs, "initial": done, "unit": "epoch", "desc": title or None}
    return tqdm(**bar, disable=hide, dynamic_ncols=True)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C raises KeyboardInterrupt."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def stop(number: int, frame: Any) -> None:
        del frame
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
