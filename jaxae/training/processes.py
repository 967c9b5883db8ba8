"""Several processes that train together: how they meet, agree and end.

All of them run the same program. Of what is written for people (`config.json`, metrics, a
progress bar, figures) the first process writes all; of checkpoints each writes its part.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")

_NO_LIMIT = 10**6  # seconds: peers that have ended wait for one that still draws figures


def connect_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    peer_timeout: int = 60,
) -> None:
    """Joins the processes of one training, by `jax.distributed`; call it before anything else.

    After it `jax.devices()` are those of all processes. Under SLURM, Open MPI and on Cloud
    TPUs it needs no arguments.

    None trains on without the others. One that raises ends at once, not waiting for its peers
    as JAX would; one that dies breaks its connections; and one that falls silent is given up
    after `peer_timeout` seconds. Each ends all others with an error, at once where the
    connections between devices notice it, as those between CPUs do, else after about
    `peer_timeout` seconds. Start all again, on as many devices as there are, with
    `resume=True`. Signals mean what they mean without this call.

    Args:
        coordinator: "host:port" where the first process listens, reached by all.
        num_processes: how many there are.
        process_id: the number of this one, from 0.
        peer_timeout: seconds without a sign of life after which a process counts as dead.

    Raises:
        ValueError: peer_timeout is no positive integer, or the cluster does not say what is
            missing.
        RuntimeError: JAX has computed already, or there was an earlier call.
    """
    if not isinstance(peer_timeout, int) or peer_timeout < 1:
        raise ValueError(f"peer_timeout is a positive integer, seconds; got {peer_timeout!r}.")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from `run`
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        heartbeat_timeout_seconds=peer_timeout,
        shutdown_timeout_seconds=_NO_LIMIT,
    )
    if jax.process_count() > 1:
        sys.excepthook = _ending(sys.excepthook)


def is_first() -> bool:
    """Whether this process is the one that writes for people; a lone one is.

    >>> is_first()
    True
    """
    return jax.process_index() == 0


def anyone(fact: bool) -> bool:
    """Whether `fact` holds in any process; all must ask.

    >>> anyone(False), anyone(True)
    (False, True)
    """
    if jax.process_count() == 1:
        return fact
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(fact))))


def from_first(work: Callable[[], T]) -> T:
    """What `work()` returns in the first process, which alone does it; all must ask.

    What it raises there is raised in all.

    >>> from_first(lambda: {"epoch": 3})
    {'epoch': 3}
    """
    if jax.process_count() == 1:
        return work()
    if not is_first():
        value, error = pickle.loads(_sent(b""))
    else:
        value, error = _tried(work)
        _sent(pickle.dumps((value, error)))
    if error is not None:
        raise error
    return value


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
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


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _sent(text: bytes) -> bytes:
    """The text of the first process."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    size = int(broadcast_one_to_all(np.int32(len(text))))
    letters = np.frombuffer(text, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.asarray(broadcast_one_to_all(letters), np.uint8).tobytes()


def _ending(show: Callable[..., Any]) -> Callable[..., Any]:
    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        show(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # JAX's own ending waits for peers that wait for this process

    return end
