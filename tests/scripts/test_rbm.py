"""The script trains Boltzmann machines, says how likely data are, and what does not go together."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import evaluate
import figures
import jaxae
import reports
import train
from boltzmann_configs import RBM

TINY = {"epochs": 3, "sample_steps": 5, "batch_size": 50, "checkpoint_seconds": 0.0}


@pytest.fixture(autouse=True)
def _with_real_numbers(_in_a_folder_with_a_few_digits):
    rng = np.random.default_rng(0)
    np.save("grey.npy", rng.random((400, 6)).astype(np.float32))
    np.save("normal.npy", rng.normal(2.0, 3.0, (400, 6)).astype(np.float32))


def trained(monkeypatch, *, drawn=False, **options):
    """What the script was to report on, and the rows of its summary by name."""
    kept = []
    real = reports.report
    with monkeypatch.context() as patch:
        patch.setattr(train, "report", lambda *given: kept.append(given) or real(*given))
        if not drawn:
            patch.setattr(reports, "draw", lambda *given: {})
        folder = train.train(RBM(**TINY, **options))
    rows = json.loads((folder / "summary.json").read_text())
    return kept[0], {row["name"]: row for row in rows}


def in_float64(params):
    layer, bias = params["encoder"]["layer_0"], params["decoder"]["bias_0"]
    return (np.asarray(a, np.float64) for a in (layer["kernel"], layer["bias"], bias))


def states(n):
    return np.stack(np.meshgrid(*[[0.0, 1.0]] * n, indexing="ij"), -1).reshape(-1, n)


def log_sum(a):
    return np.log(np.sum(np.exp(a), axis=-1))


def test_free_energies_and_the_exact_likelihood_are_those_of_all_states(monkeypatch):
    (_, _, _, params, splits), rows = trained(monkeypatch, data="grey.npy", latent_dim=4)
    w, c, b = in_float64(params)

    def minus_free_energy(v):
        h = states(4)
        return log_sum(v @ b[:, None] + (v @ w + c) @ h.T)

    log_z = log_sum(minus_free_energy(states(6)))
    for name, part in (("training", splits.train), ("test", splits.test)):
        free = -minus_free_energy(part["x"].astype(np.float64)).mean()
        np.testing.assert_allclose(rows[f"mean free energy, {name} rows"]["nats"], free, rtol=1e-5)
    exact = rows["log-likelihood, test rows (exact)"]
    np.testing.assert_allclose(exact["nats"], -free - log_z, rtol=1e-5)
    assert exact.keys() == {"name", "nats"}
    x = splits.test["x"].astype(np.float64)
    flipped = [np.where(np.arange(6) == i, 1 - x, x) for i in range(6)]
    each = [
        minus_free_energy(x) - np.logaddexp(minus_free_energy(x), minus_free_energy(f))
        for f in flipped
    ]
    pseudo = rows["pseudo-log-likelihood, test rows (10 random bits of each)"]["nats"]
    spread = 6 * np.std(each) / np.sqrt(10 * len(x))
    assert abs(pseudo - np.sum(each, axis=0).mean()) < 5 * spread + 1e-4


def test_larger_machines_have_an_estimate_with_an_interval_and_say_how(monkeypatch):
    monkeypatch.setattr(reports, "ENUMERATED", 0)
    options = {"data": "grey.npy", "latent_dim": 7, "temperatures": 300}
    (_, config, _, params, splits), rows = trained(monkeypatch, **options)
    found = rows["log-likelihood, test rows (AIS: 300 temperatures, 100 chains, ± 3 SE)"]
    monkeypatch.undo()
    exact = jaxae.evaluation.log_likelihood(config.energy())(
        params, {"x": splits.test["x"]}, jaxae.evaluation.log_partition(params)
    )
    assert found["low"] < found["nats"] < found["high"] < found["low"] + 0.1
    assert found["low"] - 1e-5 <= exact <= found["high"] + 1e-5


def test_of_gaussian_visible_units_the_density_is_a_mixture_of_normals(monkeypatch):
    options = {"data": "normal.npy", "scale": "standard", "visible": "gaussian", "latent_dim": 3}
    (_, _, _, params, splits), rows = trained(monkeypatch, **options)
    w, c, b = in_float64(params)
    h = states(3)
    means = b + h @ w.T
    heights = h @ c + (means**2).sum(1) / 2
    gaps = splits.test["x"].astype(np.float64)[:, None] - means
    logs = log_sum(heights - log_sum(heights) - (gaps**2).sum(2) / 2 - 3 * np.log(2 * np.pi))
    found = rows["log-likelihood, test rows (exact)"]["nats"]
    np.testing.assert_allclose(found, logs.mean(), rtol=1e-5)
    assert rows["pseudo-log-likelihood, test rows (needs binary data)"]["nats"] is None


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            {"binarise": "none", "data": "grey.npy"},
            {"pseudo-log-likelihood, test rows (needs binary data)"}
            | {"log-likelihood, test rows (needs binary data)"},
        ),
        (
            {"hidden": "gaussian", "train_split": "train[:300]", "test_split": "test[:50]"},
            {"log-likelihood, test rows (needs Bernoulli units on both sides, or at most 20)"},
        ),
    ],
)
def test_what_has_no_likelihood_has_no_number_and_says_why(options, names, monkeypatch):
    _, rows = trained(monkeypatch, **options)
    assert names <= rows.keys()
    assert all(rows[name]["nats"] is None for name in names)


def test_persistent_chains_train_and_the_checkpoint_alone_gives_table_and_figures(
    monkeypatch, capsys
):
    options = {"data": "grey.npy", "latent_dim": 5, "persistent": True, "num_chains": 20}
    (folder, config, model, params, splits), _ = trained(
        monkeypatch, drawn=True, **options, sparsity_weight=0.1, cd_steps=2
    )
    printed = capsys.readouterr().out
    assert "each entry drawn as 0 or 1 by its value" in printed
    before = (folder / "summary.json").read_text()
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "figures")
    evaluate.evaluate(Path(folder))
    assert (folder / "summary.json").read_text() == before
    assert (folder / "figures" / "fantasies.png").exists()
    assert "each entry drawn as 0 or 1 by its value" in capsys.readouterr().out
    curves = figures.draw(folder, config, model, params, splits.sample, splits.test)["curves"]
    shown = {text.get_text() for axes in curves.axes for text in axes.get_legend().get_texts()}
    assert {"free_energy", "validation_mse"} <= shown
    assert not {"loss", "validation_loss"} & shown


def test_the_learner_is_that_of_the_options():
    x = np.random.default_rng(1).integers(0, 2, (10, 6)).astype(np.float32)
    options = {"visible": "gaussian", "num_chains": 7, "cd_steps": 3, "weight_cost": 0.0}
    config = RBM(latent_dim=4, persistent=True, momentum=0.5, schedule="constant", **options)
    model = config.build({"x": x}, 100)
    energy = jaxae.rbm_energy("gaussian", "bernoulli")
    tx = optax.sgd(0.001, momentum=0.5)
    wanted = jaxae.persistent(model, tx, energy=energy, num_chains=7, steps=3)
    after = []
    for learner in (config.learner(model, 100), wanted):
        state = learner.init(model.init(jax.random.key(0), {"x": x}), jax.random.key(1))
        for i in range(3):
            state, _ = learner.step(state, jax.random.key(i), {"x": x})
        after.append((state.params, state.chains))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *after)
    assert np.asarray(after[0][1]).shape == (7, 6)


@pytest.mark.parametrize("momentum", [0.9, 0.2, 0.0])
def test_momentum_is_a_half_for_five_epochs_and_kernels_alone_have_a_cost(momentum):
    config = RBM(epochs=7, learning_rate=0.1, weight_cost=0.01, momentum=momentum)
    tx, rates = config.optimizer(14), 0.05 * (1 + np.cos(np.pi * np.arange(14) / 14))
    params = {"kernel": np.float32(1.0), "bias": np.float32(1.0)}
    state, velocity, wanted = tx.init(params), dict.fromkeys(params, 0.0), dict(params)
    for i in range(14):
        grads = {"kernel": np.float32(np.sin(i)), "bias": np.float32(np.cos(i))}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        m = min(0.5, momentum) if i < 10 else momentum
        for name, grad in grads.items():
            cost = 0.01 * wanted[name] if name == "kernel" else 0.0
            velocity[name] = m * velocity[name] + grad + cost
            wanted[name] -= rates[i] * velocity[name]
    for name, value in wanted.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("top", [1, 255])
def test_entries_are_drawn_once_by_their_value(top):
    dtype = np.uint8 if top == 255 else np.float32
    x = np.zeros((4000, 3), dtype)
    x[:, 1], x[:, 2] = (77 if top == 255 else 0.3), top
    drawn = RBM().prepare(x, 0)
    assert drawn.dtype == dtype
    assert set(np.unique(drawn).tolist()) == {0, top}
    share = 77 / 255 if top == 255 else 0.3
    means = drawn.astype(np.float64).mean(0) / top
    np.testing.assert_allclose(means, [0, share, 1], atol=5 * np.sqrt(0.25 / 4000))
    assert means[[0, 2]].tolist() == [0, 1]
    np.testing.assert_array_equal(drawn, RBM().prepare(x, 0))
    for other in (RBM().prepare(x, 1), RBM(seed=1).prepare(x, 0)):
        assert (drawn != other).any()
    cut = RBM(binarise="threshold").prepare(x, 0)
    np.testing.assert_array_equal(cut, np.where(x > top / 2, top, 0))
    assert RBM(binarise="none").prepare(x, 0) is x
    assert RBM(visible="gaussian").prepare(x, 0) is x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "normal.npy"}, "rows lie in .* --visible gaussian --scale standard"),
        ({"data": "*.npy"}, "--binarise none"),
        ({"visible": "gaussian", "binarise": "threshold"}, "binarise is for bernoulli"),
        ({"visible": "gaussian", "hidden": "gaussian"}, "Only one side may be Gaussian"),
        ({"hidden": "gaussian", "sparsity_weight": 1.0}, "sparsity_weight is for bernoulli"),
        ({"sparsity_weight": 1.0, "sparsity_target": 0.0}, "sparsity_target must lie in"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"persistent": True, "num_chains": 0}, "num_chains must lie in"),
        ({"cd_steps": 0}, "cd_steps must lie in"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(options, message):
    with pytest.raises(ValueError, match=message):
        train.train(RBM(**{"data": "grey.npy", "latent_dim": 3, **TINY, **options}))
    assert not Path("runs").exists()


def test_scaled_tables_may_leave_the_range_in_test_rows_alone(monkeypatch):
    _, rows = trained(monkeypatch, data="normal.npy", scale="minmax", latent_dim=3)
    assert np.isfinite(rows["log-likelihood, test rows (exact)"]["nats"])
