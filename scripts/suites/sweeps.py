"""Speed of sweeps: many trainings as one program, beside one after the other."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from suites.rows import Outcome, Row
from suites.speed import ratios, take_turns
from suites.sweep_workers import (
    BARE_1,
    BARE_2,
    CASES,
    SOLO,
    SWEEP_1,
    SWEEP_2,
    TORCH,
    TORCH_MEMBERS,
    Case,
)

SCRIPT = "sweep_workers.py"


def small(quick: bool) -> Outcome:
    """64 members that are far too small to fill a core, against loops over them."""
    name = "digits, quick" if quick else "digits"
    case = CASES[name]
    peers = [TORCH] if find_spec("torch") else []
    seconds, first = _turns(name, [SWEEP_2, SWEEP_1, SOLO, BARE_2, BARE_1, *peers], quick)
    pairs = [(SOLO, SWEEP_2), (SWEEP_1, SWEEP_2), (SWEEP_2, BARE_2), (SWEEP_1, BARE_1)]
    found = {pair: ratios(seconds, *pair) for pair in [*((p, SWEEP_2) for p in peers), *pairs]}
    compiling = _compilations(name, 1 if quick else 5)
    middle = {pair: float(np.median(values)) for pair, values in found.items()}
    holds = middle[SOLO, SWEEP_2] >= 1.5 and middle[SWEEP_1, SWEEP_2] >= 1.4
    holds = holds and float(np.median(compiling)) <= 1.5
    absent = "" if peers else "; PyTorch is not installed: it was not run"
    return Outcome(
        _per_step(case, seconds)
        | {f"{top} / {bottom}": values for (top, bottom), values in found.items()}
        | {"compilation, sweep / one member": compiling},
        reference="bare products: forward, kernel and input gradients of the same shapes, nothing "
        f"else{absent}",
        bar="2 devices: at least 6 × faster than PyTorch, 1.5 × than the loop of solo runs, 1.4 × "
        "than 1 device; compilation at most 1.5 × that of one member",
        holds=holds and middle[TORCH, SWEEP_2] >= 6 if peers else None,
        protocol=f"scikit-learn's digits, {_words(case)}; host devices of one processor. PyTorch "
        f"trains {TORCH_MEMBERS} of the members, on one thread or two as is faster, and is scaled. "
        "Compilation: first call less second, of two epochs and on one device, in fresh "
        "interpreters in turn",
        compile_seconds=first,
    )


def large(quick: bool) -> Outcome:
    """Members of which one fills the machine: a sweep must not cost more than a loop."""
    name = "images, quick" if quick else "images"
    seconds, first = _turns(name, [SWEEP_1, SWEEP_2, SOLO, BARE_1], quick)
    pairs = [(SWEEP_1, SOLO), (SWEEP_2, SOLO), (SOLO, BARE_1)]
    found = {f"{top} / {bottom}": ratios(seconds, top, bottom) for top, bottom in pairs}
    return Outcome(
        _per_step(CASES[name], seconds) | found,
        reference="bare products: forward, kernel and input gradients of the same shapes, nothing "
        "else",
        bar="the sweep, on 1 device and on 2, at most 1.1 × the loop of solo runs",
        holds=all(float(np.median(found[f"{s} / {SOLO}"])) <= 1.1 for s in (SWEEP_1, SWEEP_2)),
        protocol=f"MNIST, {_words(CASES[name])}; host devices of one processor",
        compile_seconds=first,
    )


def _turns(
    name: str, peers: list[str], quick: bool
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each peer for all members of a case, in each round, and of its first call."""
    names = {f"{name}: {peer}": peer for peer in peers}
    seconds, first = take_turns([*names], 1 if quick else 7, SCRIPT)
    scale = {TORCH: CASES[name].members / TORCH_MEMBERS}
    whole = {
        peer: [scale.get(peer, 1.0) * s for s in seconds[full]] for full, peer in names.items()
    }
    return whole, {peer: first[full] for full, peer in names.items()}


def _per_step(case: Case, seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    steps = case.members * case.steps
    return {f"{k}: µs per member-step": [1e6 * s / steps for s in v] for k, v in seconds.items()}


def _words(case: Case) -> str:
    return (
        f"{case.rows:,} rows, {case.members} denoising autoencoders "
        f"{'-'.join(map(str, case.layers))} ReLU, {case.levels} masking levels from 0 to 0.6 × "
        f"{case.seeds} seeds, {case.epochs} epochs, batch {case.batch}, float32, Adam; one process "
        "each, all members in turn; median [quartiles]"
    )


def _compilations(name: str, rounds: int) -> list[float]:
    """How much longer a sweep takes to compile than one member, in each round."""
    return [_compilation(name, "sweep") / _compilation(name, "member") for _ in range(rounds)]


def _compilation(name: str, what: str) -> float:
    script = str(Path(__file__).with_name(SCRIPT))
    command = [sys.executable, script, "compile", name, what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


ROWS = (
    Row("sweep-speed", "A sweep of 64 small members", small, spread="pairs"),
    Row("sweep-large", "A sweep of large members", large, spread="pairs"),
)
