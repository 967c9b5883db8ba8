"""Ratings: predictions of those held out, and the memory of training on many."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, Params
from jaxae.data.centring import Centring, centre
from jaxae.data.densifying import dense
from jaxae.data.ratings import Ratings, core, split_ratings
from jaxae.data.ratings_files import load_ratings
from jaxae.deploy.recommending import Recommender, predict_ratings
from jaxae.evaluation.ranking import rmse
from jaxae.evaluation.ratings_baselines import biased_means, ease, factorise, global_mean
from jaxae.models.ratings import auto_rec, balanced
from suites.rows import Outcome, Row

FILE = "JAXAE_RATINGS"
"""The environment's variable with the path of MovieTweetings' ratings."""
SPLITS = range(100, 105)
"""Seeds of the splits, other ones than the design was explored on (0 to 4)."""
EPOCHS, BATCH, RATE, WIDTH = 45, 32, 1.5e-3, 100
LIMITS = (0.0, 10.0)
RANKS, WEIGHTS = (5, 10, 20, 40), (8.0, 12.0, 16.0, 20.0, 24.0, 28.0)
EASE_WEIGHTS = (100.0, 300.0, 1000.0, 3000.0)
ITEM_BASED, FACTORS = "item-based autoencoder", "matrix factorisation"
MODELS = {
    ITEM_BASED: ("item", True, (0.025, 0.035), (0.3, 0.4, 0.5)),
    "user-based autoencoder": ("user", True, (0.02, 0.03), (0.3, 0.4, 0.5)),
    "item-based, neither balanced nor the mask seen": ("item", False, (0.02, 0.03), (0.4, 0.6)),
}
"""Rows; whether they are balanced and the encoder sees the mask; the weights and shares hidden
to choose from."""
MEMORY = 4e9 / 2**20


class Parts(NamedTuple):
    """A random split of the ratings."""

    train: Ratings
    validation: Ratings
    test: Ratings

    def error(self, predict: Any, part: Ratings) -> float:
        """The RMSE of a baseline."""
        rows, columns, values = part.entries
        return float(rmse(values, np.clip(predict(rows, columns), *LIMITS)))

    def best(self, candidates: Sequence[Any]) -> float:
        """On test ratings, of the baseline that is best on validation ratings."""
        chosen = min(candidates, key=lambda c: self.error(c, self.validation))
        return self.error(chosen, self.test)


def movietweetings(quick: bool) -> Outcome:
    """RMSE of ratings held out, on five random splits."""
    path = os.environ.get(FILE)
    if not path:
        raise ValueError(f"Set {FILE} to the file of MovieTweetings' 100,000 ratings.")
    ratings = core(load_ratings(path), 10)
    measured: dict[str, list[float]] = {}
    for seed in SPLITS[: 2 if quick else None]:
        parts = Parts(*split_ratings(ratings, (0.8, 0.1, 0.1), seed))
        for name, value in _split(parts, seed, quick).items():
            measured.setdefault(name, []).append(value)
    pairs = zip(measured[FACTORS], measured[ITEM_BASED], strict=True)
    gain = [theirs - ours for theirs, ours in pairs]
    mean, half_width = evaluation.mean_interval(gain)
    sizes = f"{len(ratings.users):,} users, {len(ratings.items):,} items, {ratings.size:,} ratings"
    return Outcome(
        {**measured, f"{FACTORS} less item-based, paired": gain},
        reference="biased matrix factorisation (alternating least squares), EASE on what ratings "
        "exceed the biased means by, biased means, the global mean; factorisation and EASE tuned "
        "as the autoencoders are. Published of other data: AutoRec .831, biased factorisation "
        ".845 on MovieLens 1M (Sedhain et al., 2015)",
        bar="item-based RMSE below that of biased matrix factorisation by more than the 95 % "
        "interval, paired over the splits",
        holds=mean - half_width > 0,
        protocol=f"MovieTweetings' first 100,000 ratings, 0..10, 10-core: {sizes}; random "
        f"80/10/10, {len(SPLITS)} splits (seeds {SPLITS[0]} to {SPLITS[-1]}, those explored on "
        "left out); RMSE of test ratings, the training ratings alone as input, "
        "predictions cut to 0..10; centred by biased means (weights 2 and 3). Autoencoders: "
        f"{WIDTH} sigmoids, {EPOCHS} epochs, batch {BATCH}, Adam, cosine from {RATE:g}, the last "
        "epoch's parameters. Chosen on each split's validation ratings: l2 and the share hidden of "
        f"{_choices()}; rank of {RANKS} and weight of {WEIGHTS}; EASE's weight of {EASE_WEIGHTS}",
    )


def _choices() -> str:
    return "; ".join(f"{name} {l2} and {noise}" for name, (_, _, l2, noise) in MODELS.items())


def _split(parts: Parts, seed: int, quick: bool) -> dict[str, float]:
    """Test RMSE of all models on one split."""
    train = parts.train
    found = {name: _autoencoder(parts, seed, quick, *how) for name, how in MODELS.items()}
    ranks, weights = (RANKS[:1], WEIGHTS[:1]) if quick else (RANKS, WEIGHTS)
    factors = [factorise(train, r, weight=w).predict for r in ranks for w in weights]
    return {
        **found,
        FACTORS: parts.best(factors),
        "EASE": parts.best([ease(train, weight) for weight in EASE_WEIGHTS]),
        "means of users and items": parts.error(biased_means(train), parts.test),
        "global mean": parts.error(global_mean(train), parts.test),
    }


def _autoencoder(
    parts: Parts,
    seed: int,
    quick: bool,
    by: Any,
    counting: bool,
    l2s: Sequence[float],
    noises: Sequence[float],
) -> float:
    """Test RMSE of the one of a sweep that is best on validation ratings."""
    centring = centre(parts.train)
    given = centring.apply(parts.train)
    data = dense(given if by == "user" else given.transposed)
    shape, epochs = data["x"].shape[1], 2 if quick else EPOCHS
    typical = parts.train.size / len(data["x"])
    networks: Any = {"networks": balanced(typical), "see_mask": True} if counting else {}
    points = jaxae.grid(l2=l2s[:1] if quick else l2s, noise_level=noises[:1] if quick else noises)

    def member(data: Batch, key: jax.Array, l2: jax.Array, noise_level: jax.Array) -> Params:
        model = auto_rec(shape, WIDTH, l2=l2, noise_level=noise_level, **networks)
        steps = epochs * (len(data["x"]) // BATCH)
        tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))
        learner = jaxae.gradient(model.loss, tx)
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=epochs, batch_size=BATCH)[0].params

    count = len(points["l2"])
    keys = jax.vmap(jax.random.key)(np.full(count, seed))
    floats = (points[name].astype(np.float32) for name in ("l2", "noise_level"))
    params = jaxae.sweep(member, data, keys, *floats)
    model = auto_rec(shape, WIDTH, **networks)
    recommenders = [
        _recommender(model, jaxae.take(params, i), parts.train, centring, by) for i in range(count)
    ]
    chosen = min(recommenders, key=lambda found: _error(found, parts.validation))
    return _error(chosen, parts.test)


def _recommender(
    model: Any, params: Params, train: Ratings, centring: Centring, by: Any
) -> Recommender:
    return Recommender(model, params, train, centring, by, limits=LIMITS)


def _error(found: Recommender, part: Ratings) -> float:
    return float(rmse(part.matrix.data, predict_ratings(found, part)))


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
