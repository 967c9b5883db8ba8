"""Semantic hashing: purity of equal hashes, and search by Hamming distance."""

from collections.abc import Callable

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from suites.generative import SHAPE, floats
from suites.rows import Outcome, Row
from suites.training import train

NOISE = 1.0
"""Purest among 1, 2, 4, 8, 15 on 10,000 held-out training rows, at a precision no less."""


def hashing(quick: bool) -> Outcome:
    """30 bits for each image: purity of equal hashes, and search."""
    rows, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    few = {name: a[: 2000 if quick else None] for name, a in rows.items()}
    epochs, bits, at = (1 if quick else 40), 30, 100
    model = jaxae.semantic_hashing(SHAPE, bits, hidden_dims=(500, 250), noise_level=NOISE)
    steps = epochs * (len(few["x"]) // 100)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, 2e-3))
    params = train(model, tx, {"x": few["x"]}, epochs=epochs, batch_size=100, seeds=range(3))
    known, queries = floats(few["x"]), floats(test["x"])
    ways: dict[str, Callable[[int], np.ndarray]] = {
        "semantic hashing": lambda i: evaluation.to_bits(
            evaluation.codes(model, params[i], {"x": test["x"]})
        ),
        "signs of PCA": lambda i: evaluation.pca_sign_hash(known, queries, bits),
        "random hyperplanes": lambda i: evaluation.random_hyperplane_hash(
            jax.random.key(i), known, queries, bits
        ),
    }
    measured: dict[str, list[float]] = {}
    for name, way in ways.items():
        for i in range(1 if "PCA" in name else 3):
            for figure, value in _searched(way(i), test["y"], at).items():
                measured.setdefault(f"{name}: {figure}", []).append(value)
    real = [_precision(evaluation.codes(model, p, {"x": test["x"]}), test["y"], at) for p in params]
    measured[f"logistic codes by Euclidean distance: precision@{at}"] = real
    means = {name: float(np.mean(values)) for name, values in measured.items()}
    better = all(
        means[f"semantic hashing: {figure}"] > means[f"{other}: {figure}"]
        for figure in ("Gini purity, sets of at least two", f"precision@{at}")
        for other in ("signs of PCA", "random hyperplanes")
    )
    return Outcome(
        measured,
        reference="Gini purity is 1 less the mean impurity Σ p (1 - p) of the sets of equal "
        "hashes; sets of one image are pure by themselves",
        bar="purity (sets of at least two) and precision above signs of PCA and hyperplanes",
        holds=better,
        protocol=f"MNIST, {bits} bits, 784-500-250-{bits}, noise of scale {NOISE:g} on the code's "
        f"input, batch 100, {epochs} epochs, Adam, one-cycle with peak 2e-3; each test image "
        "searches the other test images by Hamming distance; 3 seeds",
    )


def _searched(packed: np.ndarray, y: np.ndarray, at: int) -> dict[str, float]:
    """Purity and precision of one hashing."""
    purity = evaluation.gini_purity(packed, y)
    found, _ = evaluation.hamming_search(packed, packed, at, exclude_self=True)
    return {
        "Gini purity, mean of sets": purity["purity"],
        "Gini purity, sets of at least two": purity["shared_purity"],
        "sets of equal hashes": float(purity["sets"]),
        f"precision@{at}": evaluation.precision_at_k(y, y, found),
    }


def _precision(z: np.ndarray, y: np.ndarray, at: int) -> float:
    found, _ = evaluation.euclidean_search(z, z, at, exclude_self=True)
    return evaluation.precision_at_k(y, y, found)


ROWS = (Row("semantic-hashing", "Semantic hashing of MNIST", hashing),)
