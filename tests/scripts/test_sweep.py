"""`sweep.py` trains members that `train.py` would train, and compares them."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro

import evaluate
import jaxae
import sweep
import train
from configs import Denoising
from jaxae.training import checkpoints
from jaxae.training.folders import read_rows
from sweep_configs import SWEPT, Range, base_of, points_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
SMALL = ("--data", "digits.npz", "--epochs", "2", "--hidden-dims", "8", "--latent-dim", "4")


FLOATS = (
    *("learning_rate", "l2", "noise_level", "contractive_weight", "hessian_weight"),
    *("sparsity_weight", "sparsity_target", "l1_coefficient", "aux_coefficient", "alpha"),
    *("fraction", "bandwidth", "threshold", "momentum", "weight_cost"),
    *("beta", "free_bits", "capacity", "mmd_weight", "information", "commitment", "decay"),
    "adversarial_weight",
)

LARGE = {"alpha": 1.3, "mmd_weight": 1.3}
"""Those that are at least 1, by themselves or with others."""


def parsed(variant, *options):
    return tyro.cli(SWEPT[variant], args=[str(option) for option in options])


def best_of(folder, like):
    manager = checkpoints.open_checkpoints(folder / "checkpoints", write=False)
    best = checkpoints.restore(manager, best=like)["best"]
    manager.close()
    return best


def test_members_are_measured_drawn_and_compared_and_the_best_is_a_run_of_its_own(capsys):
    folder = sweep.sweep(parsed("denoising", *SMALL, "--noise-level", 0, 0.3, "--seeds", 2))
    printed = capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert [m["noise_level"] for m in summary["members"]] == [0.0, 0.0, 0.3, 0.3]
    assert [m["seed"] for m in summary["members"]] == [0, 1, 0, 1]
    assert all(np.isfinite(m["mse"]) and 0 <= m["knn_accuracy"] <= 1 for m in summary["members"])
    means = {}
    for m in summary["members"]:
        means.setdefault(m["noise_level"], []).append(m["validation_linear_accuracy"])
    best = summary["members"][summary["best"]]
    assert np.mean(means[best["noise_level"]]) == max(map(np.mean, means.values()))
    rows = read_rows(folder / "metrics.jsonl")
    assert [(r["epoch"], r["member"]) for r in rows] == [(e, m) for e in (1, 2) for m in range(4)]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"noise_level.png", "filters_noise_level.png", "curves.png"}
    own = folder / f"member_{summary['best']}"
    assert str(own) in printed
    evaluate.evaluate(own)
    table = json.loads((own / "summary.json").read_text())
    assert table[0]["mse"] == pytest.approx(best["mse"], rel=1e-5)


def test_a_member_is_what_train_makes_of_its_options():
    config = parsed("denoising", *SMALL, "--noise-level", 0.1, 0.3, "--learning-rate", 1e-3)
    folder = sweep.sweep(dataclasses.replace(config, export=(-1,)))
    own = Denoising(
        data="digits.npz",
        epochs=2,
        hidden_dims=(8,),
        latent_dim=4,
        noise_level=0.3,
        learning_rate=1e-3,
    )
    alone = train.train(own)
    like = jax.eval_shape(
        own.build({"x": np.zeros((1, 8, 8, 1))}, 1).init,
        jax.random.key(0),
        {"x": np.zeros((1, 8, 8, 1))},
    )
    for a, b in zip(
        jax.tree.leaves(best_of(folder / "member_1", like)),
        jax.tree.leaves(best_of(alone, like)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", SWEPT)
def test_every_number_of_every_variant_sweeps(variant):
    base = base_of(SWEPT[variant](data="digits.npz", epochs=2))
    floats = [name for name in FLOATS if hasattr(base, name)]
    digits = jaxae.load("digits", "train[:40]")
    (rows,) = base.complete({**digits, "x": np.asarray(digits["x"], np.float32) / 16})
    rows = base.seen(rows)

    def train(data, key, values):
        own = dataclasses.replace(base, **values)
        model = own.build(rows, 4)
        learner = own.learner(model, 4)
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=1, batch_size=20)[1]["loss"]

    used = {name: LARGE.get(name, 0.12) for name in floats}
    values = {name: np.float32([value * 0.9, value]) for name, value in used.items()}
    swept = jaxae.sweep(train, rows, jax.vmap(jax.random.key)(np.array([0, 0])), values)
    alone = jax.jit(lambda data, key: train(data, key, used))(rows, jax.random.key(0))
    np.testing.assert_allclose(swept[1], alone, rtol=1e-4)


def test_a_range_is_drawn_and_several_options_cross():
    options = ("--noise-level", 0, 0.2, "--learning-rate", "1e-4..1e-2", "--samples", 3)
    config = parsed("denoising", *options, "--seeds", 2)
    points = points_of(config)
    assert len(points["seed"]) == 2 * 3 * 2
    assert points["noise_level"].tolist() == [0.0] * 6 + [0.2] * 6
    assert len(set(points["learning_rate"])) == 3
    assert (points["learning_rate"] > 1e-4).all()
    assert (points["learning_rate"] < 1e-2).all()
    assert base_of(config).noise_level == 0.0
    assert config.learning_rate == (Range(1e-4, 1e-2),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Nothing is swept"),
        (("--noise-level", "0.1", "0.2..0.3"), "either numbers or one range"),
        (("--seeds", 0), "seeds and samples are at least 1"),
        (("--noise-level", 0, 1.5), "noise_level must lie"),
        (("--seeds", 2, "--select", "accuracy"), "select is one of"),
        (("--seeds", 2, "--data", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_mistakes_end_in_words(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        sweep.sweep(parsed("denoising", *SMALL, *options))


def test_a_member_that_diverges_is_named_and_never_best(capsys):
    rates = ("--learning-rate", 1e-3, 1e30, "--schedule", "constant")
    folder = sweep.sweep(parsed("undercomplete", *SMALL, *rates))
    summary = json.loads((folder / "summary.json").read_text())
    assert [m["diverged"] for m in summary["members"]] == [False, True]
    assert summary["best"] == 0
    assert "1 member(s) diverged" in capsys.readouterr().out


def test_a_terminal_sees_help_results_and_a_range_that_is_none():
    def terminal(*arguments):
        return subprocess.run(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
        )

    shown = terminal("denoising", "--help").stdout
    assert "--noise-level NUMBERS|LOW..HIGH" in shown
    assert "Strength of the corruption" in shown
    done = terminal("undercomplete", *SMALL, "--l2", 0, 0.1, "--devices", 2)
    assert done.returncode == 0, done.stderr
    assert "2 members over 2 device(s): l2 (2 values)" in done.stdout
    wrong = terminal("denoising", "--noise-level", "0.3..0.1")
    assert wrong.returncode != 0
    assert "LOW..HIGH with 0 < LOW < HIGH" in " ".join((wrong.stderr + wrong.stdout).split())
