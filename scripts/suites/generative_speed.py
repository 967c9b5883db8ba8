"""Speed of variational autoencoders, as ratios of processes that take turns."""

from importlib.util import find_spec

import numpy as np

from suites.generative_workers import NLL, PRODUCTS, TORCH_VAE, VAE
from suites.rows import Outcome, Row
from suites.speed import ratios, take_turns


def step_speed(quick: bool) -> Outcome:
    """An epoch of a VAE against PyTorch."""
    peers = list(TORCH_VAE) if find_spec("torch") else []
    names = [VAE, *peers]
    seconds, first = take_turns(names, 3 if quick else 20, "generative_workers.py")
    measured = {f"{name}: s per epoch": values for name, values in seconds.items()}
    for peer in peers:
        measured[f"{peer} / {VAE}"] = ratios(seconds, peer, VAE)
    fastest = min(peers, key=lambda peer: float(np.median(seconds[peer])), default=None)
    return Outcome(
        measured,
        reference="PyTorch on the same machine" if peers else "PyTorch is not installed",
        bar="at least 1.3 × faster than PyTorch's best",
        holds=float(np.median(measured[f"{fastest} / {VAE}"])) >= 1.3 if fastest else None,
        protocol="784-500-500-20 ReLU, Bernoulli on grey pixels, batch 100, 20,000 images, float32,"
        " Adam; one process each, an epoch each in turn; median [quartiles]",
        compile_seconds=first,
    )


def likelihood_speed(quick: bool) -> Outcome:
    """Importance sampling against the matrix products of its decoder."""
    seconds, first = take_turns([NLL, PRODUCTS], 2 if quick else 10, "generative_workers.py")
    measured = {f"{name}: s for 100 images": values for name, values in seconds.items()}
    measured[f"{NLL} / products"] = ratios(seconds, NLL, PRODUCTS)
    return Outcome(
        measured,
        reference="10,000 images take a hundred times as long",
        bar="at most 1.2 × the time of its matrix products",
        holds=float(np.median(measured[f"{NLL} / products"])) <= 1.2,
        protocol="784-200-200-50 tanh, 5,000 draws for each of 100 binary images, float32; one "
        "process each, in turn; median [quartiles]",
        compile_seconds=first,
    )


ROWS = (
    Row("vae-speed", "An epoch of a VAE", step_speed, spread="pairs"),
    Row("nll-speed", "5,000-sample likelihood", likelihood_speed, spread="pairs"),
)
