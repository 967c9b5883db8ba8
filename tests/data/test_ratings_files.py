import os

import numpy as np
import pandas as pd
import pytest

from jaxae.data import DataNotFoundError
from jaxae.data.ratings_files import load_ratings

USERS, ITEMS, VALUES = [3, 1, 3, 2], [20, 10, 10, 20], [4.5, 0.0, 2.0, 5.0]
EXPECTED = [[0.0, 0.0], [0.0, 5.0], [2.0, 4.5]]


@pytest.fixture
def table():
    return pd.DataFrame({"user": USERS, "item": ITEMS, "rating": VALUES, "time": [9, 8, 7, 6]})


def check(ratings):
    assert ratings.matrix.toarray().tolist() == EXPECTED
    assert ratings.size == 4
    assert [str(user) for user in ratings.users] == ["1", "2", "3"]
    assert [str(item) for item in ratings.items] == ["10", "20"]


def test_tables_mappings_and_files_with_names(table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", user=USERS, item=ITEMS, rating=VALUES)
    check(load_ratings(table))
    check(load_ratings({"user": USERS, "item": ITEMS, "rating": VALUES}))
    for suffix in ("csv", "tsv", "parquet", "npz"):
        check(load_ratings(str(tmp_path / f"a.{suffix}")))
    check(load_ratings(tmp_path / "a.csv"))


def test_movielens_own_files(tmp_path):
    rows = list(zip(USERS, ITEMS, VALUES, strict=True))
    lines = [f"{u}\t{i}\t{v}\t881250949" for u, i, v in rows]
    (tmp_path / "u.data").write_text("\n".join(lines))
    lines = [f"{u}::{i}::{v}::978300760" for u, i, v in rows]
    (tmp_path / "ratings.dat").write_text("\n".join(lines) + "\n")
    check(load_ratings(tmp_path / "u.data"))
    check(load_ratings(tmp_path / "ratings.dat"))
    names = {"user": "userId", "item": "movieId"}
    frame = pd.DataFrame({"user": USERS, "item": ITEMS, "rating": VALUES}).rename(columns=names)
    frame.to_csv(tmp_path / "ratings.csv", index=False)
    check(load_ratings(tmp_path / "ratings.csv"))


def test_names_of_columns_text_as_ids_and_implicit_feedback(table):
    other = table.rename(columns={"user": "who", "item": "what", "rating": "stars"})
    check(load_ratings(other, user="who", item="what", rating="stars"))
    text = other.assign(who=["c", "a", "c", "b"])
    ratings = load_ratings(text, user="who", item="what")
    assert ratings.users.tolist() == ["a", "b", "c"]
    assert ratings.matrix.toarray().tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


def test_repeated_rows(table):
    twice = pd.concat([table, table.assign(rating=1.0)[:1]])
    with pytest.raises(ValueError, match="User 3 has several ratings of item 20"):
        load_ratings(twice)
    assert load_ratings(twice, keep="last").matrix.toarray()[2].tolist() == [2.0, 1.0]


def write_movielens(folder):
    """A small set as tensorflow-datasets writes its own, with two features more."""
    import tensorflow_datasets as tfds

    class Movielens(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("0.1.1")
        BUILDER_CONFIGS = (
            tfds.core.BuilderConfig(name="tiny-ratings", version="0.1.1", description="tiny"),
        )

        def _info(self):
            text = tfds.features.Text()
            features = {"user_id": text, "movie_id": text, "user_rating": np.float32}
            features |= {"movie_title": text, "timestamp": np.int64}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, (user, item, value) in enumerate(zip(USERS, ITEMS, VALUES, strict=True)):
                row = {"user_id": str(user), "movie_id": str(item), "user_rating": value}
                yield i, {**row, "movie_title": "x", "timestamp": i}

    tfds.disable_progress_bar()
    os.makedirs(folder, exist_ok=True)
    Movielens(
        data_dir=str(folder), config="tiny-ratings", file_format="array_record"
    ).download_and_prepare()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_prepared_set_of_tensorflow_datasets(tmp_path):
    write_movielens(tmp_path)
    check(load_ratings("movielens/tiny-ratings", data_dir=tmp_path))


def test_a_set_that_is_not_prepared(tmp_path):
    with pytest.raises(DataNotFoundError, match="not prepared"):
        load_ratings("movielens/100k-ratings", data_dir=tmp_path)


def test_a_prepared_set_that_is_no_ratings(mnist_dir):
    with pytest.raises(ValueError, match="movielens are read"):
        load_ratings("mnist", data_dir=mnist_dir)


@pytest.mark.parametrize(
    ("source", "options", "match"),
    [
        ("absent.csv", {}, "There is no file absent.csv"),
        ("ratings.txt", {}, "files of ratings end in"),
        (3, {}, "got int"),
        ({"user": [1], "item": [1]}, {"rating": "stars"}, "no column stars of the ratings"),
        ({"user": [1], "film": [1]}, {}, "no column item or item_id"),
        ({"film": [1]}, {"user": "who"}, "Choose one with user=NAME"),
    ],
)
def test_sources_that_are_none(source, options, match):
    with pytest.raises(ValueError, match=match):
        load_ratings(source, **options)


def test_files_that_are_damaged(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "a.parquet").write_bytes(b"no table")
    for name in ("a.npz", "a.csv", "a.parquet"):
        with pytest.raises(ValueError, match=name):
            load_ratings(tmp_path / name)
