"""`pretrain.py --sweep` trains members that `pretrain.py` would train, phase by phase."""

import dataclasses
import json

import pytest

import evaluate
import pretrain
import stack_sweeps
from jaxae.training.folders import read_rows
from stack_configs import Stack
from sweep_configs import Range

TINY = Stack(
    data="digits.npz",
    layer="denoising",
    layers=(8, 4),
    batch_size=50,
    pretrain_epochs=2,
    finetune_epochs=2,
    label_epochs=2,
    labels=20,
    noise_level=0.3,
)
PHASES = ("layer_0", "layer_1", "finetune", "classifier", "classifier_random")


def test_every_member_is_what_the_script_makes_of_its_options_and_the_best_is_a_run():
    config = dataclasses.replace(TINY, sweep=("noise-level=0.1,0.3",), seeds=2)
    folder = pretrain.pretrain(config)
    members = json.loads((folder / "summary.json").read_text())["members"]
    assert [(m["noise_level"], m["seed"]) for m in members] == [
        (0.1, 0),
        (0.1, 1),
        (0.3, 0),
        (0.3, 1),
    ]
    for phase in PHASES:
        rows = read_rows(folder / phase / "metrics.jsonl")
        assert [(r["epoch"], r["member"]) for r in rows] == [
            (e, m) for e in (1, 2) for m in range(4)
        ]
    alone = pretrain.pretrain(TINY)
    for phase in PHASES:
        mine = [r for r in read_rows(folder / phase / "metrics.jsonl") if r["member"] == 2]
        for row, expected in zip(mine, read_rows(alone / phase / "metrics.jsonl"), strict=True):
            for name in expected.keys() - {"seconds", "epoch"}:
                assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), (phase, name)
    errors = {row["name"]: row for row in json.loads((alone / "summary.json").read_text())}
    assert members[2]["fine-tuned mse"] == pytest.approx(errors["fine-tuned"]["mse"], rel=1e-4)
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"noise_level.png", "filters_noise_level.png"}
    best = json.loads((folder / "summary.json").read_text())["best"]
    own = folder / f"member_{best}"
    before = (own / "summary.json").read_text()
    (own / "summary.json").unlink()
    evaluate.evaluate(own)
    assert (own / "summary.json").read_text() == before


def test_a_finished_sweep_resumes_to_itself_and_goes_on_where_a_phase_is_missing():
    config = dataclasses.replace(
        TINY, sweep=("layer-learning-rate=1e-3..1e-2",), samples=2, labels=0
    )
    folder = pretrain.pretrain(config)
    before = json.loads((folder / "summary.json").read_text())
    again = dataclasses.replace(config, resume=True, folder=str(folder))
    assert pretrain.pretrain(again) == folder
    assert json.loads((folder / "summary.json").read_text()) == before


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (("noise-level",), "sweep takes NAME=VALUES"),
        (("layers=4,8",), "with a name among"),
        (("noise-level=a,b",), "could not convert"),
        (("noise-level=0.1,1.5",), "noise_level must lie"),
        (("weight-cost=0,0.1",), "weight_cost is of rbm layers"),
    ],
)
def test_mistakes_end_in_words(sweep, message):
    with pytest.raises(ValueError, match=message):
        pretrain.pretrain(dataclasses.replace(TINY, sweep=sweep))


def test_ranges_and_lists_are_read():
    config = dataclasses.replace(
        TINY, sweep=("noise-level=0,0.5", "--label-learning-rate=1e-4..1e-2")
    )
    axes = stack_sweeps.axes_of(config)
    assert axes == {"noise_level": (0.0, 0.5), "label_learning_rate": (Range(1e-4, 1e-2),)}
