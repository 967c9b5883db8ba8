"""Trains an autoencoder of ratings, tests it beside its baselines, and recommends items.

Without arguments on synthetic ratings of low rank. On a file of yours, for example:

python scripts/recommend.py --data ratings.csv --user 42 --n 20

python scripts/recommend.py --data ml-100k/u.data --by user

python scripts/recommend.py --data ratings.csv --rated 318=5 --rated 110=2.5
"""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
import tyro

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, Metrics, Params
from jaxae.data.centring import centre
from jaxae.data.densifying import rating_batches
from jaxae.data.ratings import Ratings, core, split_ratings
from jaxae.data.ratings_files import load_ratings
from jaxae.data.synthetic_ratings import low_rank_ratings
from jaxae.deploy.recommending import Recommendations, Recommender, predict_ratings, recommend
from jaxae.evaluation.ranking import mae, rmse
from jaxae.evaluation.ratings_baselines import biased_means, ease, factorise, global_mean
from jaxae.models.ratings import auto_rec, balanced
from jaxae.training.folders import write_text
from options import RunOptions, call, stop_if_interrupted

SYNTHETIC = {"users": 1000, "items": 300, "per_user": 40}
RANKS, WEIGHTS = (5, 10, 20, 40), (4.0, 8.0, 12.0, 16.0, 20.0, 28.0)
EASE_WEIGHTS, EASE_ITEMS = (30.0, 100.0, 300.0, 1000.0), 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommend(RunOptions):
    """What is trained on which ratings, and for whom items are recommended."""

    data: str = "synthetic"
    """File of ratings with the columns user, item and rating: csv, tsv, parquet, npz; or
    MovieLens' u.data and ratings.dat; or a prepared set of tensorflow-datasets such as
    movielens/100k-ratings. By default drawn at random, of low rank."""
    user_column: str | None = None
    """Name of the column of users; by default user, user_id or userId."""
    item_column: str | None = None
    """Name of the column of items; by default item, item_id, itemId, movie_id or movieId."""
    rating_column: str | None = None
    """Name of the column of ratings; by default rating or user_rating."""
    keep: Literal["error", "last"] = "error"
    """What becomes of several ratings of one item by one user."""
    core: int = 1
    """Leave out users and items with fewer ratings than this, until none has fewer."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""

    by: Literal["item", "user"] = "item"
    """Whether a row that the model sees is an item's ratings or a user's."""
    latent_dim: int = 100
    """Width of the code."""
    activation: Literal["tanh", "sigmoid"] = "tanh"
    """Of the code; the published model has sigmoids, which want a fourth of the l2."""
    l2: float = 0.13
    """Weight of half the squared norm of all kernels."""
    noise_level: float = 0.4
    """Share of the known ratings that is hidden from the encoder in training."""
    count: bool = True
    """Tell the encoder which ratings are known, and balance rows of few and of many."""
    epochs: int = 20
    """Passes over the rows."""
    batch_size: int = 32
    """Rows in a step, at most all."""
    learning_rate: float = 1.5e-3
    """Of Adam; it falls to 0 by a cosine."""
    patience: int | None = None
    """Stop after so many epochs without a better one on validation ratings."""

    user: str | None = None
    """For whom items are recommended; by default the first user."""
    rated: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """ITEM=RATING of a new user, for whom items are recommended instead; may be repeated."""
    n: int = 10
    """How many items."""

    def read(self) -> Ratings:
        """The ratings."""
        if self.data == "synthetic":
            return low_rank_ratings(self.seed, **SYNTHETIC)
        names = {"user": self.user_column, "item": self.item_column, "rating": self.rating_column}
        ratings = load_ratings(self.data, keep=self.keep, data_dir=self.data_dir, **names)
        if np.ptp(ratings.matrix.data) == 0:
            raise ValueError(
                f"All ratings of {self.data} are {ratings.matrix.data[0]:g}: there is nothing to "
                "predict. Name their column with --rating-column; for choices without ratings "
                "take mult_dae or mult_vae of jaxae.models.ratings."
            )
        return core(ratings, self.core)

    def to_json(self) -> dict[str, Any]:
        """What identifies the run: neither where it lies nor who is recommended to."""
        others = (*self.NOT_CONFIGURATION, "user", "rated", "n")
        fields = dataclasses.asdict(self)
        return {"script": "recommend"} | {k: v for k, v in fields.items() if k not in others}


def train(config: Recommend) -> Path:
    """Trains, tests and recommends what the configuration says; returns the run's folder."""
    start = time.perf_counter()
    ratings = config.read()
    whom = _whom(config, ratings)
    parts = split_ratings(ratings, (0.8, 0.1, 0.1), config.seed)
    what = "synthetic ratings (random, of low rank)" if config.data == "synthetic" else config.data
    print(
        f"{config.by}-based on {what}: {ratings.size:,} ratings of {len(ratings.users):,} users "
        f"and {len(ratings.items):,} items; {', '.join(f'{part.size:,}' for part in parts)} to "
        "train, validate and test",
        flush=True,
    )
    folder = config.run_folder(f"recommend-{config.by}", config.data)
    recommender, epoch = _fit(config, parts[0], parts[1], folder)
    rows = compare(recommender, *parts)
    write_text(folder / "summary.json", json.dumps(rows, indent=2) + "\n")
    print(f"\nTest ratings; parameters of epoch {epoch}, the best on validation ratings.")
    print(evaluation.format_table(rows))
    who = f"user {whom}" if isinstance(whom, str) else f"a new user with {len(whom)} ratings"
    every = recommender._replace(known=ratings)  # now the model may see them all
    print(f"\nFor {who}:\n{_table(recommend(every, whom, config.n))}")
    print(f"\n{time.perf_counter() - start:.0f} s. Config, metrics, checkpoints: {folder}")
    return folder


def _fit(
    config: Recommend, known: Ratings, validation: Ratings, folder: Path
) -> tuple[Recommender, int]:
    """The best epoch's parameters with what predicting needs, and its number."""
    centring = centre(known)
    given = centring.apply(known)
    rows = given if config.by == "user" else given.transposed
    examples = int((np.diff(rows.matrix.indptr) > 0).sum())
    batch_size = min(config.batch_size, examples)
    steps = config.epochs * (examples // batch_size)
    options: dict[str, Any] = {"l2": config.l2, "noise_level": config.noise_level}
    options["activation"] = config.activation
    if config.count:
        options |= {"see_mask": True, "networks": balanced(known.size / examples)}
    model = auto_rec(rows.matrix.shape[1], config.latent_dim, **options)
    tx = optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps))
    learner = jaxae.gradient(model.loss, tx)
    limits = float(known.matrix.data.min()), float(known.matrix.data.max())
    ridge = config.l2 * len(known.items)
    found = Recommender(model, None, known, centring, config.by, ridge=ridge, limits=limits)

    def batches(epoch: int) -> Iterator[Batch]:
        return rating_batches(rows, batch_size, config.seed, epoch=epoch)

    def judge(params: Params) -> Metrics:
        predicted = predict_ratings(found._replace(params=params), validation)
        return {"validation_rmse": rmse(validation.matrix.data, predicted)}

    first = next(batches(0))
    state, key = jaxae.start(model, learner, first, jax.random.key(config.seed))
    result = jaxae.run(
        jaxae.over_batches(learner, batches, key, evaluate=judge),
        state,
        folder,
        epochs=config.epochs,
        examples=examples,
        config=config.to_json(),
        monitor="validation_rmse",
        patience=config.patience,
        resume=config.resume,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    stop_if_interrupted(result, folder)
    return found._replace(params=result.best), result.best_epoch


def compare(
    recommender: Recommender, train: Ratings, validation: Ratings, test: Ratings
) -> list[dict[str, Any]]:
    """Errors on test ratings, of the model and of baselines chosen on validation ratings."""
    limits = recommender.limits or (-np.inf, np.inf)

    def error(predict: Any, part: Ratings) -> dict[str, float]:
        rows, columns, values = part.entries
        found = np.clip(predict(rows, columns), *limits)
        return {"rmse": float(rmse(values, found)), "mae": float(mae(values, found))}

    def best(candidates: dict[str, Any]) -> dict[str, Any]:
        errors = {name: error(c, validation)["rmse"] for name, c in candidates.items()}
        name = min(errors, key=errors.__getitem__)
        return {"name": name, **error(candidates[name], test)}

    factors = {
        f"matrix factorisation, rank {rank}, weight {weight:g}": factorise(
            train, rank, weight=weight
        ).predict
        for rank in RANKS
        for weight in WEIGHTS
    }
    predicted = predict_ratings(recommender, test)
    values = test.matrix.data
    own = {"rmse": float(rmse(values, predicted)), "mae": float(mae(values, predicted))}
    rows = [{"name": f"{recommender.by}-based autoencoder", **own}, best(factors)]
    if len(train.items) <= EASE_ITEMS:
        rows.append(best({f"EASE, weight {w:g}": ease(train, w) for w in EASE_WEIGHTS}))
    rows.append({"name": "means of users and items", **error(biased_means(train), test)})
    return [*rows, {"name": "global mean", **error(global_mean(train), test)}]


def _whom(config: Recommend, ratings: Ratings) -> str | dict[Any, float]:
    """A known user, or a new one's ratings; refused before anything is trained."""
    if not config.rated:
        user = str(ratings.users[0]) if config.user is None else config.user
        if user not in ratings.users.astype(str):
            raise ValueError(
                f"There is no user {user!r} among the {len(ratings.users):,} of {config.data} "
                f"(with --core {config.core}), such as {ratings.users[:3].tolist()}."
            )
        return user
    names = {str(item): item for item in ratings.items.tolist()}
    pairs = [text.rpartition("=") for text in config.rated]
    try:
        return {names[item]: float(rating) for item, _, rating in pairs}
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"--rated is ITEM=RATING, of items such as {ratings.items[:3].tolist()}; got "
            f"{', '.join(config.rated)}."
        ) from error


def _table(found: Recommendations) -> str:
    pairs = zip(found.items.tolist(), found.ratings.tolist(), strict=True)
    rows = [{"item": str(item), "predicted rating": rating} for item, rating in pairs]
    return evaluation.format_table(rows) if rows else "no item is left that was not rated"


def main() -> None:
    """Reads the command line."""
    call(train, tyro.cli(Recommend, description=__doc__))


if __name__ == "__main__":
    main()
