"""The script that compresses: what comes back, what it costs beside others, and mistakes."""

import dataclasses
import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

import compress
import train
from configs import Denoising
from variational_configs import VAE, ConditionalVAE

pytest.importorskip("constriction")

TINY = {"data": "digits.npz", "epochs": 1, "latent_dim": 3, "hidden_dims": (8,)}


@pytest.fixture
def trained(monkeypatch):
    """Trains a configuration without a report; gives the run's folder."""
    monkeypatch.setattr(train, "report", lambda *given: "")

    def go(config):
        return train.train(dataclasses.replace(config, folder="run"))

    return go


def terminal(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["compress.py", *map(str, words)])
    compress.main()


def table(printed):
    """The bits per dim of each row of the table printed."""
    lines = printed.split("-\n", 1)[1].splitlines()
    cells = [line.rsplit(maxsplit=2) for line in lines]
    return {name.strip(): float(bits) for name, bits, _ in cells}


def test_binary_digits_come_back_and_the_table_says_what_they_cost(
    trained, monkeypatch, capsys, few_digits
):
    run = trained(VAE(**TINY))
    capsys.readouterr()
    terminal(monkeypatch, run, "digits.npz", "--threshold")
    rates = table(capsys.readouterr().out)
    x = (few_digits["x"] > 0.5).astype(np.uint8)
    packed = Path("digits.jaxae").read_bytes()
    assert abs(rates["jaxae"] - 8 * len(packed) / x.size) < 1e-4
    assert abs(rates["gzip"] - 8 * len(gzip.compress(np.packbits(x).tobytes(), 9)) / x.size) < 1e-4
    assert {"bz2", "lzma", "png"} < rates.keys()
    assert abs(rates["of it the payload"] / rates["negative ELBO"] - 1) < 0.03
    terminal(monkeypatch, run, "digits.jaxae", "--decompress")
    np.testing.assert_array_equal(np.load("digits.npy"), x)


def test_grey_digits_come_back_from_a_run_with_so_many_levels(
    trained, monkeypatch, capsys, few_digits
):
    run = trained(VAE(**TINY, likelihood="discretised-logistic", logistics=2))
    np.save("few.npy", few_digits["x"][:50])
    capsys.readouterr()
    terminal(monkeypatch, run, "digits.npz", "few.npy", "--output", "packed", "--batch-size", 64)
    assert "17 levels" in capsys.readouterr().out
    names = ("packed/digits.jaxae", "packed/few.jaxae")
    terminal(monkeypatch, run, *names, "--decompress", "--output", "back")
    levels = np.rint(few_digits["x"] * 16).astype(np.uint8)
    np.testing.assert_array_equal(np.load("back/digits.npy"), levels)
    np.testing.assert_array_equal(np.load("back/few.npy"), levels[:50])


def test_any_run_compresses_by_its_codes(trained, monkeypatch, capsys, few_digits):
    run = trained(Denoising(**TINY))
    capsys.readouterr()
    terminal(monkeypatch, run, "digits.npz", "--method", "codes", "--step", 0.5)
    printed = capsys.readouterr().out
    terminal(monkeypatch, run, "digits.jaxae", "--decompress", "--output", "back")
    mse = np.square(np.load("back") - few_digits["x"]).mean()
    row = next(line for line in printed.splitlines() if line.startswith("jaxae"))
    assert abs(float(row.split()[2]) / mse - 1) < 1e-3


@pytest.mark.parametrize(
    ("x", "levels", "expected"),
    [
        (np.array([0, 255], np.uint8), 2, [0, 1]),
        (np.array([0, 1], np.uint8), 2, [0, 1]),
        (np.array([True, False]), 2, [1, 0]),
        (np.array([0, 7, 255], np.uint8), 256, [0, 7, 255]),
        (np.array([0.0, 0.25, 1.0], np.float32), 17, [0, 4, 16]),
        (np.arange(5) / 4, 300, None),
        (np.array([0.0, 1.5]), 3, None),
        (np.array([-1, 1]), 2, None),
        (np.array([0.0, np.nan]), 2, None),
    ],
)
def test_rows_become_levels_or_are_refused(x, levels, expected):
    if expected is None:
        with pytest.raises(ValueError, match=f"{levels} levels"):
            compress.to_levels(x, levels)
    else:
        assert compress.to_levels(x, levels).tolist() == expected


def test_mistakes_end_in_one_line(trained, monkeypatch):
    def fails(*words):
        with pytest.raises(SystemExit) as stop:
            terminal(monkeypatch, *words)
        assert "\n" not in str(stop.value.code)
        return str(stop.value.code)

    assert "holds no run" in fails("nowhere", "digits.npz")
    run = trained(VAE(**TINY))
    assert "--threshold" in fails(run, "digits.npz")
    assert "There is no file" in fails(run, "other.npy")
    np.save("wide.npy", np.zeros((3, 9), np.uint8))
    assert "can not take" in fails(run, "wide.npy")
    assert "no file" in fails(run, "digits", "--decompress")
    Path("broken.jaxae").write_bytes(b"broken")
    assert "CorruptFileError" in fails(run, "broken.jaxae", "--decompress")
    Path("there.jaxae").write_bytes(b"")
    assert "there already" in fails(run, "there.npy")
    assert "same file" in fails(run, "a/x.npy", "b/x.npy", "--output", "out")
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert "jaxae[compression]" in fails(run, "digits.npz", "--threshold")


def test_runs_that_a_file_does_not_suffice_for_are_refused(trained):
    run = trained(ConditionalVAE(**TINY))
    with pytest.raises(ValueError, match="see x alone"):
        compress.compress(compress.Compress(run=run, files=("digits.npz",)))
    run = trained_anew(trained, VAE(**TINY, prior="mixture", num_components=2))
    with pytest.raises(ValueError, match="standard normal prior"):
        compress.compress(compress.Compress(run=run, files=("digits.npz",)))
    run = trained_anew(trained, Denoising(**TINY))
    with pytest.raises(ValueError, match="random codes"):
        compress.compress(compress.Compress(run=run, files=("digits.npz",)))
    assert not list(Path().glob(f"*{compress.ENDING}"))


def trained_anew(trained, config):
    Path("run").rename(f"old-{len(list(Path().glob('old-*')))}")
    return trained(config)
