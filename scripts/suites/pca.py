"""Linear autoencoders against principal components."""

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from suites.rows import Outcome, Row
from suites.training import train


def digits(quick: bool) -> Outcome:
    """Test error and subspace of linear autoencoders on digits, k = 2, 8, 32."""
    rows, test = jaxae.load("digits", "train"), jaxae.load("digits", "test")
    num, steps, seeds = len(rows["x"]), 200 if quick else 4000, range(2 if quick else 5)
    measured: dict[str, list[float]] = {}
    reference = []
    for k in (2, 8, 32):
        pca = evaluation.pca_baseline(rows, test, k)
        model = jaxae.linear((8, 8, 1), k)
        tx = optax.lbfgs(memory_size=50)
        params = train(model, tx, rows, epochs=steps, batch_size=num, seeds=seeds)
        excess, angles = [], []
        for p in params:
            error = float(evaluation.reconstruction(model)(p, test)["squared_error"])
            excess.append(100 * (error / pca["squared_error"] - 1))
            kernel = np.asarray(p["decoder"]["layer_0"]["kernel"])
            angles.append(float(evaluation.principal_angles(kernel.T, pca["components"].T)[0]))
        measured[f"k={k}: test error above PCA's, %"] = excess
        measured[f"k={k}: largest principal angle, rad"] = angles
        reference.append(f"k={k}: {pca['squared_error']:.4f}")
    holds = all(
        max(map(abs, values)) <= (0.1 if "%" in name else 0.01) for name, values in measured.items()
    )
    return Outcome(
        measured,
        reference=f"scikit-learn PCA, test squared error per image: {'; '.join(reference)}",
        bar="each seed within 0.1 % of PCA's test error, angle under 0.01 rad",
        holds=holds,
        protocol=f"digits, {num} train / {len(test['x'])} test rows; L-BFGS (memory 50) on all "
        f"rows at once, {steps} steps",
    )


def mnist(quick: bool) -> Outcome:
    """Test error of a linear autoencoder with 30 codes on MNIST."""
    rows, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    epochs, seeds = (1, range(2)) if quick else (20, range(5))
    model = jaxae.linear((28, 28, 1), 30)
    steps = epochs * (len(rows["x"]) // 500)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, 3e-3))
    params = train(model, tx, rows, epochs=epochs, batch_size=500, seeds=seeds)
    errors = jax.jit(evaluation.reconstruction(model))
    values = [float(errors(p, test)["squared_error"]) for p in params]
    pca = evaluation.pca_baseline(rows, test, 30)["squared_error"]
    mean = evaluation.mean_baseline(rows, test)["squared_error"]
    return Outcome(
        {"test squared error per image": values},
        reference=f"PCA-30 {pca:.3f}, mean {mean:.3f} (same rows)",
        bar="mean at most 13.9",
        holds=float(np.mean(values)) <= 13.9,
        protocol=f"MNIST 60,000 / 10,000; Adam, batch 500, one-cycle peak 3e-3, {epochs} epochs",
    )


ROWS = (
    Row("pca-digits", "Linear autoencoder = PCA, digits", digits),
    Row("pca-mnist", "Linear autoencoder = PCA, MNIST, 30 codes", mnist),
)
