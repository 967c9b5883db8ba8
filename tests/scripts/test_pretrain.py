"""The script that pretrains: its phases, their resume, its tables and figures, its mistakes."""

import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import evaluate
import jaxae
import pretrain
import reports
import stack_reports
from jaxae.training.folders import read_rows
from stack_configs import Stack
from stack_phases import plan

SHORT = "--data digits.npz --layers 8 4 --batch-size 50"
TINY = {
    "data": "digits.npz",
    "layers": (8, 4),
    "batch_size": 50,
    "pretrain_epochs": 3,
    "finetune_epochs": 3,
    "label_epochs": 2,
    "checkpoint_seconds": 1000.0,
}
FROZEN = {"frozen": ("encoder/layer_0",), "freeze_layers": 1}
WHOLE = Stack(**TINY, **FROZEN, layer="denoising", labels=20, twin=True, folder="whole")
PHASES = ("layer_0", "layer_1", "finetune", "twin", "classifier", "classifier_random")


def leaves(trained):
    """All parameters that the phases gave, as bytes."""
    trees = trained.stack, trained.nets, trained.heads
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trees)]


def rows_of(folder):
    """The metrics of all phases but for the seconds, exactly."""
    return {
        phase: [{**row, "seconds": 0} for row in read_rows(folder / phase / "metrics.jsonl")]
        for phase in PHASES
    }


def go(config, monkeypatch):
    """The run's folder and what its phases gave, without tables and figures."""
    kept = []
    monkeypatch.setattr(pretrain, "report", lambda *given: kept.append(given[2]) or "")
    return pretrain.pretrain(config), kept[0]


def mistake(monkeypatch, *arguments):
    """What the script says at its end."""
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--data", "digits.npz", *arguments])
    with pytest.raises(SystemExit) as stop:
        pretrain.main()
    return stop.value.code


@pytest.mark.parametrize("layer", ["rbm", "denoising"])
def test_the_script_trains_prints_draws_and_its_checkpoints_alone_give_the_same(
    layer, monkeypatch, capsys
):
    more = "--labels 20 --label-epochs 2 --twin" if layer == "rbm" else ""
    options = f"{SHORT} --pretrain-epochs 2 --finetune-epochs 2 --layer {layer} {more}"
    monkeypatch.setattr(sys, "argv", ["pretrain.py", *options.split()])
    pretrain.main()
    printed, folder = capsys.readouterr().out, Path("runs", f"{layer}-stack-digits-1")
    assert f"{layer} layers 64-8-4 on digits.npz: 144 train, 16 validation, 40 test" in printed
    assert str(folder) in printed
    before = (folder / "summary.json").read_text()
    rows = json.loads(before)
    names = ["pretrained", "fine-tuned", "PCA-4", "mean"]
    phases, accuracies, nets = ["finetune", "layer_0", "layer_1"], [], ["pretrained", "fine-tuned"]
    if more:
        names.insert(2, "random start")
        nets.append("random_start")
        phases = sorted(PHASES)
        accuracies = ["net, pretrained", "net, random start", "logistic regression"]
    assert [row["name"] for row in rows] == names + accuracies
    assert all(row["low"] <= row["test_accuracy"] <= row["high"] for row in rows[len(names) :])
    assert all(np.isfinite(row["mse"]) for row in rows[: len(names)])
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    expected = {f"{what}_{i}" for what in ("filters", "top_inputs") for i in range(2)}
    expected |= {f"curves_{phase}" for phase in phases} | {f"codes_{net}" for net in nets}
    assert drawn == expected | {"reconstructions"}

    (folder / "summary.json").unlink()
    draws, draw = [], stack_reports.draw
    monkeypatch.setattr(stack_reports, "draw", lambda *given: draws.append(given) or {})
    evaluate.evaluate(folder)
    assert (folder / "summary.json").read_text() == before
    if not more:
        assert draw(*draws[0]).keys() == drawn
    assert printed[printed.index("Reconstruction") :].split("\n\n", 2)[1] in capsys.readouterr().out


def test_without_options_it_pretrains_rbms_on_digits(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "argv", ["pretrain.py"])
    monkeypatch.setattr(pretrain, "pretrain", seen.append)
    pretrain.main()
    assert seen == [Stack()]
    made = plan(seen[0], reports.load_splits(seen[0]))
    assert [layer.epochs for layer in made.layers] == [250] * 3
    assert (seen[0].data, seen[0].layer, seen[0].finetune) == ("digits", "rbm", "adam")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, few_digits):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.savez("digits.npz", **few_digits)
        trained = go(WHOLE, patch)[1]
    return leaves(trained), rows_of(folder / "whole")


def test_interrupted_in_any_phase_and_resumed_equals_an_uninterrupted_run(
    uninterrupted, monkeypatch, capsys
):
    advances, train = [], jaxae.over_arrays
    stops = {"layer_1": signal.SIGINT, "finetune": signal.SIGTERM}

    def stopping(*given, **options):
        """As over_arrays, but the first epoch of the last phase begun is stopped, where to be."""
        advance, name = train(*given, **options), advances[-1]

        def stopped(state, epoch):
            if epoch == 0 and (number := stops.pop(name, None)):
                signal.raise_signal(number)
            return advance(state, epoch)

        return stopped

    run = pretrain.chain

    def named(made, follow):
        return run(made, lambda phase: advances.append(phase.name) or follow(phase))

    monkeypatch.setattr(jaxae, "over_arrays", stopping)
    monkeypatch.setattr(pretrain, "chain", named)
    config, resumes = WHOLE, 0
    while stops:
        with pytest.raises(SystemExit) as stop:
            go(config, monkeypatch)
        assert stop.value.code == 130
        assert "--resume --folder whole" in capsys.readouterr().out
        config, resumes = dataclasses.replace(WHOLE, resume=True), resumes + 1
    folder, trained = go(config, monkeypatch)
    assert resumes == 2
    assert len(advances) == 2 + 3 + 6
    assert leaves(trained) == uninterrupted[0]
    assert rows_of(folder) == uninterrupted[1]
    again = go(config, monkeypatch)[1]
    assert leaves(again) == uninterrupted[0]


def test_another_configuration_does_not_resume_and_nothing_is_overwritten(monkeypatch):
    config = Stack(**{**TINY, "pretrain_epochs": 1}, finetune="none", folder="run")
    go(config, monkeypatch)
    with pytest.raises(ValueError, match="exists already"):
        go(config, monkeypatch)
    with pytest.raises(ValueError, match=r"weight_cost: it has 0\.0002, now given 0\.5"):
        go(dataclasses.replace(config, resume=True, weight_cost=0.5), monkeypatch)
    shutil.rmtree("run/layer_1/checkpoints")
    with pytest.raises(ValueError, match="no checkpoint"):
        evaluate.evaluate(Path("run"))


def test_l_bfgs_on_large_batches_descends(monkeypatch):
    config = Stack(**{**TINY, "layers": (4,)}, layer="tied", finetune="lbfgs", folder="run")
    rows = read_rows(go(config, monkeypatch)[0] / "finetune" / "metrics.jsonl")
    assert rows[2]["loss"] < rows[1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--layers 0", "layers are positive widths"),
        ("--pretrain-epochs 0", "pretrain_epochs must be at least 1; got 0."),
        ("--batch-size 500", "batch_size is at most 144, the rows; got 500."),
        ("--labels 9", "labels=9: n must be an integer from 10"),
        ("--freeze-layers 1", "with labels only"),
        ("--finetune none --twin", "finetune=none leaves out"),
        ("--frozen encoder/layer_7", "There is no 'encoder/layer_7' to freeze"),
        ("--layer sparse --code linear", "sigmoid codes"),
        ("--visible gaussian --layers 5", "Gaussian units on one side only"),
        ("--data wide.npz", "visible=bernoulli is for x in [0, 1]"),
        ("--layer denoising --noise-level 2", "noise_level must lie in [0.0, 1.0]; got 2.0."),
        ("--noise-level 0.5", "noise_level is of denoising layers, and these are rbm."),
        ("--resume", "no run to resume"),
        ("--data acts", "shards do not pretrain"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_no_folder(arguments, words, monkeypatch):
    np.savez("wide.npz", x=np.linspace(-1, 2, 450, dtype=np.float32).reshape(150, 3))
    Path("acts").mkdir()
    for i in range(3):
        np.save(f"acts/{i}.npy", np.zeros((10, 4), np.float32))
    said = mistake(monkeypatch, *arguments.split())
    assert said.startswith("ValueError: ")
    assert words in said
    assert "\n" not in said
    assert not Path("runs").exists()


def test_data_without_labels_trains_a_stack_but_no_classifier(monkeypatch):
    np.save("rows.npy", np.random.default_rng(0).random((200, 12), np.float32))
    assert "labels=20: A labelled subset needs" in mistake(
        monkeypatch, "--data", "rows.npy", "--labels", "20"
    )
    config = Stack(**{**TINY, "data": "rows.npy", "layers": (4,)}, finetune="none", folder="run")
    rows = pretrain.pretrain(config) / "summary.json"
    assert [row["name"] for row in json.loads(rows.read_text())] == ["pretrained", "PCA-4", "mean"]


def test_the_title_of_a_phase_stands_before_its_bar(monkeypatch, capsys):
    run = jaxae.run
    monkeypatch.setattr(
        jaxae, "run", lambda *given, **options: run(*given, progress=True, **options)
    )
    config = Stack(**{**TINY, "layers": (4,)}, finetune="none", folder="run")
    go(config, monkeypatch)
    assert "layer 1 of 1: rbm 64-4: 100%" in capsys.readouterr().err
