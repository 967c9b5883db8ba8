"""The script that draws from runs: what lies in the folder, of which model, and mistakes."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import sample
import train
from boltzmann_configs import RBM
from configs import Contractive, Deep, Denoising
from evaluate import load_run
from jaxae.evaluation import walks
from options import CORRUPTIONS
from variational_configs import VAE, VQVAE, ConditionalVAE, SemanticHashing

TINY = {"data": "digits.npz", "epochs": 1, "latent_dim": 3}
SMALL = {**TINY, "hidden_dims": (8,)}
SCRIPT = Path(__file__).parents[2] / "scripts" / "sample.py"


@pytest.fixture
def drawn(monkeypatch):
    """Trains a configuration without a report, draws from it; gives samples and the run."""
    monkeypatch.setattr(train, "report", lambda *given: "")

    def go(config, **options):
        path = Path(config.folder or "run")
        if not path.exists():
            train.train(dataclasses.replace(config, folder=str(path)))
        folder = sample.sample(sample.Sample(run=path, **options))
        return np.load(folder / "samples.npy"), load_run(path)

    return go


def figures():
    return {path.name for path in Path("run", "samples").iterdir()} - {"samples.npy"}


def test_a_vae_gives_means_or_draws_at_codes_of_the_prior_and_what_is_asked_besides(drawn, capsys):
    x, found = drawn(VAE(**SMALL), n=6, seed=3, interpolate=True, traverse=True)
    assert figures() == {"samples.png", "interpolations.png", "traversals.png"}
    latent, key = found.model.latent, jax.random.key(3)
    z = latent.prior(found.params, key, 6)
    np.testing.assert_allclose(x, found.model.decode(found.params, z), rtol=1e-6)
    assert "6 samples of vae, (8, 8, 1) each" in capsys.readouterr().out
    x, _ = drawn(VAE(**SMALL), n=6, seed=3, draw=True)
    assert set(np.unique(x)) <= {0.0, 1.0}
    np.testing.assert_array_equal(x, found.model.sample(found.params, key, 6))
    with pytest.raises(ValueError, match="context is of conditional-vae"):
        drawn(VAE(**SMALL), context=(1,))


def test_a_conditional_vae_takes_classes_in_turn(drawn):
    config = ConditionalVAE(**SMALL)
    x, found = drawn(config, n=5, context=(3, 8))
    z = found.model.latent.prior(found.params, jax.random.key(0), 5)
    classes = np.eye(10, dtype=np.float32)[[3, 8, 3, 8, 3]]
    np.testing.assert_allclose(x, found.model.decode(found.params, z, classes), rtol=1e-6)
    assert (drawn(config, n=5)[0] != x).any()
    with pytest.raises(ValueError, match=r"Classes are integers in \[0, 10\)"):
        drawn(config, context=(10,))


def test_machines_and_codebooks_give_as_many_samples_as_asked(drawn):
    machine = RBM(**TINY, sample_steps=5)
    means, found = drawn(machine, n=4)
    assert means.shape == (4, 8, 8, 1)
    assert ((means > 0) & (means < 1)).all()
    states, _ = drawn(machine, n=4, draw=True)
    np.testing.assert_array_equal(states, found.model.sample(found.params, jax.random.key(0), 4))
    codes, _ = drawn(VQVAE(**{**SMALL, "latent_dim": 4}, folder="codes"), n=3)
    assert codes.shape == (3, 8, 8, 1)


def test_a_denoising_run_walks_by_corruption_and_reconstruction_in_the_range_of_the_data(drawn):
    config = Denoising(**SMALL, noise_level=0.3)
    x, found = drawn(config, n=4, steps=3)
    assert figures() == {"samples.png", "chain.png"}
    assert x.min() >= 0
    assert x.max() <= 1
    corrupt, now = CORRUPTIONS["masking"](0.3), found.splits.test["x"][:4]
    for i in range(3):
        noise_key = jax.random.split(jax.random.fold_in(jax.random.key(0), i))[0]
        z = found.model.encode(found.params, {"x": corrupt(noise_key, now)})
        now = np.clip(found.model.decode(found.params, z), 0, 1)
    np.testing.assert_allclose(x, now, rtol=1e-4, atol=1e-5)
    noisy, _ = drawn(config, n=200, steps=3, draw=True)
    assert len(noisy) == len(found.splits.test["x"])
    assert (noisy[:4] != x).any()
    z = found.model.encode(found.params, {"x": found.splits.test["x"]})
    mean = np.asarray(found.model.decode(found.params, z))
    emitted = sample._bounded(found, 0.01).latent.emit(found.params, jax.random.key(1), z)
    gaps = (np.asarray(emitted) - mean)[(mean > 0.05) & (mean < 0.95)]
    np.testing.assert_allclose(gaps.std(), 0.01, rtol=5 / np.sqrt(2 * len(gaps)))


def test_a_contractive_run_walks_along_its_tangents(drawn):
    x, found = drawn(Contractive(**TINY), n=3, steps=2, walk_scale=0.2)
    assert figures() == {"samples.png", "chain.png"}
    start = found.splits.test["x"][:3]
    given = (found.model, found.params, jax.random.key(0), start)
    expected = walks.tangent_walk(*given, steps=2, scale=0.2)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_chains_are_looked_at_after_equal_numbers_of_steps():
    for steps in range(1, 120):
        every = sample._every(steps)
        assert steps % every == 0
        assert steps // every <= 8
    assert sample._every(100) == 20
    with pytest.raises(ValueError, match="steps must be at least 1"):
        sample._every(0)


def test_what_has_no_distribution_says_so_and_leaves_no_folder(drawn):
    for i, config in enumerate((Deep(**SMALL), SemanticHashing(**SMALL))):
        with pytest.raises(ValueError, match="has no distribution to draw from"):
            drawn(dataclasses.replace(config, folder=f"run{i}"))
        assert not Path(f"run{i}", "samples").exists()
    with pytest.raises(ValueError, match="n must be at least 1"):
        sample.sample(sample.Sample(run=Path("run0"), n=0))


def test_a_terminal_sees_help_and_mistakes_in_one_line():
    def terminal(*arguments):
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    shown = terminal("--help").stdout
    assert all(word in shown for word in ("--interpolate", "--context", "--steps", "Markov chain"))
    nothing = terminal("nowhere")
    assert nothing.returncode == 1
    assert "nowhere holds no run" in nothing.stderr
