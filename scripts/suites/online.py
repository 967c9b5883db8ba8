"""Online learning: updates per second, one vector at a time."""

from importlib.util import find_spec

import numpy as np

from suites.online_workers import COUNT, NETS, OURS, RATES, SKLEARN, TORCH
from suites.rows import Outcome, Row
from suites.speed import ratios, take_turns


def updates(quick: bool) -> Outcome:
    """One update for each vector of a stream, beside scikit-learn and PyTorch."""
    peers = [SKLEARN, *([TORCH] if find_spec("torch") else [])]
    measured: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    slowest = np.inf
    for net in NETS:
        for optimiser in RATES:
            case = f"{net}, {optimiser}"
            names = [f"{who}, {case}" for who in (OURS, *peers)]
            seconds, began = take_turns(names, 2 if quick else 15, "online_workers.py")
            first |= began
            for name, values in seconds.items():
                measured[f"{name}: updates per s"] = [COUNT / s for s in values]
            for peer in peers:
                faster = ratios(seconds, f"{peer}, {case}", f"{OURS}, {case}")
                measured[f"{case}: {OURS} / {peer}, updates per s"] = faster
                slowest = min(slowest, float(np.median(faster)))
    return Outcome(
        measured,
        reference=f"{SKLEARN}: MLPRegressor.partial_fit of x on x, batch_size=1, no momentum, the "
        "same net and rate"
        + ("" if len(peers) > 1 else "; PyTorch is not installed: it was not run"),
        bar=f"at least as many updates per second as {' and '.join(peers)}, in each case",
        holds=bool(slowest >= 1.0),
        protocol=f"{COUNT:,} vectors of the host, float32, one call and one update each, by "
        f"`jaxae.partial_fit(learner).one`; ReLU code, squared error, SGD {RATES['SGD']:g}, Adam "
        f"{RATES['Adam']:g}; one process each, in turn; median [quartiles]",
        compile_seconds=first,
    )


ROWS = (Row("online-updates", "Online updates, one vector at a time", updates, spread="pairs"),)
