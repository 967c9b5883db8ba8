"""Ratings: predictions of those held out, and the memory of training on many."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, Params
from jaxae.data.centring import centre
from jaxae.data.densifying import dense
from jaxae.data.ratings import Ratings, core, split_ratings
from jaxae.data.ratings_files import load_ratings
from jaxae.deploy.recommending import Recommender, predict_ratings
from jaxae.evaluation.ranking import rmse
from jaxae.evaluation.ratings_baselines import (
    Predictor,
    biased_means,
    ease,
    factorise,
    global_mean,
)
from jaxae.models.ratings import auto_rec, balanced
from suites.rows import Outcome, Row
from suites.training import choose

FILE = "JAXAE_RATINGS"
"""The environment's variable with the path of MovieTweetings' ratings."""
SPLITS = range(100, 105)
"""Seeds of the splits, other ones than the design was explored on (0 to 4, 200 to 209)."""
BATCH, RATE, WIDTH, SEEDS = 32, 1.5e-3, 100, 2
LIMITS = (0.0, 10.0)
BIASES: Any = {"user_weight": 2.0, "item_weight": 2.0}
RANKS, WEIGHTS = (5, 10, 20, 40), (12.0, 16.0, 20.0, 24.0)
EASE_WEIGHTS = (100.0, 300.0, 1000.0, 3000.0)
ITEM_BASED, ONE = "item-based autoencoders, bagged", "item-based autoencoder, one of them"
FACTORS, ONE_RANK = "matrix factorisation, mean over ranks", "matrix factorisation, one rank"


class Design(NamedTuple):
    """Autoencoders whose predictions are averaged: all weights by all noise levels by all seeds."""

    by: Any
    activation: str
    balanced: bool
    """Whether the rows are, and whether the encoder sees the mask."""
    l2: tuple[float, ...]
    noise_level: tuple[float, ...]
    epochs: int


DESIGNS = {
    ITEM_BASED: Design("item", "tanh", True, (0.12, 0.16), (0.3, 0.4), 20),
    "user-based autoencoders, bagged": Design("user", "tanh", True, (0.12,), (0.3, 0.4), 20),
    "item-based, sigmoids, neither balanced nor the mask seen, bagged": Design(
        "item", "sigmoid", False, (0.025,), (0.4, 0.6), 45
    ),
}
MEMORY = 4e9 / 2**20


class Parts(NamedTuple):
    """A random split of the ratings, of which `known` is training and validation together."""

    train: Ratings
    validation: Ratings
    known: Ratings
    test: Ratings


def split(ratings: Ratings, seed: int) -> Parts:
    """80 % to train on, 10 % to choose on, both to train on again, and 10 % to test on."""
    train, validation, test = split_ratings(ratings, (0.8, 0.1, 0.1), seed)
    known, rest = split_ratings(ratings, (0.9, 0.1), seed)
    if (rest.matrix != test.matrix).nnz or known.size != train.size + validation.size:
        raise AssertionError("The two splits do not have the same test ratings.")
    return Parts(train, validation, known, test)


def movietweetings(quick: bool) -> Outcome:
    """RMSE of ratings held out, on five random splits."""
    path = os.environ.get(FILE)
    if not path:
        raise ValueError(f"Set {FILE} to the file of MovieTweetings' 100,000 ratings.")
    ratings = core(load_ratings(path), 10)
    measured: dict[str, list[float]] = {}
    for seed in SPLITS[: 2 if quick else None]:
        for name, value in _split(split(ratings, seed), seed, quick).items():
            measured.setdefault(name, []).append(value)
    gains = {
        f"{theirs} less {ours}, paired": list(np.subtract(measured[theirs], measured[ours]))
        for theirs, ours in ((FACTORS, ITEM_BASED), (ONE_RANK, ITEM_BASED), (ONE_RANK, ONE))
    }
    mean, half_width = evaluation.mean_interval(next(iter(gains.values())))
    sizes = f"{len(ratings.users):,} users, {len(ratings.items):,} items, {ratings.size:,} ratings"
    return Outcome(
        {**measured, **gains},
        reference="biased matrix factorisation (alternating least squares), averaged over its "
        "ranks as the autoencoders are over theirs, EASE on what ratings exceed the biased means "
        "by, biased means, the global mean. Published of other data: AutoRec .831, biased "
        "factorisation .845 on MovieLens 1M (Sedhain et al., 2015)",
        bar="item-based RMSE below that of biased matrix factorisation by more than the 95 % "
        "interval, paired over the splits; both averaged",
        holds=mean - half_width > 0,
        protocol=f"MovieTweetings' first 100,000 ratings, 0..10, 10-core: {sizes}; random "
        f"80/10/10, {len(SPLITS)} splits (seeds {SPLITS[0]} to {SPLITS[-1]}; the design was "
        "chosen on other ones, after an earlier one, a single network of sigmoids, had fallen "
        "short on these: .0024 ± .0042); RMSE of test ratings. All train on training and "
        "validation ratings "
        "together, once weight and rank of the factorisation and EASE's weight are chosen by "
        "training without the validation ratings; the autoencoders' are the same in all splits. "
        f"Predictions cut to 0..10; biases of weights {tuple(BIASES.values())}. Autoencoders: "
        f"{WIDTH} units, batch {BATCH}, Adam, cosine from {RATE:g}, the last epoch's parameters; "
        f"bagged: the mean prediction of all l2 by all shares hidden by {SEEDS} seeds, trained as "
        f"one sweep; {_designs()}; {ONE}: their mean RMSE. Factorisation: "
        f"ranks {RANKS}, weight of {WEIGHTS}; EASE's weight of {EASE_WEIGHTS}",
    )


def _designs() -> str:
    return "; ".join(
        f"{name}: {d.activation}, {d.epochs} epochs, l2 {d.l2}, hidden {d.noise_level}"
        for name, d in DESIGNS.items()
    )


def _split(parts: Parts, seed: int, quick: bool) -> dict[str, float]:
    """Test RMSE of all models on one split."""
    known, test = parts.known, parts.test
    guesses = {name: members(known, test, seed, quick, d) for name, d in DESIGNS.items()}
    eases = [partial(ease, weight=weight, **BIASES) for weight in EASE_WEIGHTS]
    chosen = choose(
        eases, lambda fit: _error(_at(fit(parts.train), parts.validation), parts.validation)
    )
    return {
        **{name: _error(guess.mean(0), test) for name, guess in guesses.items()},
        ONE: float(np.mean([_error(guess, test) for guess in guesses[ITEM_BASED]])),
        **_factors(parts, quick),
        "EASE": _error(_at(chosen(known), test), test),
        "means of users and items": _error(_at(biased_means(known, **BIASES), test), test),
        "global mean": _error(_at(global_mean(known), test), test),
    }


def _factors(parts: Parts, quick: bool) -> dict[str, float]:
    """Of the rank and weight, and of the weight for all ranks, that are best in validation."""
    ranks, weights = (RANKS[:2], WEIGHTS[:2]) if quick else (RANKS, WEIGHTS)

    def guess(train: Ratings, part: Ratings, weight: float) -> np.ndarray:
        fits = [factorise(train, rank, weight=weight, **BIASES) for rank in ranks]
        return np.array([_at(fit.predict, part) for fit in fits])

    found = {weight: guess(parts.train, parts.validation, weight) for weight in weights}
    both = choose(weights, lambda w: _error(found[w].mean(0), parts.validation))
    weight, i = choose(
        [(w, i) for w in weights for i in range(len(ranks))],
        lambda at: _error(found[at[0]][at[1]], parts.validation),
    )
    again = {w: guess(parts.known, parts.test, w) for w in {both, weight}}
    return {
        FACTORS: _error(again[both].mean(0), parts.test),
        ONE_RANK: _error(again[weight][i], parts.test),
    }


def members(known: Ratings, test: Ratings, seed: int, quick: bool, design: Design) -> np.ndarray:
    """The predictions of each autoencoder of a design, `(members, ratings)`."""
    centring = centre(known, **BIASES)
    given = centring.apply(known)
    data = dense(given if design.by == "user" else given.transposed)
    epochs = 2 if quick else design.epochs
    options: dict[str, Any] = {"activation": design.activation}
    if design.balanced:
        options |= {"networks": balanced(known.size / len(data["x"])), "see_mask": True}
    build = partial(auto_rec, data["x"].shape[1], WIDTH, **options)

    def member(data: Batch, key: jax.Array, l2: jax.Array, noise_level: jax.Array) -> Params:
        model = build(l2=l2, noise_level=noise_level)
        steps = epochs * (len(data["x"]) // BATCH)
        tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))
        learner = jaxae.gradient(model.loss, tx)
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=epochs, batch_size=BATCH)[0].params

    points = jaxae.grid(l2=design.l2, noise_level=design.noise_level)
    floats = [np.tile(points[name], SEEDS).astype(np.float32) for name in ("l2", "noise_level")]
    keys = jax.random.split(jax.random.key(seed), len(floats[0]))
    params = jaxae.sweep(member, data, keys, *floats)
    first = Recommender(build(), jaxae.take(params, 0), known, centring, design.by, limits=LIMITS)
    taken = (first._replace(params=jaxae.take(params, i)) for i in range(len(keys)))
    return np.array([predict_ratings(recommender, test) for recommender in taken])


def _at(predict: Predictor, part: Ratings) -> np.ndarray:
    """A baseline's predictions, within the limits."""
    return np.clip(predict(*part.entries[:2]), *LIMITS)


def _error(guess: np.ndarray, part: Ratings) -> float:
    return float(rmse(part.matrix.data, guess))


def memory(quick: bool) -> Outcome:
    """Peak memory of reading and training on ratings that are never dense."""
    users, items, per_user = (20_000, 1000, 20) if quick else (1_000_000, 10_000, 20)
    script = str(Path(__file__).with_name("ratings_memory.py"))
    sizes = map(str, (users, items, per_user))
    done = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ratings_memory.py failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Outcome(
        {
            "peak resident set of the process, MiB": [found["peak"]],
            "of it after reading and centring, MiB": [found["read"]],
            "ratings": [found["ratings"]],
            "users per second in training": [found["rate"]],
        },
        reference=f"dense, x alone would take {4 * users * items / 2**30:.1f} GiB",
        bar="under 4 GB",
        holds=found["peak"] < MEMORY,
        protocol=f"synthetic ratings of {users:,} users and {items:,} items, {per_user} draws a "
        "user, from an .npz file: load_ratings, centre, one epoch of rating_batches and stream, "
        "user-based auto_rec with 50 units, batch 500, Adam; predictions for 100,000 pairs",
    )


ROWS = (Row("movietweetings", "Ratings of MovieTweetings, RMSE", movietweetings),)
MEMORY_ROWS = (Row("ratings-memory", "Memory of a million users' ratings", memory),)
