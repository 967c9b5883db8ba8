"""Variational autoencoders: against closed forms, and against published likelihoods."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, as_float
from suites.generative_workers import NLL, PRODUCTS, TORCH_VAE, VAE
from suites.rows import Outcome, Row
from suites.speed import ratios, take_turns
from suites.training import train

SHAPE, PIXELS, SAMPLES = (28, 28, 1), 784, 5000
NET: dict[str, Any] = {
    "hidden_dims": (200, 200),
    "activation": "tanh",
    "kernel_init": "glorot_uniform",
}
EPOCHS, BATCH = 121, 20
PUBLISHED = (
    "3,280 epochs: 86.76 (k = 1), 85.54 (k = 5), 84.78 (k = 50) (Burda et al., 2016); an "
    "independent re-run 86.35, 85.18, 84.59"
)


def principal_components(quick: bool) -> Outcome:
    """A linear VAE with one learned scale, whose optimum is probabilistic PCA."""
    low_rank = jaxae.synthetic.low_rank(jax.random.key(0), 2000, dim=20, rank=4, noise=0.5).x
    digits = jaxae.load("digits", "train")["x"].reshape(-1, 64)
    gaps: dict[str, tuple[float, float]] = {}
    measured: dict[str, list[float]] = {}
    for name, x, latent_dim in (("synthetic", low_rank, 4), ("digits", digits, 16)):
        found, exact = _linear_vae(floats(x), latent_dim, 200 if quick else 4000)
        gaps[name] = abs(found - exact), abs(found - exact) / abs(exact)
        measured[f"{name}: ELBO, nats per example"] = [found]
        measured[f"{name}: PCA.score of scikit-learn"] = [exact]
    return Outcome(
        measured,
        reference="`sklearn.decomposition.PCA.score`, the mean log-likelihood of probabilistic "
        "PCA (Tipping & Bishop, 1999)",
        bar="within 0.02 nats on the synthetic set, within 0.3 % on digits",
        holds=gaps["synthetic"][0] <= 0.02 and gaps["digits"][1] <= 0.003,
        protocol="2,000 rows of 20 entries of rank 4 with noise 0.5, and the 1,437 training "
        "digits less their mean, 16 codes; full batches, Adam, cosine from 0.02, 4,000 steps; the "
        "ELBO of 1,000 draws of each row, on the rows trained on, as the score is",
    )


def _linear_vae(x: np.ndarray, latent_dim: int, steps: int) -> tuple[float, float]:
    """The ELBO of a trained linear VAE, and the likelihood of probabilistic PCA."""
    from sklearn.decomposition import PCA

    x = x - x.mean(0)
    likelihood = jaxae.likelihoods.gaussian("shared")
    model = jaxae.vae(
        x.shape[1], latent_dim, activation="identity", likelihood=likelihood, samples=8
    )
    tx = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    data = {"x": x}
    (params,) = train(model, tx, data, epochs=steps, batch_size=len(x), seeds=range(1))
    found = jax.jit(evaluation.elbo(model, samples=1000))(params, jax.random.key(1), data)
    return float(found["elbo"]), float(PCA(latent_dim, svd_solver="full").fit(x).score(x))


def likelihoods(quick: bool) -> Outcome:
    """784-200-200-50, dynamically binarised MNIST, k = 1 and 5."""
    measured: dict[str, list[float]] = {}
    means = {}
    for k in (1, 5):
        found, figures = _trained(k, 1 if quick else EPOCHS, quick)
        measured |= figures
        means[k] = found
    return Outcome(
        measured,
        reference=PUBLISHED,
        bar="NLL at most 89.0 nats with k = 1 and 87.9 with k = 5",
        holds=means[1] <= 89.0 and means[5] <= 87.9,
        protocol=_protocol(EPOCHS),
    )


def many_samples(quick: bool) -> Outcome:
    """The same with k = 50, for 40 epochs."""
    _, measured = _trained(50, 1 if quick else 40, quick)
    return Outcome(measured, reference=PUBLISHED, bar="", holds=None, protocol=_protocol(40))


def _protocol(epochs: int) -> str:
    return (
        "MNIST 59,600 / 400 / 10,000, pixels drawn as 0 or 1 anew in each batch, test pixels "
        f"once; tanh, 50 codes, batch {BATCH}, {epochs} epochs, Adam (ε 1e-4), cosine from 1e-3 "
        "to 0; NLL by 5,000 importance samples of each test image; active units: variance of the "
        "posterior mean above 0.01; one seed"
    )


def _trained(k: int, epochs: int, quick: bool) -> tuple[float, dict[str, list[float]]]:
    """Test NLL of one training with k samples, and the row's figures."""
    model = jaxae.iwae(SHAPE, 50, samples=k, **NET) if k > 1 else jaxae.vae(SHAPE, 50, **NET)
    rows = jaxae.load("mnist", "train")
    train_rows, _ = jaxae.split(rows, 400 / 60000, seed=0)
    train_rows = {"x": train_rows["x"][: 2000 if quick else None]}
    steps = epochs * (len(train_rows["x"]) // BATCH)
    tx = optax.adam(optax.cosine_decay_schedule(1e-3, steps), eps=1e-4)
    began = time.perf_counter()
    drawn = jaxae.binarised(model)
    (params,) = train(drawn, tx, train_rows, epochs=epochs, batch_size=BATCH, seeds=range(1))
    hours = (time.perf_counter() - began) / 3600
    test = binary_test(200 if quick else None)
    samples = 50 if quick else SAMPLES
    found = float(jax.jit(evaluation.nll(model, samples))(params, jax.random.key(2), test).mean())
    parts = jax.jit(evaluation.elbo(model))(params, jax.random.key(3), test)
    usage = jax.jit(evaluation.unit_usage(model))(params, test)
    return found, {
        f"k = {k}: NLL, nats": [found],
        f"k = {k}: bits per dim": [float(evaluation.bits_per_dim(found, PIXELS))],
        f"k = {k}: ELBO, nats": [float(parts["elbo"])],
        f"k = {k}: rate, nats": [float(parts["rate"])],
        f"k = {k}: active units": [float((usage["variance"] > 0.01).sum())],
        f"k = {k}: hours of training": [hours],
    }


def binary_test(most: int | None = None) -> dict[str, jax.Array]:
    """The test images of MNIST, their pixels drawn as 0 or 1 once."""
    x = jnp.asarray(jaxae.load("mnist", "test")["x"][:most])
    return {"x": jax.random.bernoulli(jax.random.key(0), as_float(x)).astype(jnp.float32)}


def floats(x: Any) -> np.ndarray:
    """Rows as flat floats."""
    return np.asarray(as_float(x), np.float32).reshape(len(x), -1)


def hands_on(quick: bool) -> Outcome:
    """Hands-On Machine Learning's VAE 784-500-500-20, on grey pixels."""
    epochs, batch, seeds = (1, 150, range(2)) if quick else (50, 150, range(3))
    rows = jaxae.load("mnist", "train")
    train_rows, _ = jaxae.split(rows, 5000 / 60000, seed=0)
    train_rows = {"x": train_rows["x"][: 2000 if quick else None]}
    test = {"x": jaxae.load("mnist", "test")["x"]}
    model = jaxae.vae(SHAPE, 20, hidden_dims=(500, 500))
    steps = epochs * (len(train_rows["x"]) // batch)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, 2e-3))
    params = train(model, tx, train_rows, epochs=epochs, batch_size=batch, seeds=seeds)
    measure = jax.jit(evaluation.elbo(model))
    found = [measure(p, jax.random.key(1), test) for p in params]
    losses = [-float(f["elbo"]) for f in found]
    return Outcome(
        {
            "test loss, nats per image": losses,
            "of it the rate": [float(f["rate"]) for f in found],
            "cross-entropy that grey pixels have at least": [floor(test)],
        },
        reference="published 97.6, 101.9 (the last training batches of two runs)",
        bar="at most 97 nats per image",
        holds=float(np.mean(losses)) <= 97.0,
        protocol=f"MNIST 55,000 / 5,000 / 10,000, grey; ELU, batch {batch}, {epochs} epochs, Adam, "
        "one-cycle with peak 2e-3; the loss is a cross-entropy and a rate, no NLL",
    )


def floor(data: Batch) -> float:
    """The mean entropy of the pixels, taken as probabilities: what no cross-entropy goes below."""
    from scipy.special import entr

    x = floats(data["x"]).astype(np.float64)
    return float((entr(x) + entr(1 - x)).sum(1).mean())


def hashing(quick: bool) -> Outcome:
    """30 bits for each image: purity of equal hashes, and search."""
    rows, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    few = {name: a[: 2000 if quick else None] for name, a in rows.items()}
    epochs, bits, at = (1 if quick else 40), 30, 100
    model = jaxae.semantic_hashing(SHAPE, bits, hidden_dims=(500, 250), noise_level=4.0)
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
        protocol=f"MNIST, {bits} bits, 784-500-250-{bits}, noise of scale 4 on the code's input, "
        f"batch 100, {epochs} epochs, Adam, one-cycle with peak 2e-3; each test image searches the "
        "other test images by Hamming distance; 3 seeds",
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


SPEED_ROWS = (
    Row("vae-speed", "An epoch of a VAE", step_speed, spread="pairs"),
    Row("nll-speed", "5,000-sample likelihood", likelihood_speed, spread="pairs"),
)
ROWS = (
    Row("vae-pca", "A linear VAE is probabilistic PCA", principal_components),
    Row("vae-nll", "MNIST likelihood, 784-200-200-50, k = 1 and 5", likelihoods),
    Row("iwae-50", "MNIST likelihood, k = 50", many_samples),
    Row("handson-vae", "Hands-On ch. 17, VAE 784-500-500-20", hands_on),
    Row("semantic-hashing", "Semantic hashing of MNIST", hashing),
)
