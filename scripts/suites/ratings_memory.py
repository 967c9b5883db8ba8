"""Trains on a file of ratings and prints the peak of resident memory.

python ratings_memory.py USERS ITEMS PER_USER
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import optax
import resident

import jaxae
from jaxae.data.centring import centre
from jaxae.data.densifying import rating_batches
from jaxae.data.ratings import Ratings
from jaxae.data.ratings_files import load_ratings
from jaxae.data.synthetic_ratings import low_rank_ratings
from jaxae.deploy.recommending import Recommender, predict_ratings
from jaxae.models.ratings import auto_rec

BATCH, PAIRS = 500, 100_000


def write(path: Path, users: int, items: int, per_user: int) -> None:
    """Writes the columns of synthetic ratings."""
    rows, columns, values = low_rank_ratings(0, users=users, items=items, per_user=per_user).entries
    np.savez(path, user=rows.astype(np.int32), item=columns, rating=values)


def train(path: Path) -> dict[str, float]:
    """Reads, centres, trains for an epoch and predicts."""
    ratings = load_ratings(path)
    centring = centre(ratings)
    given = centring.apply(ratings)
    read = resident.peak()
    model = auto_rec(len(ratings.items), 50, l2=1e-4)
    learner = jaxae.gradient(model.loss, optax.adam(1e-3))
    first = next(rating_batches(given, 1))
    state, key = jaxae.start(model, learner, first, jax.random.key(0))
    start = time.perf_counter()
    for after in jaxae.stream(learner, state, key, rating_batches(given, BATCH)):
        state = after[0]
    jax.block_until_ready(state)
    rate = len(ratings.users) / (time.perf_counter() - start)
    rows = np.arange(min(PAIRS // 20, len(ratings.users)))
    few = Ratings(ratings.matrix[rows], ratings.users[rows], ratings.items)
    found = Recommender(model, state.params, few, centring.for_users(few))
    assert np.isfinite(predict_ratings(found, few)).all()
    return {"peak": resident.peak(), "read": read, "ratings": ratings.size, "rate": rate}


if __name__ == "__main__":
    if sys.argv[1] == "write":  # in a process of its own, whose memory is not counted
        write(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "ratings.npz"))
            command = [sys.executable, __file__, "write", file, *sys.argv[1:]]
            subprocess.run(command, check=True)
            print(json.dumps(train(Path(file))))
