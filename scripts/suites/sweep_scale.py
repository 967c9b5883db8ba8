"""Time and memory of sweeps against members, width and devices: a model, and what it says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from suites.rows import Outcome, Row
from suites.sweep_costs import STEPS, flops, layers, traffic, training

MEMBER, ROWS_OF_DATA, BATCH, EPOCHS = (784, 1000, 500, 1000, 784), 60_000, 100, 100
DAY = 86_400.0
SHARE, REACHED = 0.8, 0.4


class Machine(NamedTuple):
    """Devices of equal memory in bytes, flop/s and bytes/s."""

    name: str
    devices: int
    memory: float
    flops: float
    bandwidth: float


ACCELERATORS = [
    Machine(f"{n} × 80 GB, 19.5 Tflop/s, 2 TB/s", n, 80e9, 19.5e12, 2.0e12) for n in (1, 8)
]


def scale(quick: bool) -> Outcome:
    """Measures a small grid, fits the model to it and applies it on paper."""
    points = _grid(quick)
    matrix = np.array([_terms(p) for p in points])
    seconds = np.array([p["seconds"] for p in points])
    coefficients = _fitted(matrix, seconds)
    model = matrix @ coefficients
    errors = model / seconds - 1
    a, b, c, d = coefficients
    measured = {
        "a: ms for each epoch": [1e3 * a],
        "b: µs for each step of a member": [1e6 * b],
        "c: ms for each Gflop of a member": [1e12 * c],
        "d: ms for each GB of a member": [1e12 * d],
        "greatest error of the model, %": [100 * float(np.abs(errors).max())],
        "median error of the model, %": [100 * float(np.median(np.abs(errors)))],
    }
    for p, guess, error in zip(points, model, errors, strict=True):
        figure = f"{_name(p)}: ms per epoch (model {1e3 * guess:.3g}, {error:+.0%})"
        measured[figure] = [1e3 * p["seconds"]]
    measured |= _memory(points)
    on_paper, words = _paper(coefficients)
    ratios = [p["xla"] / (p["predicted"] + p["data"]) for p in points if "xla" in p]
    return Outcome(
        measured | on_paper,
        reference="on paper, for a member "
        f"{'-'.join(map(str, MEMBER))} trained {EPOCHS} epochs on {ROWS_OF_DATA:,} rows, batch "
        f"{BATCH}: {words}",
        bar="what XLA holds is at most the prediction, and at least a third of it",
        holds=max(ratios) <= 1.0 and min(ratios) >= 1 / 3,
        protocol="members w-w-w/2-w-w ReLU, masking, Adam, "
        f"{STEPS} steps an epoch of 2 epochs in one call, the least of 2 calls; a process for each "
        "width and number of host devices; seconds per epoch = a + members of a device × steps × "
        "(b + c × flops of a step + d × bytes of a step), no coefficient below 0, least squares "
        "of relative errors (`scipy.optimize.nnls`). Memory: predicted by `layout.plan` and the "
        "data, found by XLA's analysis, and the peak resident set over that of one member",
    )


def _grid(quick: bool) -> list[dict[str, float]]:
    widths, members = ((64,), (1, 4)) if quick else ((64, 128, 256, 512), (1, 4, 16, 64))
    points = []
    for devices in (1, 2):
        # one member has one device; another batch tells flops from bytes
        pairs = (
            [*((m, 64) for m in members), (4, 256)]
            if devices == 1
            else [(m, 64) for m in members[1:]]
        )
        for width in widths:
            arguments = [str(width), str(devices), *(f"{m}:{batch}" for m, batch in pairs)]
            script = str(Path(__file__).with_name("sweep_costs.py"))
            done = subprocess.run(
                [sys.executable, script, *arguments], capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{arguments} failed:\n{done.stderr[-2000:]}")
            points += json.loads(done.stdout.splitlines()[-1])
    return points


def _terms(p: dict[str, float]) -> list[float]:
    """What the coefficients a, b, c, d are multiplied with."""
    widths, batch, work = layers(int(p["width"])), int(p["batch"]), p["each"] * STEPS
    return [1.0, work, work * flops(widths, batch), work * traffic(widths, batch)]


def _fitted(matrix: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Least squares of relative errors without negative coefficients, columns of like size."""
    from scipy.optimize import nnls

    relative = matrix / seconds[:, None]
    size = np.linalg.norm(relative, axis=0)
    return nnls(relative / size, np.ones(len(seconds)))[0] / size


def _memory(points: list[dict[str, float]]) -> dict[str, list[float]]:
    """MiB of the sweeps on one device, beside the prediction."""
    found = {}
    points = [p for p in points if p["devices"] == 1 and p["batch"] == 64]
    ones = {p["width"]: p for p in points if p["members"] == 1}
    for p in points:
        if p["members"] == 1:
            continue
        one, guess = ones[p["width"]], p["predicted"] + p["data"]
        found[f"{_name(p)}: MiB by XLA (predicted {guess:.3g})"] = [p["xla"]]
        more = p["predicted"] - one["predicted"]
        found[f"{_name(p)}: peak over one member's, MiB (predicted {more:.3g})"] = [
            p["peak"] - one["peak"]
        ]
    return found


def _paper(coefficients: np.ndarray) -> tuple[dict[str, list[float]], str]:
    """How many members fit into memory, and how many are trained in a day."""
    import jax
    import psutil

    from jaxae.training.memory import footprint

    data = {"x": jax.ShapeDtypeStruct((ROWS_OF_DATA, MEMBER[0]), np.uint8)}
    train = training(MEMBER, BATCH, EPOCHS)
    key = jax.eval_shape(jax.random.key, 0)
    needs = footprint(train, data, key, jax.ShapeDtypeStruct((), np.float32))
    kept, work = needs.kept + needs.copied, needs.work
    rows = ROWS_OF_DATA * MEMBER[0]
    steps, (_, b, c, d) = EPOCHS * (ROWS_OF_DATA // BATCH), coefficients
    f, t = flops(MEMBER, BATCH), traffic(MEMBER, BATCH)
    here = Machine(
        "this processor as 2 devices (by the model)", 2, psutil.virtual_memory().total / 2, 0, 0
    )
    measured, words = {}, []
    for machine in (here, *ACCELERATORS):
        rate = REACHED * machine.flops
        step = max(f / rate, t / machine.bandwidth) if rate else b + c * f + d * t
        fit = machine.devices * max(0, int((SHARE * machine.memory - rows - work) / kept))
        a_day = machine.devices * DAY / (steps * step)
        named = machine.name + ("" if machine is here else ", arithmetic and not measured")
        measured[f"{named}: members that memory holds"] = [float(fit)]
        measured[f"{named}: members trained in a day"] = [a_day]
        first = "a day ends before memory" if a_day < fit else "memory ends before a day"
        words.append(f"{machine.name}: {first}")
    text = (
        f"a member keeps {kept / 2**20:.1f} MiB and works in {work / 2**20:.1f} MiB; "
        f"{'; '.join(words)} (accelerators: {REACHED:.0%} of the flop/s or all of the bytes/s, "
        f"whichever takes longer; {SHARE:.0%} of memory; with P processes each trains 1 / P of "
        "the members, and its host holds the results of all)"
    )
    return measured, text


def _name(p: Any) -> str:
    batch = "" if p["batch"] == 64 else f", batch {p['batch']:.0f}"
    return f"width {p['width']:.0f}, {p['members']:.0f} members, {p['devices']:.0f} devices{batch}"


ROWS = (Row("sweep-scale", "Time and memory of sweeps", scale),)
