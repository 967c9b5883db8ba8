"""The scripts do for a person at a terminal what they promise."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
import evaluate
import tables
import train

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = {"epochs": 2, "checkpoint_seconds": 0.0}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def terminal(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("variant", configs.VARIANTS)
def test_every_variant_trains_and_is_evaluated_from_its_checkpoint_alone(variant, capsys):
    folder = train.train(configs.VARIANTS[variant](**TINY))
    assert folder == Path("runs", f"{variant}-digits-1")
    expected = {"config.json", "metrics.jsonl", "checkpoints", "figures", "summary.json"}
    assert {entry.name for entry in folder.iterdir()} == expected
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert figures == ["codes.png", "curves.png", "filters.png", "reconstructions.png"]
    before = (folder / "summary.json").read_text()
    rows = json.loads(before)
    assert [row["name"] for row in rows][2:] == ["mean", "raw input"]
    (folder / "summary.json").unlink()
    evaluate.evaluate(folder)
    assert (folder / "summary.json").read_text() == before
    assert str(folder) in capsys.readouterr().out


def test_a_second_run_takes_a_fresh_folder_and_a_resume_the_newest():
    config = configs.Undercomplete(**TINY)
    assert [train.train(config).name[-1] for _ in range(2)] == ["1", "2"]
    resumed = dataclasses.replace(config, resume=True)
    assert train.train(resumed).name == "undercomplete-digits-2"
    with pytest.raises(ValueError, match=r"learning_rate: it has 0\.002, now given 0\.5"):
        train.train(dataclasses.replace(resumed, learning_rate=0.5))


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_file_trains_with_a_fifth_of_its_rows_held_out(suffix, capsys):
    x = np.random.default_rng(0).normal(3.0, 5.0, (100, 6))
    if suffix == ".npy":
        np.save("table.npy", x)
    else:
        np.savetxt("table.csv", x, delimiter=",", header="a,b,c,d,e,f", comments="")
    config = configs.Denoising(data=f"table{suffix}", scale="standard", latent_dim=3, **TINY)
    train.train(config)
    assert "72 train, 8 validation, 20 test" in capsys.readouterr().out


def test_without_arguments_help_and_mistakes_speak_to_a_newcomer():
    shown = terminal(SCRIPTS / "train.py", "denoising", "--help").stdout
    assert all(
        word in shown for word in ("--noise-level", "--hidden-dims", "--resume", "probability")
    )
    mistake = terminal(SCRIPTS / "train.py", "denoising", "--noise-level", "1.5")
    assert mistake.returncode == 1
    assert mistake.stderr.strip() == "ValueError: noise_level must lie in [0.0, 1.0]; got 1.5."
    nothing = terminal(SCRIPTS / "evaluate.py", "nowhere")
    assert nothing.returncode == 1
    assert "nowhere holds no run" in nothing.stderr


def test_a_configuration_survives_its_file():
    for variant in configs.VARIANTS.values():
        config = variant(seed=3)
        again = configs.from_json(json.loads(json.dumps(configs.to_json(config))))
        assert again == config
    with pytest.raises(ValueError, match="options that deep lacks"):
        configs.from_json({"variant": "deep", "flavour": 1})


def test_the_page_of_benchmarks_says_what_was_measured_and_what_was_missed():
    record = {
        "suite": "quality",
        "name": "row",
        "title": "A row",
        "spread": "seeds",
        "measured": {"error": [1.0, 2.0, 3.0], "one": [4.0]},
        "reference": "published 1.5",
        "bar": "at most 1",
        "holds": False,
        "protocol": "some data",
        "compile_seconds": {"ours": 1.25},
        "seconds": 3.0,
        "command": "python scripts/benchmark.py",
        "commit": "abc1234",
        "device": "cpu",
        "versions": {"jax": jax.__version__},
        "date": "2026-01-01",
    }
    page = tables.render([record, {**record, "spread": "pairs", "holds": True, "title": "Timed"}])
    assert "| error | 2 ± 2.5 | 3 |" in page
    assert "| error | 2 [1.5, 2.5] | 3 |" in page
    assert "| A row | at most 1 | **missed** |" in page
    assert "| Timed | at most 1 | met |" in page
    assert all(word in page for word in ("published 1.5", "abc1234", "some data", "1.2 s"))
