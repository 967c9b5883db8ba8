"""The scripts do for a person at a terminal what they promise."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
import evaluate
import reports
import sparse_configs
import tables
import train

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = {"epochs": 2, "checkpoint_seconds": 0.0}
ROWS = {
    "": "model",
    "sparsity": "codes",
    "contraction": "Jacobian",
    "boltzmann": "mean free energy, test rows",
    "variational": "units",
    "codebook": "codebook",
    "mmd": "codes beside the prior",
    "bits": "bits",
}
EVALUATED = ("denoising", "contractive", "k-sparse", "matryoshka", "rbm", "vae", "vq-vae")
FIGURES = {
    "": set(),
    "sparsity": {"atoms", "density", "top_inputs"},
    "contraction": {"contraction", "directions", "spectrum"},
    "boltzmann": {"fantasies"},
    "variational": {"samples", "interpolations", "traversals", "draws"},
    "codebook": {"samples", "interpolations"},
    "mmd": {"samples", "interpolations", "traversals"},
    "bits": {"interpolations", "traversals"},
}


def terminal(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("variant", configs.VARIANTS)
def test_every_variant_trains_and_a_checkpoint_alone_gives_its_table_and_figures(variant, capsys):
    kind = configs.VARIANTS[variant]
    folder = train.train(kind(data="digits.npz", **TINY))
    assert folder == Path("runs", f"{variant}-digits-1")
    expected = {"config.json", "metrics.jsonl", "checkpoints", "figures", "summary.json"}
    assert {entry.name for entry in folder.iterdir()} == expected
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"codes", "curves", "filters", "reconstructions"} | FIGURES[kind.MEASURES]
    before = (folder / "summary.json").read_text()
    rows = {row["name"]: row for row in json.loads(before)}
    assert {"model", "mean", "raw input"} < rows.keys()
    measured = rows[ROWS[kind.MEASURES]]
    assert all(np.isfinite(value) for name, value in measured.items() if name != "name")
    printed = capsys.readouterr().out
    assert str(folder) in printed
    if variant in EVALUATED:
        (folder / "summary.json").unlink()
        shutil.rmtree(folder / "figures")
        evaluate.evaluate(folder)
        assert (folder / "summary.json").read_text() == before
        assert {path.stem for path in (folder / "figures").iterdir()} == names
        table = printed.split("\nname")[1].split("\n\n")[0]
        assert table in capsys.readouterr().out


def test_a_second_run_takes_a_fresh_folder_and_a_resume_the_newest():
    config = configs.Undercomplete(data="digits.npz", **TINY)
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


@pytest.mark.parametrize(("suffix", "scale"), [(".npy", "none"), (".safetensors", "standard")])
def test_shards_train_from_their_files_and_the_last_are_held_out(suffix, scale, capsys):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    Path("acts").mkdir()
    for i in range(4):
        x = rng.normal(3.0, 5.0, (100, 12)).astype(np.float16)
        if suffix == ".npy":
            np.save(f"acts/layer-{i}.npy", x)
        else:
            save_file({"acts": x}, f"acts/layer-{i}.safetensors")
    config = sparse_configs.TopK(
        data=f"acts/*{suffix}" if scale == "none" else "acts", latent_dim=16, k=3, scale=scale
    )
    folder = train.train(dataclasses.replace(config, **TINY))
    assert folder == Path("runs", "top-k-acts-1")
    assert "300 train, 50 validation, 50 test" in capsys.readouterr().out
    before = (folder / "summary.json").read_text()
    rows = {row["name"]: row for row in json.loads(before)}
    assert 0 < rows["codes"]["l0"] <= 3 + 1e-5
    spread = 1.0 if scale == "standard" else 25.0
    np.testing.assert_allclose(rows["mean"]["mse"], spread, rtol=0.2)
    evaluate.evaluate(folder)
    assert (folder / "summary.json").read_text() == before


def test_of_shards_only_a_bounded_number_of_rows_is_in_memory(monkeypatch):
    monkeypatch.setattr(reports, "MOST", 64)
    for i in range(4):
        np.save(f"{i}.npy", np.arange(1000 * i, 1000 * (i + 1), dtype=np.float32)[:, None])
    splits = reports.load_splits(sparse_configs.TopK(data="?.npy"))
    rows = [part["x"].ravel() for part in (splits.sample, splits.validation, splits.test)]
    assert [len(x) for x in rows] == [64, 64, 64]
    assert (rows[0].min(), rows[0].max()) == (0, 2999)
    assert 3000 <= rows[1].min() <= rows[1].max() < rows[2].min()
    assert len(splits.train["x"]) == 3000
    for options in ({"data": "0.npy*"}, {"data": "?.npy", "label": "y"}):
        with pytest.raises(ValueError, match=r"several|neither labels"):
            reports.load_splits(sparse_configs.TopK(**options))


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
        "measured": {"error": [1.0, 2.0, 3.0], "one |z|": [4.0]},
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
    assert r"| one \|z\| | 4 | 1 |" in page  # bars within a cell do not end it
    assert "| A row | at most 1 | **missed** |" in page
    assert "| Timed | at most 1 | met |" in page
    assert all(word in page for word in ("published 1.5", "abc1234", "some data", "1.2 s"))
