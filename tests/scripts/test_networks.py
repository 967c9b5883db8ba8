"""The command line's kinds of networks: what each trains and draws, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tyro

import configs
import evaluate
import sweep
import sweep_reports
import train
from sweep_configs import SWEPT

TINY = {"data": "digits.npz", "epochs": 2, "latent_dim": 3, "batch_size": 40}


@pytest.fixture
def series():
    """Sequences of 2 channels and 3 to 6 steps, of two kinds."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = np.sin(np.arange(6) * (1 + y[:, None]))[..., None] * rng.uniform(0.5, 1, (120, 1, 2))
    mask = np.arange(6) < rng.integers(3, 7, (120, 1))
    np.savez("series.npz", x=x.astype(np.float32), mask=mask.astype(np.float32), y=y)


def test_a_convolutional_net_shows_its_maps_and_patches_and_is_evaluated_again():
    dims = {"hidden_dims": (4, 6), "dense_dims": (8,)}
    folder = train.train(configs.Denoising(networks="convolutional", **dims, **TINY))
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    own = {"filters", "feature_maps", "patches_0", "patches_1"}
    assert drawn == {"codes", "curves", "reconstructions"} | own
    before = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    evaluate.evaluate(folder)
    assert json.loads((folder / "summary.json").read_text()) == before
    kept = json.loads((folder / "config.json").read_text())["config"]
    assert kept["networks"] == "convolutional"
    assert kept["dense_dims"] == [8]


def test_codes_that_are_maps_are_as_many_as_their_entries():
    variant = configs.VARIANTS["winner-take-all"]
    folder = train.train(variant(networks="convolutional", maps=True, **TINY))
    rows = json.loads((folder / "summary.json").read_text())
    entries = 1 * 1 * 3  # three strides of 2 leave one place of 8 x 8
    assert rows[0]["codes"] == rows[1]["codes"] == entries
    assert rows[1]["name"] == f"PCA-{rows[0]['codes']}"


def test_a_variational_net_with_two_outputs_for_each_code_shows_its_maps():
    variant = configs.VARIANTS["vae"]
    folder = train.train(variant(networks="convolutional", hidden_dims=(4,), nll_samples=5, **TINY))
    assert (folder / "figures" / "patches_0.png").stat().st_size > 1000


def test_sequences_with_absent_steps_train_a_recurrent_net(series):
    options = {**TINY, "data": "series.npz", "networks": "recurrent", "hidden_dims": (5,)}
    folder = train.train(configs.Deep(bidirectional=True, **options))
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"codes", "curves", "reconstructions"}
    rows = json.loads((folder / "summary.json").read_text())
    with np.load("series.npz") as data:
        observed = 2 * data["mask"].sum(1).mean()
    # what is absent counts neither in the mean nor in the sum
    assert rows[2]["squared_error"] / rows[2]["mse"] == pytest.approx(observed, rel=0.1)
    assert Path(folder, "checkpoints").is_dir()


def test_a_folder_of_colour_images_of_mixed_size_trains_when_asked_to_resize(capsys):
    from PIL import Image

    rng = np.random.default_rng(1)
    for i in range(30):
        place = Path("photos", "cats" if i % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        size = (9, 6, 3) if i % 3 else (8, 6, 3)
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(place / f"{i}.png")
    options = {**TINY, "data": "photos", "batch_size": 8, "networks": "convolutional"}
    with pytest.raises(ValueError, match="size"):
        train.train(configs.Deep(**options))
    folder = train.train(configs.Deep(image_size=(9, 6), hidden_dims=(4,), **options))
    assert "(9, 6, 3)" in capsys.readouterr().out
    assert (folder / "figures" / "filters.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="--image-size is for a folder"):
        train.train(configs.Deep(image_size=(9, 6), **TINY))


@pytest.mark.parametrize(
    ("networks", "figures"),
    [("convolutional", {"filters_noise_level"}), ("recurrent", set())],
)
def test_a_sweep_draws_the_filters_that_there_are(networks, figures, series, monkeypatch):
    monkeypatch.setattr(sweep_reports, "export", lambda *given: "")
    data = "digits.npz" if networks == "convolutional" else "series.npz"
    options = {**TINY, "data": data, "epochs": 1, "hidden_dims": (4,)}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    given[-1:] = ["--hidden-dims", "4", f"--networks={networks}", "--corruption=gaussian"]
    args = [*given, "--noise-level", "0", "0.2", "--seeds", "1"]
    folder = sweep.sweep(tyro.cli(SWEPT["denoising"], args=args))
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"curves", "noise_level"} | figures


def test_hidden_dims_and_activation_suit_the_networks_unless_given():
    plain = configs.Denoising()
    assert plain.parts()["hidden_dims"] == (512,)
    assert configs.Denoising(networks="convolutional").parts()["hidden_dims"] == (16, 32)
    recurrent = configs.Denoising(networks="recurrent").parts()
    assert recurrent["hidden_dims"] == (64,)
    assert recurrent["activation"] == "tanh"
    given = configs.Denoising(networks="recurrent", hidden_dims=(9,), activation="relu").parts()
    assert given["hidden_dims"] == (9,)
    assert given["activation"] == "relu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 5}, "--kernel-size is for --networks convolutional; it is mlp"),
        ({"networks": "recurrent", "maps": True}, "--maps is for --networks convolutional"),
        ({"networks": "convolutional", "cell": "lstm"}, "--cell is for --networks recurrent"),
        ({"networks": "recurrent"}, "A sequence has shape"),
    ],
)
def test_options_of_other_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train.train(configs.Deep(**TINY, **options))
