import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats

import jaxae
from jaxae import codes
from jaxae.models.carrying import report

KEY = jax.random.key(0)
RNG = np.random.default_rng(1)
X = RNG.normal(size=(5, 4)).astype(np.float32)
TIED = RNG.integers(-3, 4, size=(5, 8)).astype(np.float32)


def largest(h, k):
    """Marks the k largest entries of the last axis by a stable sort, of equal ones the first."""
    marks = np.zeros(h.shape, bool)
    order = np.argsort(-h, axis=-1, kind="stable")
    np.put_along_axis(marks, order[..., :k], True, axis=-1)
    return marks


def used(code, h, variables=None, *, train=True):
    """The codes, as in training or in use."""
    (z, rate), _ = code.apply(variables or {}, h, train=train, mutable=["carried", "metrics"])
    np.testing.assert_array_equal(rate, np.zeros(len(h)))
    return z


class Kept(nn.Module):
    """No penalty: reports how many codes are not 0."""

    def __call__(self, forward):
        report(self, "kept", jnp.mean(jnp.sum(forward.z != 0, axis=-1)))
        return jnp.zeros(())


def trained(model, steps, batch, rate=1e-2):
    """The states before and after, and the metrics, of each step."""
    learner = jaxae.gradient(model.loss, optax.adam(rate))
    state, step = learner.init(model.init(KEY, batch), KEY), jax.jit(learner.step)
    for i in range(steps):
        before = state
        state, metrics = step(state, jax.random.fold_in(KEY, i), batch)
        yield before.params, state.params, metrics


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("train", [True, False])
def test_top_k_keeps_k_entries_and_then_only_positive_ones(k, train):
    kept = largest(TIED, k)
    given = used(codes.TopK(k), TIED, train=train)
    np.testing.assert_array_equal(given, np.where(kept, np.maximum(TIED, 0), 0))
    gradient = jax.grad(lambda h: jnp.sum(used(codes.TopK(k), h, train=train)))(TIED)
    np.testing.assert_array_equal(gradient, kept & (TIED > 0))


def test_top_k_refuses_more_than_there_are():
    with pytest.raises(ValueError, match=r"\[0, 8\]"):
        used(codes.TopK(9), TIED)


def test_k_sparse_keeps_the_largest_as_they_are_and_alpha_times_as_many_in_use():
    h = -1.0 - np.abs(RNG.normal(size=(5, 8))).astype(np.float32)
    code = codes.KSparse(3, alpha=1.4)
    np.testing.assert_array_equal(used(code, h), np.where(largest(h, 3), h, 0))
    np.testing.assert_array_equal(used(code, h, train=False), np.where(largest(h, 4), h, 0))
    np.testing.assert_array_equal(used(codes.KSparse(3, alpha=9.0), h, train=False), h)


def test_k_sparse_falls_evenly_from_start_k_to_k_as_training_steps():
    model = jaxae.k_sparse(4, 12, k=2, start_k=6, anneal_steps=4, alpha=1.5, penalties=[Kept()])
    steps = list(trained(model, 7, {"x": X}))
    assert [int(metrics["kept"]) for *_, metrics in steps] == [6, 5, 4, 3, 2, 2, 2]
    params = steps[-1][1]
    assert jax.tree.leaves(params["carried"]) == [7]
    assert (jnp.sum(model.encode(params, {"x": X}) != 0, axis=1) == 3).all()


def test_k_sparse_with_no_start_carries_nothing():
    assert "carried" not in jaxae.k_sparse(4, 12, k=2).init(KEY, {"x": X})


def pre_activations(params, x):
    layer = params["encoder"]["layer_0"]
    return (x - params["encoder"]["pre_bias"]) @ np.asarray(layer["kernel"]) + layer["bias"]


def test_batch_top_k_keeps_the_batchs_largest_and_their_running_threshold():
    """Weights 1, 1/2, 0.4, 0.4, ...: 1/n until that is less than 1 - decay."""
    model = jaxae.deep(4, 12, networks=jaxae.dictionary, code=codes.BatchTopK(2, decay=0.6))
    threshold = 0.0
    for n, (before, after, metrics) in enumerate(trained(model, 5, {"x": X}), 1):
        h = np.maximum(pre_activations(before, X), 0)
        kept = np.sort(h, axis=None)[-10:]
        assert metrics["l0"] == (kept > 0).sum() / 5 == 2
        threshold += max(1 / n, 0.4) * (kept[0] - threshold)
        given = after["carried"]["code"]
        np.testing.assert_allclose(given["threshold"], threshold, rtol=1e-5)
        assert given["threshold_steps"] == n
        z = used(codes.BatchTopK(2), h, {"carried": given})
        np.testing.assert_array_equal(np.sort(z[z > 0]), kept)
        h = np.maximum(pre_activations(after, X), 0)
        z = model.encode(after, {"x": X})
        np.testing.assert_allclose(z, np.where(h > threshold, h, 0), rtol=1e-5, atol=1e-6)
        for i in range(2):
            alone = model.encode(after, {"x": X[i : i + 1]})
            np.testing.assert_allclose(alone[0], z[i], rtol=1e-5, atol=1e-6)


def test_batch_top_k_is_zero_where_nothing_is_positive():
    h = -np.abs(X)
    carried = {"carried": {"threshold": jnp.float32(1.0), "threshold_steps": jnp.float32(1.0)}}
    apply = codes.BatchTopK(2, decay=0.6).apply
    (z, _), changed = apply(carried, h, mutable=["carried", "metrics"])
    np.testing.assert_array_equal(z, np.zeros_like(h))
    assert changed["carried"]["threshold"] == 0.5
    assert changed["metrics"]["l0"] == 0


@pytest.mark.parametrize(("rows", "fraction", "winners"), [(5, 0.3, 2), (100, 0.07, 7), (4, 1, 4)])
def test_each_unit_has_its_share_of_winners_over_the_batch(rows, fraction, winners):
    h = np.abs(RNG.normal(size=(rows, 6))).astype(np.float32)
    kept = largest(h.T, winners).T
    code = codes.WinnerTakeAll(fraction)
    np.testing.assert_array_equal(used(code, h), np.where(kept, h, 0))
    np.testing.assert_array_equal(used(code, h, train=False), h)


def test_a_share_of_almost_nothing_is_one_winner():
    assert (np.sum(used(codes.WinnerTakeAll(1e-9), np.abs(TIED) + 1) > 0, axis=0) == 1).all()


@pytest.mark.parametrize("shift", [0.0, -9.0])
def test_each_feature_map_first_keeps_its_largest_entry(shift):
    h = (RNG.normal(size=(6, 3, 4, 2)) + shift).astype(np.float32)
    expected = np.zeros_like(h)
    for channel in range(2):
        peaks = h[..., channel].reshape(6, -1)
        for row in np.argsort(-peaks.max(axis=1))[:3]:  # the 0.4 of 6 rows, rounded up
            place = np.unravel_index(peaks[row].argmax(), (3, 4))
            expected[row, *place, channel] = h[row, *place, channel]
    code = codes.WinnerTakeAll(0.4)
    np.testing.assert_array_equal(used(code, h), expected)
    np.testing.assert_array_equal(used(code, h, train=False), h)


@pytest.mark.parametrize("train", [True, False])
def test_gated_codes_are_those_of_the_paper(train):
    """1[pi > 0] · relu(exp(r) · W (x - pre_bias) + b_mag), Rajamanoharan et al. (2024), eq. 6-7."""
    kernel, r, b_gate, b_mag = (RNG.normal(size=s).astype(np.float32) for s in ((4, 8), 8, 8, 8))
    linear = X @ kernel
    opened, magnitude = linear + b_gate > 0, np.exp(r) * linear + b_mag
    variables = {"params": {"r": r, "bias": b_mag - np.exp(r) * b_gate}}
    z = lambda h: used(codes.Gated(), h, variables, train=train)  # noqa: E731
    expected = opened * np.maximum(magnitude, 0)
    np.testing.assert_allclose(z(linear + b_gate), expected, rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda h: jnp.sum(z(h)))(linear + b_gate)
    np.testing.assert_allclose(gradient, opened * (magnitude > 0) * np.exp(r), rtol=1e-5)
    assert (opened & (magnitude < 0)).any()
    assert (~opened & (magnitude > 0)).any()


def test_a_gated_code_starts_as_a_rectifier():
    variables = codes.Gated().init(KEY, X)
    np.testing.assert_array_equal(used(codes.Gated(), X, variables), np.maximum(X, 0))


def jump(h, theta, bandwidth=0.2, weight=0.7):
    variables = {"params": {"log_threshold": jnp.log(theta)}}
    code = codes.JumpReLU(weight, bandwidth, 0.1)
    return code.apply(variables, h, mutable="metrics")[0]


def test_jump_relu_passes_what_exceeds_its_threshold_and_charges_for_it():
    theta = np.float32([0.2, 0.5, 1.0, 2.0])
    z, rate = jump(X, theta)
    np.testing.assert_array_equal(z, np.where(theta < X, X, 0))
    np.testing.assert_allclose(rate, 0.7 * (theta < X).sum(axis=1), rtol=1e-6)
    variables = codes.JumpReLU(1.0, 0.1, 0.3).init(KEY, X)
    np.testing.assert_allclose(variables["params"]["log_threshold"], np.log(np.full(4, 0.3)))


def test_the_pseudo_gradients_of_jump_relu_are_those_of_the_paper(x64):
    """Rajamanoharan et al. (2024b), eq. 11 and 12, with a rectangle K of width 1."""
    theta = np.array([0.2, 0.5, 1.0, 2.0])
    h = theta + RNG.uniform(-0.3, 0.3, size=(200, 4))
    near, weights = np.abs(h - theta) < 0.1, RNG.normal(size=h.shape)
    by_h, by_theta = jax.grad(lambda h, t: jnp.sum(weights * jump(h, t)[0]), (0, 1))(h, theta)
    np.testing.assert_allclose(by_h, weights * (h > theta), rtol=1e-12)
    np.testing.assert_allclose(by_theta, -theta / 0.2 * (weights * near).sum(axis=0), rtol=1e-9)
    by_h, by_theta = jax.grad(lambda h, t: jnp.sum(jump(h, t)[1]), (0, 1))(h, theta)
    np.testing.assert_array_equal(by_h, np.zeros_like(h))
    np.testing.assert_allclose(by_theta, -0.7 / 0.2 * near.sum(axis=0), rtol=1e-9)


def test_in_the_mean_they_are_the_gradient_of_the_expected_loss():
    """E over h ~ N(0, 1) of the squared error to c and of the rate, by quadrature."""
    theta, c, small = 0.6, 2.0, 1e-4

    def expected(theta):
        passed = integrate.quad(lambda h: 0.5 * (c - h) ** 2 * stats.norm.pdf(h), theta, np.inf)[0]
        return passed + 0.5 * c**2 * stats.norm.cdf(theta) + 0.7 * stats.norm.sf(theta)

    def sampled(theta):
        z, rate = jump(h, theta, bandwidth=0.04)
        return jnp.mean(jnp.sum(0.5 * (c - z) ** 2, axis=1) + rate)

    h = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None].astype(np.float32)
    slope = (expected(theta + small) - expected(theta - small)) / (2 * small)
    assert abs(slope) > 0.05
    np.testing.assert_allclose(jax.grad(sampled)(jnp.float32([theta]))[0], slope, rtol=0.02)
