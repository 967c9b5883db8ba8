"""The script that finds anomalies: what is held out, what is written, and mistakes."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro

import detect
import jaxae
import train
from boltzmann_configs import RBM
from configs import VARIANTS, Denoising
from detect import DETECTING, OfRun, Training
from evaluate import load_run
from jaxae.deploy import thresholds
from jaxae.deploy.anomaly import anomaly_scores
from variational_configs import VAE

SCRIPT = Path(__file__).parents[2] / "scripts" / "detect.py"
SMALL = {"data": "digits.npz", "epochs": 3, "latent_dim": 3, "hidden_dims": (8,)}


@pytest.fixture(autouse=True)
def _no_report_of_the_training(monkeypatch):
    monkeypatch.setattr(train, "report", lambda *given: "")


def options(variant="denoising", **given):
    return DETECTING[variant](**{**SMALL, **given})


def written(folder):
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_a_class_is_held_out_of_training_and_ranked_beside_pca_and_a_forest(capsys, few_digits):
    folder = detect.detect(options(anomalous=(0, 4), folder="found", level=0.1))
    printed = capsys.readouterr().out
    found = load_run(folder / "run")
    strange = np.isin(few_digits["y"], (0, 4))
    for part in (found.splits.train, found.splits.validation, found.splits.test):
        assert not np.isin(part["y"], (0, 4)).any()
    calibration, check = jaxae.split(found.splits.test, 0.5, seed=0)
    score = anomaly_scores(found.model)
    rows = {"x": np.concatenate([check["x"], few_digits["x"][strange]])}
    known, scores = (score(found.params, None, {"x": p["x"]}) for p in (calibration, rows))
    table = written(folder)
    np.testing.assert_allclose(table["score"], scores, rtol=1e-4)
    assert (table["anomaly"] == np.isin(table["label"], (0, 4))).all()
    assert table["anomaly"].sum() == strange.sum()
    p = thresholds.conformal_p_values(known, scores)
    np.testing.assert_allclose(table["p_value"], p, atol=0.05)
    np.testing.assert_array_equal(table["flagged"], table["p_value"] <= 0.1)
    np.testing.assert_array_equal(table["discovery"], thresholds.discoveries(table["p_value"], 0.1))
    summary = json.loads((folder / "detection.json").read_text())
    names = [row["name"] for row in summary["ranking"]]
    assert names == ["denoising, reconstruction", "PCA-3, reconstruction", "isolation forest"]
    assert [row["name"] for row in summary["false_alarms"]] == ["1%", "5%", "10%"]
    assert {"histogram.png", "strangest.png"} <= {path.name for path in folder.iterdir()}
    assert "auroc" in printed
    assert "False alarms" in printed


@pytest.mark.parametrize(
    ("variant", "given", "kind"),
    [
        ("vae", {}, "elbo"),
        ("deep", {}, "density"),
        ("rbm", {"hidden_dims": None}, "free_energy"),
    ],
)
def test_every_kind_of_score_has_its_model(variant, given, kind):
    given = {name: value for name, value in {**SMALL, **given}.items() if value is not None}
    folder = detect.detect(
        DETECTING[variant](**given, anomalous=(1,), kind=kind, folder="found", gaussians=2)
    )
    table = written(folder)
    assert np.isfinite(table["score"]).all()
    assert len(np.unique(table["score"])) > 20


def test_rows_of_another_file_are_scored_in_their_order_as_the_training_rows_were_scaled(capsys):
    rng = np.random.default_rng(0)
    normal = np.outer(rng.normal(size=120), [1.0, 2.0, 3.0]) + 50
    new = np.concatenate([normal[:5], normal[:3] + np.array([0, 9, 0])])
    for name, x in (("normal", normal), ("new", new)):
        lines = [",".join(map(str, row)) for row in x.tolist()]
        text = "\n".join(["a,b,c", *lines]) + "\n"
        Path(f"{name}.csv").write_text(text)
    Path("named.csv").write_text("name,a,b,c\nx,50,50,50\ny,51,52,53\n")
    given = {"data": "normal.csv", "scale": "standard", "epochs": 150, "latent_dim": 1}
    folder = detect.detect(DETECTING["linear"](**given, score="new.csv", folder="found", level=0.1))
    table = written(folder)
    assert len(table["row"]) == 8
    assert table["score"][5:].min() > 10 * table["score"][:5].max()
    np.testing.assert_array_equal(table["flagged"][5:], [1, 1, 1])
    assert "anomaly" not in table
    assert "auroc" not in capsys.readouterr().out
    again = detect.detect(OfRun(run=folder / "run", score="new.csv", level=0.01))
    np.testing.assert_array_equal(written(again)["score"], table["score"])
    assert written(again)["flagged"].sum() == 0
    assert "24 rows that calibrate are too few to flag any at 0.01" in capsys.readouterr().out
    labelled = OfRun(run=folder / "run", score="named.csv", score_label="name")
    assert written(detect.detect(labelled))["label"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="rows of shape"):
        detect.detect(OfRun(run=folder / "run", score="digits.npz"))


def test_options_of_detection_and_of_variants_have_names_of_their_own():
    own = {field.name for field in dataclasses.fields(Training)}
    for kind in VARIANTS.values():
        assert not own & {field.name for field in dataclasses.fields(kind)}
    parsed = tyro.cli(DETECTING["vae"], args=["--anomalous", "3", "5", "--kind", "nll"])
    assert parsed.anomalous == (3, 5)
    assert parsed.latent_dim == VAE().latent_dim
    assert DETECTING["rbm"]().latent_dim == RBM().latent_dim
    assert DETECTING["denoising"]().noise_level == Denoising().noise_level


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": 0.0}, "level must lie"),
        ({"anomalous": (11,)}, "no rows of class"),
        ({"anomalous": tuple(range(10))}, "No row is left"),
        ({"data": "plain.npy", "anomalous": (1,)}, "has no labels"),
        ({"kind": "elbo", "anomalous": (1,)}, "deterministic"),
    ],
)
def test_mistakes_end_in_a_message(given, message):
    np.save("plain.npy", np.random.default_rng(0).random((50, 4), np.float32))
    with pytest.raises(ValueError, match=message):
        detect.detect(options(**given, folder="found"))


def test_the_command_line_lists_variants_and_runs_and_says_what_is_wrong():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert "denoising" in done.stdout
    assert "run" in done.stdout
    wrong = [sys.executable, SCRIPT, "denoising", "--level", "2"]
    done = subprocess.run(wrong, capture_output=True, text=True)
    assert done.returncode
    assert "ValueError: level must lie" in done.stderr
