"""Adversarial autoencoders: whether codes follow their prior, and classes from few labels."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae import codes, corruptions, evaluation, likelihoods, priors
from jaxae.base import Autoencoder, Batch, Learner, Params
from suites.rows import Outcome, Row

CODES, ROWS_TESTED, CLASSES, STYLE = 16, 1000, 10, 10
NET: dict[str, Any] = {"hidden_dims": (500, 500), "activation": "relu"}


def aggregate(quick: bool) -> Outcome:
    """A 16-D code against its prior, beside that of a VAE."""
    epochs, seeds = (1, range(2)) if quick else (20, range(3))
    train = {"x": jaxae.load("mnist", "train")["x"].reshape(-1, 784)[: 2000 if quick else None]}
    test = {"x": jaxae.load("mnist", "test")["x"].reshape(-1, 784)[:ROWS_TESTED]}
    shared = {"likelihood": likelihoods.bernoulli(), "latent_activation": "identity", **NET}
    steps = epochs * (len(train["x"]) // 100)
    matched = codes.Matched(priors.Standard(CODES))
    model = jaxae.deep(784, CODES, code=matched, **shared)
    learner = jaxae.adversarial(model, _adam(1e-3, steps), _adam(1e-3, steps), **_against(30.0))
    vae = jaxae.vae(784, CODES, **NET)
    ways = {
        "adversarial": (model, learner),
        "VAE": (vae, jaxae.gradient(vae.loss, _adam(1e-3, steps))),
    }
    measured: dict[str, list[float]] = {}
    for name, (model, learner) in ways.items():
        train_one = _compiled(model, learner, epochs)
        for seed in seeds:
            params = train_one(train, jax.random.key(seed))
            for figure, value in _tested(model, params, test, seed).items():
                measured.setdefault(f"{name}: {figure}", []).append(value)
    distances = [float(np.mean(measured[f"{name}: squared MMD"])) for name in ways]
    return Outcome(
        measured,
        reference="draws of the prior against each other have a squared MMD about 0 and p-values "
        "spread evenly over 0 to 1",
        bar="squared MMD between codes and prior no larger than that of the VAE's aggregate "
        "posterior",
        holds=distances[0] <= distances[1],
        protocol=f"MNIST, 784-500-500-{CODES}, grey pixels under a Bernoulli, {epochs} epochs, "
        "batch 100, Adam with cosine from 1e-3, adversarial weight 30, a critic of two layers of "
        "500; kernel two-sample test of 1,000 test codes and as many draws, 1,000 permutations; "
        "3 seeds",
    )


def _tested(model: Autoencoder, params: Params, test: Batch, seed: int) -> dict[str, float]:
    """The two-sample test of codes and prior, and the error of reconstruction."""
    latent: Any = model.latent
    keys = jax.random.split(jax.random.key(100 + seed), 3)
    z = latent.draw(params, keys[0], test).z[0]
    found = evaluation.two_sample_test(keys[1], z, latent.prior(params, keys[2], len(z)))
    error = evaluation.reconstruction(model)(params, test)["squared_error"]
    return {
        "squared MMD": found.squared_mmd,
        "p-value": found.p_value,
        "test squared error": float(error),
    }


def few_labels(quick: bool) -> Outcome:
    """Classes as a part of the code, from 100 labels."""
    epochs, seeds = (1, range(2)) if quick else (60, range(5))
    rows, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    flat = {"x": rows["x"].reshape(-1, 784)[: 2000 if quick else None]}
    errors = []
    for seed in seeds:
        few = jaxae.labelled_subset(rows, 100, balanced=True, seed=seed)
        few = {"x": few["x"].reshape(-1, 784), "y": np.asarray(few["y"], np.int32)}
        prior = priors.Joint([priors.Categorical(CLASSES), priors.Standard(STYLE)], [10, STYLE])
        base = jaxae.deep(
            784,
            CLASSES + STYLE,
            code=codes.Matched(prior, one_hot=CLASSES),
            likelihood=likelihoods.bernoulli(),
            **NET,
        )
        model = jaxae.semi_supervised(
            base, few, CLASSES, label_weight=500.0, corrupt=corruptions.gaussian(0.3)
        )
        steps = epochs * (len(flat["x"]) // 100)
        tx = _adam(5e-4, steps)
        learner = jaxae.adversarial(model, tx, tx, **_against(300.0))
        params = _compiled(model, learner, epochs)(flat, jax.random.key(seed))
        z = evaluation.codes(model, params, {"x": test["x"].reshape(-1, 784)})
        errors.append(100 * float((z[:, :CLASSES].argmax(1) != test["y"]).mean()))
    return Outcome(
        {"test error, %": errors},
        reference="adversarial autoencoder, 100 labels: 1.90 [M: quoted from memory] (Makhzani et "
        "al., 2016)",
        bar="error at most 5 %",
        holds=float(np.mean(errors)) <= 5.0,
        protocol=f"MNIST, 784-500-500-({CLASSES} + {STYLE}), 100 labels (10 of each class), all "
        f"60,000 images without labels, {epochs} epochs, batch 100, Adam (b1 0.5) with cosine from "
        "5e-4, adversarial weight 300, label weight 500, Gaussian noise of 0.3 on the labelled "
        "inputs; one critic of classes and style",
    )


def _adam(rate: float, steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5)


def _against(weight: float) -> dict[str, Any]:
    critic = jaxae.MLP((500, 500, 1), activation="relu")
    return {"critic": critic, "adversarial_weight": weight}


def _compiled(model: Autoencoder, learner: Learner, epochs: int) -> Any:
    """`(data, key) -> params` after training."""

    @jax.jit
    def train(data: Batch, key: jax.Array) -> Params:
        state, key = jaxae.start(model, learner, data, key)
        fit = partial(jaxae.fit, learner, epochs=epochs, batch_size=100)
        return fit(state, data, key)[0].params

    return lambda data, key: train({"x": jnp.asarray(data["x"])}, key)


ROWS = (
    Row("adversarial-prior", "Adversarial codes against their prior", aggregate),
    Row("adversarial-labels", "Adversarial autoencoder, 100 labels", few_labels),
)
