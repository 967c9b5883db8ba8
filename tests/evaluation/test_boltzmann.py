"""Likelihoods of restricted Boltzmann machines, against enumeration, integrals, scikit-learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM

import jaxae
from jaxae.evaluation.boltzmann import (
    annealed_importance_sampling,
    log_likelihood,
    log_partition,
    pseudo_log_likelihood,
)
from jaxae.evaluation.boltzmann_plots import fantasies, fantasy_grid

KEY = jax.random.key(0)
ENERGY = jaxae.rbm_energy()


def states(n):
    return np.array(list(np.ndindex(*[2] * n)), np.float64)


def machine(d, k, scale=1.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    w, c, b = ((scale * rng.normal(size=size)).astype(dtype) for size in ((d, k), k, d))
    return {"encoder": {"layer_0": {"kernel": w, "bias": c}}, "decoder": {"bias_0": b}}


def parts(params):
    layer = params["encoder"]["layer_0"]
    return layer["kernel"], layer["bias"], params["decoder"]["bias_0"]


def exact(params):
    """The log Z of a binary machine, summed over the states of its hidden units."""
    w, c, b = parts(params)
    h = states(len(c))
    return logsumexp(h @ c + np.logaddexp(0, h @ w.T + b).sum(1))


@pytest.mark.parametrize(("d", "k"), [(4, 3), (3, 5), (13, 14), (14, 13), (2, 40)])
def test_log_z_of_a_binary_machine_is_the_sum_over_all_states(d, k, x64):
    params = machine(d, k)
    (w, c, b), v = parts(params), states(d)
    log_p = v @ b + np.logaddexp(0, v @ w + c).sum(1)
    np.testing.assert_allclose(log_partition(params), logsumexp(log_p), rtol=1e-12)
    free = ENERGY.free_energy(params, {"x": v})
    assert np.exp(-free - log_partition(params)).sum() == pytest.approx(1, rel=1e-10)


def test_log_z_of_gaussian_visible_units_makes_p_of_v_a_density(x64):
    params, units = machine(1, 2, seed=1), {"visible": "gaussian"}
    energy, log_z = jaxae.rbm_energy(**units), float(log_partition(params, **units))
    log_p = jax.jit(lambda v: -energy.free_energy(params, {"x": v.reshape(1, 1)})[0] - log_z)
    assert quad(lambda v: np.exp(log_p(v)), -15, 15)[0] == pytest.approx(1, rel=1e-8)


def test_log_z_of_gaussian_visible_units_is_that_of_their_mixture(x64):
    """By completing the square: E(v, h) = |v - b - W h|² / 2 - |b + W h|² / 2 - h·c."""
    params, h = machine(30, 5, seed=2), states(5)
    w, c, b = parts(params)
    centres = h @ w.T + b
    wanted = logsumexp(h @ c + (centres**2).sum(1) / 2) + 15 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_partition(params, visible="gaussian"), wanted, rtol=1e-12)


def test_log_z_of_gaussian_hidden_units_is_that_of_integrals(x64):
    params = machine(2, 1, seed=3)
    w, c, b = parts(params)

    def density(h):
        return sum(np.exp(-(h**2) / 2 + h * c[0] + v @ b + (v @ w[:, 0]) * h) for v in states(2))

    found = log_partition(params, hidden="gaussian")
    np.testing.assert_allclose(found, np.log(quad(density, -20, 20)[0]), rtol=1e-8)


def test_log_z_may_be_mapped_over_machines():
    machines = [machine(6, 5, seed=i, dtype=np.float32) for i in range(3)]
    stack = jax.tree.map(lambda *a: jnp.stack(a), *machines)
    wanted = [exact(machine(6, 5, seed=i)) for i in range(3)]
    np.testing.assert_allclose(jax.vmap(log_partition)(stack), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("d", "k", "units"),
    [(21, 22, {}), (4, 21, {"visible": "gaussian"}), (21, 4, {"hidden": "gaussian"})],
)
def test_machines_too_large_to_enumerate_are_refused(d, k, units):
    with pytest.raises(ValueError, match=rf"At most 20 .* has {d} .* {k} .*annealed_importance"):
        log_partition(machine(d, k), **units)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_data", [False, True])
def test_annealing_brackets_the_exact_log_z(seed, with_data):
    """Weights of standard deviation 0.7 make log p differ by tens of nats between states."""
    params = machine(20, 10, 0.7, seed=seed, dtype=np.float32)
    data = {"x": np.random.default_rng(seed).integers(2, size=(50, 4, 5)).astype(np.uint8) * 255}
    found = annealed_importance_sampling(
        params, jax.random.key(seed), data if with_data else None, temperatures=500, chains=200
    )
    wanted = exact(machine(20, 10, 0.7, seed=seed))
    assert found.low < wanted < found.high
    assert found.high - found.low < 0.5
    np.testing.assert_allclose(found.log_partition, wanted, atol=0.25)


def test_the_interval_is_that_of_the_weights_and_narrows_with_their_number():
    params = machine(20, 10, 0.7, dtype=np.float32)
    anneal = partial(annealed_importance_sampling, params, KEY, temperatures=300)
    few, many = anneal(chains=50), anneal(chains=800)
    assert few.log_weights.shape == (50,)
    assert 2 < (few.high - few.low) / (many.high - many.low) < 8  # about √16
    w = np.exp(np.float64(many.log_weights))
    error = 3 * w.std(ddof=1) / np.sqrt(800)
    for name, value in (("log_partition", 0.0), ("low", -error), ("high", error)):
        np.testing.assert_allclose(getattr(many, name), np.log(w.mean() + value), rtol=1e-5)
    size = w.sum() ** 2 / (w**2).sum()
    np.testing.assert_allclose(many.effective_sample_size, size, rtol=1e-3)


def test_annealing_a_machine_of_its_data_without_weights_is_exact_in_every_chain():
    """Its a is b by the documented smoothing, so that only the hidden biases are annealed."""
    x = np.random.default_rng(0).integers(2, size=(40, 30)).astype(np.float32)
    mask = np.random.default_rng(1).integers(2, size=(40, 30))
    p = (np.ma.array(x, mask=mask == 0).mean(0).data + 0.05) / 1.1
    params = machine(30, 100, 3.0, dtype=np.float32)
    params["encoder"]["layer_0"]["kernel"] *= 0
    params["decoder"]["bias_0"] = np.log(p / (1 - p)).astype(np.float32)
    data = {"x": np.where(mask, x, np.nan), "mask": mask}
    found = annealed_importance_sampling(params, KEY, data, temperatures=5000, chains=5)
    wanted = np.logaddexp(0, np.float64(parts(params)[1])).sum() - np.log1p(-p).sum()
    np.testing.assert_allclose(found.log_weights, np.full(5, wanted), rtol=1e-6)


def test_where_chains_fail_the_lower_end_is_minus_infinity():
    params = machine(20, 10, 3.0, dtype=np.float32)
    found = annealed_importance_sampling(params, KEY, temperatures=2, chains=5)
    assert (found.low, jnp.isfinite(found.log_partition)) == (-jnp.inf, True)
    assert found.effective_sample_size < 2


@pytest.mark.parametrize("batch_size", [3, 16, 1000])
def test_log_likelihoods_are_those_of_the_enumerated_distribution(batch_size, x64):
    params, x = machine(4, 3), states(4)
    w, c, b = parts(params)
    log_p = x @ b + np.logaddexp(0, x @ w + c).sum(1)
    log_p -= logsumexp(log_p)
    rows = np.random.default_rng(0).integers(16, size=25)
    data, evaluate = {"x": x[rows].reshape(-1, 2, 2)}, jax.jit(log_likelihood(ENERGY, batch_size))
    found = evaluate(params, data, log_partition(params))
    np.testing.assert_allclose(found, log_p[rows].mean(), rtol=1e-10)


def test_pseudo_log_likelihoods_are_in_expectation_those_of_all_bits_and_of_scikit_learn():
    d, params = 6, machine(6, 4, 0.5, dtype=np.float32)
    w, c, b = parts(params)
    log_p = lambda v: v @ b + np.logaddexp(0, v @ w + c).sum(-1)  # noqa: E731
    x = np.random.default_rng(0).integers(2, size=(8, d)).astype(np.float32)
    flips = np.abs(x[:, None] - np.eye(d))
    wanted = -np.logaddexp(0, log_p(flips) - log_p(x)[:, None]).sum(1).mean()
    many, other = np.tile(x, (5000, 1)), BernoulliRBM(random_state=0)
    other.components_, other.intercept_hidden_, other.intercept_visible_ = w.T, c, b
    for size in (1000, 100_000):
        found = jax.jit(pseudo_log_likelihood(ENERGY, size))(params, KEY, {"x": many})
        np.testing.assert_allclose(found["pseudo_log_likelihood"], wanted, atol=0.05)
    np.testing.assert_allclose(other.score_samples(many).mean(), wanted, atol=0.05)


def test_what_has_no_likelihood_is_refused():
    params, x = machine(4, 3), np.eye(4, dtype=np.float32)
    pseudo, likely = pseudo_log_likelihood(ENERGY), log_likelihood(ENERGY)
    for grey in (0.5 * x, x.astype(np.uint8)):
        with pytest.raises(ValueError, match=r"needs binary data.*Binarise them"):
            pseudo(params, KEY, {"x": grey})
    same = (pseudo(params, KEY, {"x": a}) for a in (x, x.astype(np.uint8) * 255))
    assert len({float(a["pseudo_log_likelihood"]) for a in same}) == 1
    for call in (lambda data: pseudo(params, KEY, data), lambda data: likely(params, data, 0.0)):
        with pytest.raises(ValueError, match="leave the mask out"):
            call({"x": x, "mask": np.ones(4)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": 1}, "temperatures must lie in"),
        ({"chains": 1}, "chains must lie in"),
        ({"data": {"x": np.ones((2, 5))}}, "has 4 visible units; the data have 5"),
        ({"data": {"x": np.full((2, 4), 2.0)}}, r"must lie in \[0.0, 1.0\]"),
    ],
)
def test_annealing_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        annealed_importance_sampling(machine(4, 3), KEY, **options)


def test_fantasies_are_means_of_chains_that_reach_the_distribution():
    params = machine(4, 3, dtype=np.float32)
    found = fantasies(ENERGY, params, KEY, 5000, 3, 10)
    assert found.shape == (5000, 3, 4)
    v, log_z = states(4), exact(machine(4, 3))
    p = np.exp(-ENERGY.free_energy(params, {"x": v}) - log_z)
    np.testing.assert_allclose(found[:, 1:].mean((0, 1)), p @ v, atol=0.02)
    assert ((found > 0) & (found < 1)).all()
    assert np.abs(found[:, 2] - found[:, 1]).max() > 0.1


def test_fantasies_begin_where_they_are_told_to():
    params = machine(4, 3, dtype=np.float32)
    params["encoder"]["layer_0"]["kernel"] = 40 * np.eye(4, 3, dtype=np.float32)
    params["encoder"]["layer_0"]["bias"] = np.full(3, -20, np.float32)
    params["decoder"]["bias_0"] = np.full(4, -20, np.float32)
    start = np.array([[1, 0, 1, 0], [0, 1, 1, 0]], np.uint8) * 255  # copied by each unit
    found = fantasies(ENERGY, params, KEY, 2, 2, 3, start=start)
    np.testing.assert_allclose(found, np.stack([start / 255] * 2, axis=1), atol=1e-6)
    with pytest.raises(ValueError, match=r"start must have shape .* \(3, 4\); got \(2, 4\)"):
        fantasies(ENERGY, params, KEY, 3, start=start)
    with pytest.raises(ValueError, match="columns must lie in"):
        fantasies(ENERGY, params, KEY, columns=0)


@pytest.mark.parametrize(("d", "shape"), [(16, None), (12, (3, 4)), (5, None), (12, (2, 2, 3))])
def test_fantasies_are_drawn_with_their_steps(d, shape, rendered):
    images = np.random.default_rng(0).uniform(size=(3, 4, d))
    assert rendered(fantasy_grid(images, shape, title="fantasies"))
    figure = fantasy_grid(images, shape, steps_between=500)
    assert rendered(figure)
    if d == 5:
        assert figure.axes[1].get_title() == "after 1,000 steps"
        return
    axes = figure.axes[0]
    labels = [[t.get_text() for t in a.get_ticklabels()] for a in (axes.xaxis, axes.yaxis)]
    assert labels == [["500", "1,000", "1,500", "2,000"], ["chain 1", "chain 2", "chain 3"]]
    pixels = np.asarray(axes.images[0].get_array())  # ticks are under images, not gaps
    assert not np.isnan(pixels[0, axes.get_xticks().astype(int)]).any()


def test_fantasies_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(rows, columns, d\); got shape \(3, 4\)"):
        fantasy_grid(np.ones((3, 4)))
