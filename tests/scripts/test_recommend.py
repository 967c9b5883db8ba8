"""The script that recommends: what it prints, keeps and refuses."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recommend
from jaxae.data.synthetic_ratings import low_rank_ratings
from recommend import Recommend

TINY = {"data": "mine.csv", "epochs": 3, "latent_dim": 8, "checkpoint_seconds": 0.0}


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(recommend, "RANKS", (2,))
    monkeypatch.setattr(recommend, "WEIGHTS", (4.0, 8.0))
    monkeypatch.setattr(recommend, "EASE_WEIGHTS", (50.0,))
    ratings = low_rank_ratings(0, users=80, items=40, per_user=20)
    rows, columns, values = ratings.entries
    names = [f"u{row}" for row in rows]
    table = pd.DataFrame({"user": names, "item": columns + 500, "rating": values})
    table.to_csv("mine.csv", index=False)


def terminal(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["recommend.py", *map(str, words)])
    recommend.main()


def recommended(printed):
    return re.findall(r"^(\d+) +(\d[\d.]*)$", printed.split("For ")[1], re.MULTILINE)


@pytest.mark.parametrize("by", ["item", "user"])
def test_a_file_gives_a_table_beside_baselines_and_items_not_yet_rated(by, capsys):
    folder = recommend.train(Recommend(by=by, user="u7", n=5, **TINY))
    assert folder == Path("runs", f"recommend-{by}-mine-1")
    printed = capsys.readouterr().out
    rows = json.loads((folder / "summary.json").read_text())
    assert [row["name"].split(",")[0] for row in rows] == [
        f"{by}-based autoencoder",
        "matrix factorisation",
        "EASE",
        "means of users and items",
        "global mean",
    ]
    assert all(0 < row["mae"] < row["rmse"] < 3 for row in rows)
    for row in rows:
        assert f"{row['rmse']:.5g}" in printed
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert all(np.isfinite(line["validation_rmse"]) for line in lines)
    assert "For user u7:" in printed
    found = recommended(printed)
    assert len(found) == 5
    values = [float(value) for _, value in found]
    assert values == sorted(values, reverse=True)
    table = pd.read_csv("mine.csv")
    rated = set(table["item"][table["user"] == "u7"])
    assert not {int(item) for item, _ in found} & rated
    assert {int(item) for item, _ in found} <= set(table["item"])


def test_a_finished_run_resumed_prints_the_same_for_someone_else(capsys):
    config = Recommend(**TINY)
    folder = recommend.train(config)
    before = (folder / "summary.json").read_text()
    other = dataclasses.replace(config, resume=True, rated=("501=9", "502=1"), n=3)
    assert recommend.train(other) == folder
    assert (folder / "summary.json").read_text() == before
    printed = capsys.readouterr().out.split("For a new user with 2 ratings")[1]
    assert len(recommended("For " + printed)) == 3


def test_without_arguments_the_ratings_are_synthetic_and_said_to_be(monkeypatch, capsys):
    monkeypatch.setattr(recommend, "SYNTHETIC", {"users": 60, "items": 30, "per_user": 15})
    terminal(monkeypatch, "--epochs", 1, "--latent-dim", 4)
    printed = capsys.readouterr().out
    assert "synthetic ratings (random, of low rank)" in printed
    assert "60 users and 30 items" in printed
    assert Path("runs/recommend-item-synthetic-1/config.json").is_file()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--data", "absent.csv"), "There is no file absent.csv"),
        (("--data", "mine.csv", "--rating-column", "stars"), "no column stars"),
        (("--data", "ones.csv"), "All ratings of ones.csv are 1"),
        (("--data", "mine.csv", "--core", "99"), "at least 99 ratings"),
        (("--data", "mine.csv", "--epochs", "1", "--user", "bob"), "There is no user 'bob'"),
        (("--data", "mine.csv", "--epochs", "1", "--rated", "501"), "ITEM=RATING"),
    ],
)
def test_mistakes_end_in_one_line(words, match, monkeypatch):
    pd.read_csv("mine.csv").drop(columns="rating").to_csv("ones.csv", index=False)
    with pytest.raises(SystemExit, match=match):
        terminal(monkeypatch, *words)
