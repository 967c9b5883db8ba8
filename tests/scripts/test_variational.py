"""The command line of generative variants: what it trains, measures, and says of mistakes."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxae
import reports
import train
from jaxae.training.folders import read_rows
from variational_configs import VAE, VQVAE, WAE, ConditionalVAE, InfoVAE, SemanticHashing

TINY = {
    "data": "digits.npz",
    "epochs": 2,
    "hidden_dims": (8,),
    "latent_dim": 3,
    "batch_size": 40,
    "nll_samples": 20,
}
MODEL = {"name": "model", "codes": 3}


@pytest.fixture
def quick(monkeypatch):
    """Trains without figures and probes; gives what was to report, rows by name, and notes."""
    kept = []
    real = reports.report
    monkeypatch.setattr(jaxae.evaluation, "summarize", lambda *given, **options: [MODEL])
    monkeypatch.setattr(reports, "draw", lambda *given: {})
    monkeypatch.setattr(train, "report", lambda *given: kept.append(given) or real(*given))

    def go(config):
        folder = train.train(config)
        rows = {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}
        return kept[-1], rows, rows.get("notes", {"notes": []})["notes"]

    return go


def test_the_table_has_the_bound_its_parts_and_the_nll_of_binary_rows(quick):
    (_, config, model, params, splits), rows, notes = quick(VAE(**TINY))
    assert set(np.unique(splits.test["x"])) == {0.0, 1.0}
    distortion, rate = rows["distortion, -log p(x | z)"], rows["rate"]
    bound, nll = rows["negative ELBO, their sum"], rows["NLL, 20 importance samples"]
    np.testing.assert_allclose(bound["nats"], distortion["nats"] + rate["nats"], rtol=1e-6)
    np.testing.assert_allclose(bound["bits_per_dim"], bound["nats"] / (64 * np.log(2)), rtol=1e-6)
    test = {"x": splits.test["x"]}
    mean, scale = (np.asarray(a, np.float64) for a in model.latent.posterior(params, test))
    kl = (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)).mean(0)
    assert abs(rate["nats"] - kl.sum()) < 0.2
    units = [rows["units"][name] for name in ("kl_least", "kl_median", "kl_most")]
    np.testing.assert_allclose(units, np.sort(kl), rtol=1e-3, atol=1e-5)
    assert rows["units"]["active"] == (mean.var(0) > 0.01).sum()
    assert nll["nats"] < bound["nats"]
    assert not [note for note in notes if "ELBO" in note]
    assert config.nll_samples == 20


def test_grey_rows_have_a_cross_entropy_with_its_floor_and_no_likelihood(quick, capsys):
    found, rows, notes = quick(VAE(**TINY, binarise="none"))
    x = found[4].test["x"].astype(np.float64)
    inner = np.clip(x, 1e-12, 1 - 1e-12)
    floor = -(inner * np.log(inner) + (1 - inner) * np.log(1 - inner)).sum((1, 2, 3)).mean()
    shown = rows["its floor, the entropy of the grey values"]["nats"]
    np.testing.assert_allclose(shown, floor, rtol=1e-4)
    assert rows["distortion, a cross-entropy"]["nats"] > floor
    assert not any(word in name for name in rows for word in ("NLL", "ELBO"))
    assert any(f"a floor of {floor:.2f} nats" in note for note in notes)
    printed = capsys.readouterr().out
    assert "Notes\n- " in printed
    assert "Grey values under a Bernoulli likelihood" in printed


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (VAE(**TINY, beta=4.0), "the rate weighs 4 in it"),
        (VAE(**TINY, free_bits=2.0), "it counts a rate of 6"),
        (InfoVAE(**TINY), "the rate weighs 0 in it"),
    ],
)
def test_a_loss_that_is_no_elbo_is_noted_and_the_table_has_the_elbo_all_the_same(
    config, words, quick
):
    _, rows, notes = quick(config)
    assert any(words in note for note in notes)
    assert rows["negative ELBO, their sum"]["nats"] > rows["distortion, -log p(x | z)"]["nats"]


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "learned", "free_bits": 0.1, "capacity": 2.0},
        {"prior": "mixture", "num_components": 3, "code_samples": 2},
        {"upper_dim": 2, "likelihood": "gaussian-shared"},
        {"likelihood": "discretised-logistic", "warm_up_epochs": 1},
    ],
)
def test_priors_and_likelihoods_train_and_a_density_has_no_bits(options, quick):
    _, rows, _ = quick(VAE(**TINY, **options))
    bound = rows["negative ELBO, their sum"]
    assert np.isfinite(bound["nats"])
    assert ("bits_per_dim" in bound) == (options.get("likelihood") != "gaussian-shared")
    assert rows["NLL, 20 importance samples"]["nats"] <= bound["nats"] + 0.5


def test_a_warm_up_raises_beta_over_its_epochs_and_epochs_are_compared_at_the_end_of_it(quick):
    (folder, config, *_), _, _ = quick(VAE(**{**TINY, "epochs": 4}, warm_up_epochs=2, beta=2.0))
    lines = read_rows(folder / "metrics.jsonl")
    per_epoch = 144 // 40
    ramp = 2.0 * np.minimum(np.arange(4 * per_epoch) / (2 * per_epoch), 1.0)
    expected = ramp.reshape(4, per_epoch).mean(1)
    np.testing.assert_allclose([line["beta"] for line in lines], expected, rtol=1e-5)
    splits = reports.load_splits(config)
    rows = config.seen(splits.sample)
    warm, plain = (
        c.build(rows, 12) for c in (config, dataclasses.replace(config, warm_up_epochs=0))
    )
    judged, key = config.judged(warm, rows), jax.random.key(0)
    params = warm.init(key, rows)
    now, later = judged.loss(params, key, rows)[0], plain.loss(plain.init(key, rows), key, rows)[0]
    np.testing.assert_allclose(now, later, rtol=1e-5)
    assert warm.loss(params, key, rows)[0] < later


def test_training_rows_stay_grey_where_the_learner_draws_them_and_others_are_drawn_once():
    grey = reports.load_splits(VAE(data="digits.npz", binarise="none"))
    splits = reports.load_splits(VAE(data="digits.npz"))
    np.testing.assert_array_equal(splits.train["x"], grey.train["x"])
    for part in (splits.sample, splits.validation, splits.test):
        assert set(np.unique(part["x"])) == {0.0, 1.0}
    assert "of training rows anew in each batch" in splits.describe()
    once = reports.load_splits(VAE(data="digits.npz", binarise="draw"))
    assert set(np.unique(once.train["x"])) == {0.0, 1.0}
    assert once.sample is once.train
    plain = reports.load_splits(VAE(data="digits.npz", likelihood="gaussian"))
    np.testing.assert_array_equal(plain.test["x"], grey.test["x"])


def test_a_conditional_vae_sees_classes_and_a_deterministic_code_claims_no_likelihood(quick):
    (_, config, model, params, splits), _, _ = quick(ConditionalVAE(**TINY))
    test = config.seen(splits.test)
    np.testing.assert_array_equal(test["context"].argmax(1), splits.test["y"])
    other = {**test, "context": np.roll(test["context"], 1, axis=1)}
    assert (model.encode(params, test) != model.encode(params, other)).any()
    for config in (WAE(**TINY), SemanticHashing(**TINY)):
        _, rows, _ = quick(config)
        assert not {"rate", "negative ELBO, their sum"} & rows.keys()


def test_the_rows_of_codebooks_and_bits_are_those_of_the_codes(quick):
    options = {**TINY, "latent_dim": 4}
    (_, _, model, params, splits), rows, _ = quick(VQVAE(**options, num_embeddings=8))
    z = np.asarray(model.encode(params, {"x": splits.test["x"]})).reshape(-1, 2)
    assert rows["codebook"]["used"] == len(np.unique(z, axis=0))
    np.testing.assert_allclose(rows["rate"]["nats"], 2 * np.log(8), rtol=1e-6)
    (_, _, model, params, splits), rows, _ = quick(SemanticHashing(**options))
    bits = np.asarray(model.encode(params, {"x": splits.test["x"]})) > 0.5
    assert rows["bits"]["distinct_codes"] == len(np.unique(bits, axis=0))
    assert rows["bits"]["constant"] == ((bits.all(0)) | (~bits.any(0))).sum()
    x_hat = model.decode(params, bits.astype(np.float32))
    error = ((np.asarray(x_hat) - splits.test["x"]) ** 2).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(rows["bits"]["squared_error_of_bits"], error, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (VAE(data="normal.npy"), "likelihood=bernoulli is for x in .* --likelihood gaussian-sh"),
        (VAE(data="digits.npz", warm_up_epochs=500), r"warm_up_epochs lies in \[0, 200\]"),
        (VAE(data="digits.npz", free_bits=1.0, prior="mixture"), "free_bits needs a divergence"),
        (VAE(data="digits.npz", likelihood="gaussian", binarise="draw"), "binarise is for bern"),
        (VAE(data="normal.npy", likelihood="discretised-logistic"), "does not lie evenly"),
        (ConditionalVAE(data="normal.npy", likelihood="gaussian"), "needs data with labels"),
        (VAE(data="digits.npz", beta=-1.0), "beta must lie in"),
        (VQVAE(data="digits.npz", embedding_dim=3), "must divide it"),
    ],
)
def test_mistakes_end_in_words_and_leave_no_folder(config, message):
    np.save("normal.npy", np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32))
    with pytest.raises(ValueError, match=message):
        train.train(config)
    assert not Path("runs").exists()
