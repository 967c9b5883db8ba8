"""Recurrent autoencoders: codes of spoken vowels, speed, and what a short code can remember."""

import os
import warnings
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Params
from jaxae.data.sequences import step_mask
from jaxae.data.synthetic_sequences import hailstone, hailstone_starts, unrelated
from jaxae.models.networks.recurrent_pairs import recurrent
from jaxae.models.token_models import tokens
from suites.rows import Outcome, Row
from suites.sequence_workers import BATCH, CODES, SIZES
from suites.sequence_workers import ROWS as WAVES
from suites.speed import ratios, take_turns

FILE = "JAXAE_SEQUENCES"
"""The environment's variable with the path of the Japanese Vowels."""
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
NOISES = (0.0, 0.3, 0.6)
STEPS, LARGEST, SIZES_OF_CODES = 8, 63, (1, 2, 4, 8, 16, 32)


def japanese_vowels(quick: bool) -> Outcome:
    """Speakers told from codes of 32 units by logistic regression."""
    rows, test = vowels()
    epochs, seeds = (2, range(1, 3)) if quick else (200, range(1, 6))
    scores = {}
    for noise in NOISES[: 1 if quick else None]:
        (z,) = _codes(_reader(noise), epochs, [0], rows, rows)
        scores[noise] = _validated(z[0], rows["y"])[0]
    noise = max(scores, key=lambda n: scores[n])
    codes = _codes(_reader(noise), epochs, seeds, rows, test)
    accuracies = [_judged(z, z_test, rows, test) for z, z_test in codes]
    untrained = [
        _judged(z, z_test, rows, test)
        for z, z_test in _codes(_reader(0.0), 1, seeds, rows, test, rate=0.0)
    ]
    flat, flat_test = (part["x"].reshape(len(part["x"]), -1) for part in (rows, test))
    from sklearn.decomposition import PCA

    pca = PCA(32, svd_solver="full").fit(flat)
    return Outcome(
        {
            "codes of 32 units: test accuracy, %": accuracies,
            "codes of an untrained encoder: test accuracy, %": untrained,
            "32 principal components of padded rows: test accuracy, %": [
                _judged(pca.transform(flat), pca.transform(flat_test), rows, test)
            ],
            "padded rows, 348 numbers: test accuracy, %": [_judged(flat, flat_test, rows, test)],
            "the most frequent speaker: test accuracy, %": [
                100 * float(np.mean(test["y"] == np.bincount(rows["y"]).argmax()))
            ],
        },
        reference="the trivial ones above",
        bar="at least 95 % in the mean of 5 seeds",
        holds=float(np.mean(accuracies)) >= 95.0,
        protocol="Japanese Vowels (Kudo et al., 1999), 270 / 370 series of 7 to 29 steps of 12 "
        "channels, 9 speakers, channels standardised by the training rows; a GRU of 64 units in "
        f"both directions, decoder backwards, batch 30, {epochs} epochs, Adam, cosine from 3e-3, "
        f"no labels; Gaussian noise {noise:g} of {NOISES} chosen by the classifier's 5-fold "
        "cross-validation on the training rows with seed 0, as was its C of "
        f"{STRENGTHS} for each seed and each baseline; logistic regression on standardised inputs; "
        "share of right test rows",
    )


def vowels() -> tuple[Batch, Batch]:
    """Training and test rows with masks, channels standardised by the former's steps."""
    path = os.environ.get(FILE)
    if not path:
        raise ValueError(
            f"Set {FILE} to an .npz file of UCI's Japanese Vowels with the arrays x_train "
            "(n, 29, 12), zeros after the end, len_train, y_train, x_test, len_test and y_test."
        )
    with np.load(path) as data:
        parts = [
            {
                "x": data[f"x_{part}"],
                "mask": step_mask(data[f"len_{part}"], data[f"x_{part}"].shape[1]),
                "y": data[f"y_{part}"].astype(np.int32),
            }
            for part in ("train", "test")
        ]
    steps = parts[0]["x"][parts[0]["mask"] != 0]
    mean, scale = steps.mean(0), steps.std(0)
    for part in parts:
        there = part["mask"][..., None] != 0
        part["x"] = np.where(there, (part["x"] - mean) / scale, 0).astype(np.float32)
    return parts[0], parts[1]


def _reader(noise: float) -> Autoencoder:
    how: Any = {"networks": recurrent, "hidden_dims": (64,), "bidirectional": True}
    corruption = jaxae.corruptions.gaussian
    return jaxae.denoising((29, 12), 32, noise_level=noise, corruption=corruption, **how)


def _codes(
    model: Autoencoder,
    epochs: int,
    seeds: Iterable[int],
    rows: Batch,
    test: Batch,
    rate: float = 3e-3,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Codes of training and test rows, of a training without labels from each seed."""
    data, held = ({"x": part["x"], "mask": part["mask"]} for part in (rows, test))
    return [
        (np.asarray(model.encode(params, data)), np.asarray(model.encode(params, held)))
        for params in _trained(model, data, epochs, 30, rate, seeds)
    ]


def _trained(
    model: Autoencoder,
    data: Batch,
    epochs: int,
    batch_size: int,
    rate: float,
    seeds: Iterable[int],
) -> list[Params]:
    """The parameters after training from each seed; compiled once for all of them."""
    schedule = optax.cosine_decay_schedule(rate, epochs * (len(data["x"]) // batch_size))
    tx = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    learner = jaxae.gradient(model.loss, tx)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=epochs, batch_size=batch_size))
    starts = [jaxae.start(model, learner, data, jax.random.key(seed)) for seed in seeds]
    return [fit(state, data, key)[0].params for state, key in starts]


def _classifier(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))


def _validated(z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The best cross-validated accuracy, and its C."""
    from sklearn.model_selection import cross_val_score

    with warnings.catch_warnings():  # of fits that end before they converged
        warnings.simplefilter("ignore")
        scores = [float(cross_val_score(_classifier(c), z, y, cv=5).mean()) for c in STRENGTHS]
    best = int(np.argmax(scores))
    return scores[best], STRENGTHS[best]


def _judged(z: np.ndarray, z_test: np.ndarray, rows: Batch, test: Batch) -> float:
    """Per cent of test rows that the classifier on these features gets right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machine = _classifier(_validated(z, rows["y"])[1]).fit(z, rows["y"])
    return 100 * float(machine.score(z_test, test["y"]))


def speed(quick: bool) -> Outcome:
    """An epoch of a GRU autoencoder against PyTorch."""
    peer = bool(find_spec("torch"))
    whos = ("jaxae, GRU", *(["PyTorch, nn.GRU"] if peer else []))
    measured: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    holds = True
    for size in SIZES:
        names = [f"{who}, {size}" for who in whos]
        seconds, started = take_turns(names, 2 if quick else 15, "sequence_workers.py")
        measured |= {f"{name}: s per epoch": values for name, values in seconds.items()}
        first |= started
        if peer:
            found = ratios(seconds, names[1], names[0])
            measured[f"{names[1]} / {names[0]}"] = found
            holds = holds and float(np.median(found)) >= 1.0
    sizes = "; ".join(f"{n}: {t} steps of {c}, {u} units" for n, (t, c, u) in SIZES.items())
    return Outcome(
        measured,
        reference="PyTorch on the same machine" if peer else "PyTorch is not installed",
        bar="at least as fast as PyTorch",
        holds=holds if peer else None,
        protocol=f"{sizes}; {CODES} codes, {WAVES:,} sequences of equal length, batch {BATCH}, "
        "squared error, Adam (fused in PyTorch), float32; one process each, an epoch each in turn; "
        "median [quartiles]",
        compile_seconds=first,
    )


def memory(quick: bool) -> Outcome:
    """Numbers that a code of so many units brings back, with a rule and without."""
    sizes = SIZES_OF_CODES[:1] if quick else SIZES_OF_CODES
    n, epochs, seeds = (200, 2, range(2)) if quick else (16_000, 12, range(3))
    measured: dict[str, list[float]] = {}
    for name, draw in (("hailstone", hailstone), ("unrelated", unrelated)):
        rows, test = (
            np.asarray(draw(jax.random.key(i), count, steps=STEPS, largest=LARGEST))
            for i, count in enumerate((n, 1000))
        )
        for size in sizes:
            name_of_size = f"{name} numbers, {size} units: right, %"
            measured[name_of_size] = _remembered(size, rows, test, epochs, seeds)
    means = {name: float(np.mean(values)) for name, values in measured.items()}
    with_rule, without = (
        [means[f"{name} numbers, {size} units: right, %"] for size in sizes]
        for name in ("hailstone", "unrelated")
    )
    return Outcome(
        measured,
        reference=f"chance: {100 / LARGEST:.1f} %",
        bar="from 4 units on at least 99 % of hailstone numbers; of unrelated ones below 30 % with "
        "8 units, and more with each doubling from 4 on",
        holds=not quick
        and min(with_rule[2:]) >= 99.0
        and without[3] < 30.0
        and all(np.diff(without[2:]) > 0),
        protocol=f"{STEPS} numbers of 1 to {LARGEST}, as tokens; hailstone sequences begin with "
        f"one of {len(hailstone_starts(STEPS, LARGEST))} numbers, all of them among the training "
        f"rows; {n:,} training and 1,000 test sequences drawn apart; a GRU of 64 units, decoder "
        f"backwards, {epochs} epochs, batch 50, Adam, cosine from 5e-3; share of test numbers "
        "whose most probable reconstruction is right",
    )


def _remembered(
    latent_dim: int, rows: np.ndarray, test: np.ndarray, epochs: int, seeds: Iterable[int]
) -> list[float]:
    """Per cent of the test sequences' numbers that come back, for each seed."""
    how: Any = {"networks": recurrent, "likelihood": jaxae.likelihoods.categorical()}
    shape = (STEPS, LARGEST + 1)
    model = tokens(jaxae.deep(shape, latent_dim, hidden_dims=(64,), **how), LARGEST + 1)
    measure, held, found = jax.jit(evaluation.reconstruction(model)), {"x": test}, []
    for params in _trained(model, {"x": rows}, epochs, 50, 5e-3, seeds):
        found.append(100 * float(measure(params, held)["token_accuracy"]))
    return found


ROWS = (
    Row("japanese-vowels", "Speakers of Japanese vowels, recurrent codes", japanese_vowels),
    Row("hailstone-memory", "What a code remembers of sequences", memory),
)
SPEED_ROWS = (Row("gru-speed", "An epoch of a GRU autoencoder", speed, spread="pairs"),)
