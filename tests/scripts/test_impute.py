"""The script that fills tables: what it writes, runs used again, and mistakes."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import impute
from impute_options import Impute
from jaxae.data.columns import Columns

TINY = ("--epochs", "2", "--hidden-dims", "4", "--latent-dim", "2", "--batch-size", "20")


def terminal(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["impute.py", *map(str, words)])
    impute.main()


@pytest.fixture
def holes():
    """A table with holes, a column of identifiers first, in table.csv."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=60)
    frame = pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(60)],
            "a": 10 + 5 * t,
            "b": 3 - t + 0.1 * rng.normal(size=60),
            "kind": np.where(t > 0, "up", "down"),
            "level": np.digitize(t, [-0.5, 0.5]),
        }
    )
    marks = rng.random(frame.shape) < 0.1
    marks[:, 0] = False
    frame.mask(marks).to_csv("table.csv", index=False)
    return pd.read_csv("table.csv")


def test_a_run_fills_the_table_and_is_used_again_on_later_rows(holes, monkeypatch, capsys):
    options = ("--data", "table.csv", "--drop", "id", "--categorical", "level", "--draws", 2)
    terminal(monkeypatch, *options, *TINY, "--folder", "run", "--cells", 3)
    printed = capsys.readouterr().out
    missing = int(holes.isna().to_numpy().sum())
    assert f"60 rows, 4 columns (2 numeric, 1 binary, 1 categorical), {missing} missing" in printed
    assert "all numeric" in printed
    run, seen = Path("run"), holes.notna().to_numpy()
    tables = [pd.read_csv(run / name) for name in ("imputed.csv", "imputed-1.csv", "imputed-2.csv")]
    for table in tables:
        assert list(table.columns) == list(holes.columns)
        assert not table.isna().any(axis=None)
        np.testing.assert_array_equal(table.to_numpy(object)[seen], holes.to_numpy(object)[seen])
    assert not tables[1].equals(tables[2])
    columns = Columns.from_json((run / "columns.json").read_text())
    assert columns.names == ["a", "b", "kind", "level"]
    errors = json.loads((run / "summary.json").read_text())["errors"]
    hidden = sum(row["cells"] for row in errors if row["column"].startswith("all "))
    assert hidden == round(0.1 * seen[:, 1:].sum())
    odd = pd.read_csv(run / "odd_cells.csv")
    assert odd["nats"].is_monotonic_decreasing
    for row in odd.itertuples():
        assert str(holes.loc[row.row, row.column]) == str(row.cell)

    holes.iloc[:20].drop(columns="b").to_csv("later.csv", index=False)
    use = ("--data", "later.csv", "--use", "run", "--out", "filled.csv")
    with pytest.raises(SystemExit, match=r"lacks the columns \['b'\]"):
        terminal(monkeypatch, *use)
    holes.iloc[:20].to_csv("later.csv", index=False)
    terminal(monkeypatch, *use)
    whole = pd.read_csv("run/imputed.csv").iloc[:20]
    pd.testing.assert_frame_equal(pd.read_csv("filled.csv"), whole, rtol=1e-5)
    with pytest.raises(SystemExit, match=r"filled\.csv exists already"):
        terminal(monkeypatch, *use)


def test_a_run_goes_on_to_the_same_table(holes, monkeypatch):
    options = ("--data", "table.csv", "--drop", "id", *TINY, "--folder", "run", "--variant", "vae")
    terminal(monkeypatch, *options)
    table = Path("run/imputed.csv").read_text()
    Path("run/imputed.csv").unlink()
    terminal(monkeypatch, *options, "--resume")
    assert Path("run/imputed.csv").read_text() == table
    with pytest.raises(SystemExit, match="is not overwritten"):
        terminal(monkeypatch, *options)
    with pytest.raises(SystemExit, match=r"noise_level: it has 0\.3, now given 0\.5"):
        terminal(monkeypatch, *options, "--resume", "--noise-level", "0.5")


def test_of_a_bundled_table_a_fifth_is_removed_and_judged():
    cells = impute.load_cells(Impute(data="iris", seed=3))
    assert cells.test.to_numpy().sum() == round(0.2 * 150 * 4)
    pd.testing.assert_frame_equal(cells.table.isna(), cells.test)
    assert not cells.whole.isna().any(axis=None)
    pd.testing.assert_frame_equal(cells.seen.isna(), cells.test | cells.validation)
    seen = cells.seen.iloc[:, 0]
    column = cells.columns.columns[0]
    np.testing.assert_allclose([column.mean, column.scale], [seen.mean(), seen.std(ddof=0)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "none.csv"), r"existing \.csv or \.parquet"),
        (("--data", "table.txt"), r"existing \.csv or \.parquet"),
        (("--drop", "colour"), r"--drop \['colour'\]: the table has"),
        (("--categorical", "a", "--numeric", "a"), "can not be both"),
        (("--test-cells", "0"), r"--test-cells is a share in \(0, 1\); got 0"),
        (("--validation-cells", "1"), "--validation-cells is a share"),
        (("--noise-level", "1.5", "--drop", "id"), "noise_level must lie"),
        (("--batch-size", "61", "--drop", "id"), "at most the 60 examples"),
        (("--cells", "0"), "--cells is at least 1"),
        (("--out", "nowhere/x.csv"), "in an existing folder"),
        (("--out", "x.xlsx"), r"\.csv or \.parquet"),
        (("--use", "nowhere"), "holds no run"),
        (("--numeric", "kind", "--drop", "id"), "'kind' are no finite numbers"),
    ],
)
def test_nonsense_ends_in_one_line(holes, monkeypatch, words, message):
    given = () if "--data" in words else ("--data", "table.csv")
    with pytest.raises(SystemExit, match=message):
        terminal(monkeypatch, *given, *words)
    assert not Path("runs").exists()
