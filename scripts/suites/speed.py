"""Speed of a training epoch, as ratios of processes that take turns."""

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from suites.rows import Outcome, Row

OURS, BARE = "jaxae", "bare products"
TORCH = ("PyTorch eager, fused Adam", "PyTorch compiled, fused Adam")
PROTOCOL = (
    "MNIST, 20,000 images, 784-300-150-300-784 ELU, batch 150, float32, Adam; one process each, "
    "three epochs each in turn; median [quartiles]"
)


def take_turns(
    names: list[str], rounds: int, script: str = "workers.py"
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each worker in each round, and of its first call with preparation."""
    path = str(Path(__file__).with_name(script))
    with ExitStack() as stack:
        workers = {}
        first = {}
        for name in names:
            workers[name] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, path, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            first[name] = _ask(workers[name], None)["first"]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(
            rounds + 1
        ):  # the first, in which caches and threads settle, is left out
            for name in names:
                took = _ask(workers[name], "again\n")
                seconds[name] += [took] if number else []
        for worker in workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
    return seconds, first


def epoch(quick: bool) -> Outcome:
    """A plain epoch against its bare matrix products and PyTorch."""
    peers = list(TORCH) if find_spec("torch") else []
    seconds, first = take_turns([OURS, BARE, *peers], 3 if quick else 20)
    measured = {f"{name}: s per epoch": values for name, values in seconds.items()}
    measured[f"{OURS} / {BARE}"] = ratios(seconds, OURS, BARE)
    holds = float(np.median(measured[f"{OURS} / {BARE}"])) <= 1.15
    for peer in peers:
        measured[f"{peer} / {OURS}"] = ratios(seconds, peer, OURS)
    if peers:
        fastest = min(peers, key=lambda peer: float(np.median(seconds[peer])))
        holds = holds and float(np.median(measured[f"{fastest} / {OURS}"])) >= 1.3
    absent = "" if peers else "; PyTorch is not installed: no peer was run"
    return Outcome(
        measured,
        reference=f"bare products: forward, kernel and input gradients of the same shapes{absent}",
        bar="at most 1.15 × the bare products, at least 1.3 × faster than PyTorch's best",
        holds=holds if peers else None,
        protocol=PROTOCOL,
        compile_seconds=first,
    )


def denoising(quick: bool) -> Outcome:
    """A denoising epoch against a plain one."""
    noisy = ["jaxae, masking 0.3", "jaxae, Gaussian 0.5"]
    seconds, first = take_turns([OURS, *noisy], 3 if quick else 20)
    measured = {f"{name}: s per epoch": values for name, values in seconds.items()}
    ratios = {f"{name} / plain": ratios(seconds, name, OURS) for name in noisy}
    return Outcome(
        {**measured, **ratios},
        reference="the plain epoch of the same network",
        bar="each at most 1.25 × the plain epoch",
        holds=all(float(np.median(r)) <= 1.25 for r in ratios.values()),
        protocol=PROTOCOL,
        compile_seconds=first,
    )


def _ask(worker: subprocess.Popen[str], line: str | None) -> Any:
    assert worker.stdin is not None
    assert worker.stdout is not None
    if line is not None:
        worker.stdin.write(line)
        worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError(f"The worker {worker.args!r} ended early; its error is above.")
    return json.loads(answer)


def ratios(seconds: dict[str, list[float]], top: str, bottom: str) -> list[float]:
    """The ratio of each round."""
    return [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)]


ROWS = (
    Row("speed-epoch", "A training epoch", epoch, spread="pairs"),
    Row("speed-denoising", "A denoising epoch", denoising, spread="pairs"),
)
