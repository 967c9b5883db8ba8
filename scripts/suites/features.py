"""Features of MNIST's digits from sparse autoencoders, and what linear classifiers see in them."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae import corruptions, evaluation
from jaxae.base import Autoencoder, Batch, Params, as_float
from suites.rows import Outcome, Row
from suites.training import choose, train

SHAPE, RATE, EPOCHS = (28, 28, 1), 1e-3, 20
K, START_K, ALPHAS = 25, 100, (1.0, 1.5, 2.0, 3.0)
Networks = tuple[Autoencoder, dict[float, Autoencoder]]
"""What is trained, and by alpha what then encodes with its parameters."""


class Plan(NamedTuple):
    """An autoencoder, a classifier, and what is chosen on validation rows."""

    build: Callable[[float, int], Networks]
    classifier: Callable[[float], Any]
    batch: int
    noises: Sequence[float]
    costs: Sequence[float]


class Found(NamedTuple):
    """Errors on test rows, in per cent: of codes, one a seed, and of raw pixels."""

    errors: list[float]
    raw: float
    protocol: str


def k_sparse(quick: bool) -> Outcome:
    """1000 linear units of which the largest stay, and logistic regression."""

    def build(noise: float, steps: int) -> Networks:
        parts: dict[str, Any] = {"k": K, "start_k": START_K, "anneal_steps": max(1, steps // 2)}
        trained = jaxae.k_sparse(SHAPE, 1000, corrupt=corruptions.gaussian(noise), **parts)
        return trained, {a: jaxae.k_sparse(SHAPE, 1000, alpha=a, **parts) for a in ALPHAS}

    plan = Plan(build, _logistic, 100, (0.0, 0.3), (1e-3, 3e-3, 1e-2, 3e-2))
    found = _measure(quick, plan)
    return Outcome(
        {"test error, %": found.errors, "raw pixels, %": [found.raw]},
        reference="published 1.35 %, raw pixels 7.20 % (quoted from memory of the paper, to be "
        "checked)",
        bar="mean test error at most 1.35 %",
        holds=float(np.mean(found.errors)) <= 1.35,
        protocol=f"784-1000-784 tied, linear codes, k from {START_K} to {K} over the first half of "
        f"training, alpha * k in use; logistic regression, alpha among {ALPHAS}; {found.protocol}",
    )


def winner_take_all(quick: bool) -> Outcome:
    """2000 units that each fire for 5 % of a batch, and a linear SVM."""

    def build(noise: float, steps: int) -> Networks:
        del steps
        noisy: dict[str, Any] = {"corrupt": corruptions.gaussian(noise)}
        trained = jaxae.winner_take_all(SHAPE, 2000, latent_activation="identity", **noisy)
        return trained, {1.0: jaxae.winner_take_all(SHAPE, 2000)}

    found = _measure(quick, Plan(build, SquaredHinge, 200, (0.1, 0.3), (1e-3, 3e-3, 1e-2, 3e-2)))
    accuracies = [100.0 - error for error in found.errors]
    return Outcome(
        {"test accuracy, %": accuracies, "raw pixels, %": [100.0 - found.raw]},
        reference="published 98.62 % (the authors' code), 98.80 % (the paper, quoted from memory, "
        "to be checked)",
        bar="mean test accuracy at least 98.62 %",
        holds=float(np.mean(accuracies)) >= 98.62,
        protocol="784-2000-784, a unit keeps the largest 5 % of a batch, rectified in use alone so "
        "that no unit dies; linear SVM, one against the rest, squared hinge; " + found.protocol,
    )


def _measure(quick: bool, plan: Plan) -> Found:
    """Chooses noise, alpha and C on validation rows, then fits to all training rows."""
    everything, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    epochs, seeds, few = (1, range(1, 2), 1) if quick else (EPOCHS, range(1, 4), None)
    if quick:
        everything = {name: a[:3000] for name, a in everything.items()}
    rows, held = jaxae.split(everything, 1 / 6, seed=0)

    def fitted(data: Batch, noise: float, seed: int) -> tuple[dict[float, Autoencoder], Params]:
        steps = epochs * (len(data["x"]) // plan.batch)
        model, used = plan.build(noise, steps)
        tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))
        return used, train(model, tx, data, epochs=epochs, batch_size=plan.batch, seeds=[seed])[0]

    tried = {noise: fitted(rows, noise, 0) for noise in plan.noises[:few]}
    options = [
        (noise, alpha, cost)
        for noise, (used, _) in tried.items()
        for alpha in list(used)[:few]
        for cost in plan.costs[:few]
    ]
    errors = {o: _coded(plan, *tried[o[0]], o, rows, held) for o in options}
    best = choose(options, lambda o: errors[o])
    tests = [
        _coded(plan, *fitted(everything, best[0], seed), best, everything, test) for seed in seeds
    ]
    costs = plan.costs[:few]
    raw_cost = choose(costs, lambda c: _error(plan.classifier(c), *_pixels(rows), *_pixels(held)))
    raw = _error(plan.classifier(raw_cost), *_pixels(everything), *_pixels(test))
    alpha = f", alpha {best[1]:g}" if len(tried[best[0]][0]) > 1 else ""
    protocol = (
        f"MNIST, batch {plan.batch}, {epochs} epochs, Adam, cosine from {RATE:g}; Gaussian noise "
        f"{best[0]:g} of {plan.noises}{alpha} and C {best[2]:g} of {plan.costs} chosen after "
        "training on 50,000 rows, by the error on the other 10,000; then all is fitted to all "
        f"60,000, from each seed; features standardised; raw pixels alike, C {raw_cost:g}"
    )
    return Found(tests, raw, protocol)


def _coded(
    plan: Plan,
    used: dict[float, Autoencoder],
    params: Params,
    option: tuple[float, float, float],
    *parts: Batch,
) -> float:
    """The error on the codes of the second part of a classifier for those of the first."""
    model = used[option[1]]
    z, z_test = (np.asarray(evaluation.codes(model, params, {"x": p["x"]})) for p in parts)
    return _error(plan.classifier(option[2]), z, parts[0]["y"], z_test, parts[1]["y"])


def _pixels(part: Batch) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(as_float(part["x"])).reshape(len(part["x"]), -1), part["y"]


def _error(
    machine: Any, z: np.ndarray, y: np.ndarray, z_test: np.ndarray, y_test: np.ndarray
) -> float:
    """The share of test rows that the classifier gets wrong, in per cent; rows standardised."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(z)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(scaler.transform(z), y)
    return 100.0 * (1.0 - machine.score(scaler.transform(z_test), y_test))


def _logistic(cost: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=cost, max_iter=300)


class SquaredHinge:
    """scikit-learn's `LinearSVC(C)`, by L-BFGS on all classes at once: a tenth of its time."""

    def __init__(self, C: float) -> None:
        """Takes the inverse strength of the penalty."""
        self.C = C

    def fit(self, z: np.ndarray, y: np.ndarray) -> "SquaredHinge":
        """Minimises |w|² / 2 + C * sum of max(0, 1 - t f)², over the classes, t = -1 or 1."""
        from scipy.optimize import minimize

        self.classes_ = np.unique(y)
        data = _with_ones(z), jnp.asarray(2.0 * (y[:, None] == self.classes_) - 1.0, jnp.float32)
        shape = data[0].shape[1], len(self.classes_)

        @jax.jit
        @jax.value_and_grad
        def objective(w: jax.Array, z: jax.Array, t: jax.Array) -> jax.Array:
            misses = jnp.maximum(0.0, 1.0 - t * (z @ w))
            return jnp.sum(w**2) / (2.0 * self.C * len(t)) + jnp.mean(jnp.sum(misses**2, axis=1))

        def value(w: np.ndarray) -> tuple[float, np.ndarray]:
            loss, slope = objective(jnp.asarray(w.reshape(shape), jnp.float32), *data)
            return float(loss), np.asarray(slope, np.float64).ravel()

        options = {"maxiter": 300, "ftol": 1e-7, "gtol": 1e-6}
        start = np.zeros(shape[0] * shape[1])
        self.w = minimize(value, start, jac=True, method="L-BFGS-B", options=options).x
        return self

    def score(self, z: np.ndarray, y: np.ndarray) -> float:
        """The share of rows whose class has the largest margin."""
        margins = _with_ones(z) @ self.w.reshape(-1, len(self.classes_))
        return float(np.mean(self.classes_[np.argmax(margins, axis=1)] == y))


def _with_ones(z: np.ndarray) -> jax.Array:
    """With a last feature that is 1, whose weight is the intercept."""
    return jnp.asarray(np.concatenate([z, np.ones((len(z), 1), z.dtype)], axis=1), jnp.float32)


ROWS = (
    Row("mnist-k-sparse", "k-sparse features of MNIST, logistic regression", k_sparse),
    Row("mnist-wta", "Winner-take-all features of MNIST, linear SVM", winner_take_all),
)
