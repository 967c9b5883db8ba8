"""Restricted Boltzmann machines, against enumeration, integration and scikit-learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import quad
from scipy.special import expit, logsumexp
from scipy.stats import chisquare
from sklearn.neural_network import BernoulliRBM

import jaxae
from jaxae.models.boltzmann import contrast, weights

KEY = jax.random.key(3)


def states(n):
    return np.array(list(np.ndindex(*[2] * n)), np.float64)


V, H = states(4), states(3)


def machine(d=4, k=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    w, c, b = (scale * rng.normal(size=size) for size in ((d, k), k, d))
    return {"encoder": {"layer_0": {"kernel": w, "bias": c}}, "decoder": {"bias_0": b}}


def joint(params):
    """Enumerates a binary machine: p(v), E[h | v], and p(v, h) by rows v and columns h."""
    w, c, b = weights(params)
    log_p = (V @ b)[:, None] + H @ c + V @ w @ H.T
    p = np.exp(log_p - logsumexp(log_p))
    return p.sum(1), p @ H / p.sum(1, keepdims=True), p


def float32(params):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)


def assert_distributed(v, p):
    """Whether rows `v` of binary units follow `p`: by a chi-square test."""
    found = np.bincount(np.asarray(v, int) @ [8, 4, 2, 1], minlength=16)
    assert chisquare(found, p * len(v)).pvalue > 0.01


def test_free_energy_and_conditionals_are_those_of_all_states(x64):
    params, energy = machine(), jaxae.rbm_energy()
    w, c, b = weights(params)
    sums = logsumexp((V @ b)[:, None] + H @ c + V @ w @ H.T, axis=1)
    np.testing.assert_allclose(energy.free_energy(params, {"x": V}), -sums, rtol=1e-12)
    _, h, p = joint(params)
    v, model = p.T @ V / p.sum(0)[:, None], jaxae.rbm(4, 3)
    for found in (energy.hidden(params, V), model.encode(params, {"x": V})):
        np.testing.assert_allclose(found, h, rtol=1e-12)
    for found in (energy.visible(params, H), model.decode(params, H)):
        np.testing.assert_allclose(found, v, rtol=1e-12)


def test_free_energies_have_the_gradient_of_the_likelihood(x64):
    """Of the data less those of all states by p(v), or less those of the model's own rows."""
    params, energy = machine(), jaxae.rbm_energy()
    data, p = V[[0, 3, 3, 5, 9]], joint(params)[0]
    rows = V[np.random.default_rng(0).choice(16, 200_000, p=p)]

    def log_likelihood(params):
        w, c, b = weights(params)
        log_p = lambda v: jax.nn.logsumexp((v @ b)[:, None] + H @ c + v @ w @ H.T, axis=1)  # noqa: E731
        return jnp.mean(log_p(data)) - jax.nn.logsumexp(log_p(V))

    def exact(params):
        free = partial(energy.free_energy, params)
        return jnp.mean(free({"x": data})) - p @ free({"x": V})

    def sampled(params):
        return contrast(energy, params, {"x": data}, {"x": rows}, {"penalty": 0.0})[0]

    wanted = jax.jit(jax.grad(log_likelihood))(params)
    for function, tolerance in ((exact, 1e-12), (sampled, 5e-3)):  # 4.5 standard errors of 0.5
        close = partial(np.testing.assert_allclose, atol=tolerance)
        jax.tree.map(lambda a, b, close=close: close(a, -b), jax.grad(function)(params), wanted)


@pytest.mark.parametrize("units", [{}, {"visible": "gaussian"}, {"hidden": "gaussian"}])
def test_contrast_has_the_gradient_of_the_outer_product_rule(units, x64):
    params, rng = machine(), np.random.default_rng(1)
    data, chains = (rng.normal(size=(n, 4)) for n in (7, 5))
    w, c, _ = weights(params)
    act = (lambda a: a) if "hidden" in units else expit
    rule = [
        (v.T @ act(v @ w + c) / len(v), act(v @ w + c).mean(0), v.mean(0)) for v in (data, chains)
    ]

    def loss(params):
        energy, own = (
            jaxae.rbm_energy(**units),
            {"penalty": 0.5, "rate": 1.0, "mean_activation": 0.1},
        )
        return contrast(energy, params, {"x": data}, {"x": chains}, own)

    grads, metrics = jax.grad(loss, has_aux=True)(params)
    assert set(metrics) == {"loss", "free_energy", "penalty", "mean_activation"}
    for grad, now, model in zip(weights(grads), *rule, strict=True):
        np.testing.assert_allclose(grad, model - now, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("units", [{}, {"visible": "gaussian"}, {"hidden": "gaussian"}])
def test_every_derivative_of_the_contrast_is_that_of_the_two_free_energies(units, x64):
    energy, rng = jaxae.rbm_energy(**units), np.random.default_rng(1)
    data = {"x": rng.normal(size=(7, 4)), "mask": rng.integers(2, size=(7, 4))}
    chains = {"x": rng.normal(size=(5, 4))}
    flat, unravel = ravel_pytree(machine())
    direction, others = rng.normal(size=flat.shape), flat + rng.normal(size=(3, *flat.shape))

    def plain(flat):
        free = partial(energy.free_energy, unravel(flat))
        return jnp.mean(free(data)) - jnp.mean(free(chains))

    def found(flat):
        params = {**unravel(flat), "carried": {"count": jnp.int32(3)}}
        return contrast(energy, params, data, chains, {"penalty": 0.0})[0]

    np.testing.assert_allclose(found(flat), plain(flat), rtol=1e-12)
    gap = found(flat + 1e-5 * direction) - found(flat - 1e-5 * direction)
    slope = jax.jvp(found, (flat,), (direction,))[1]
    np.testing.assert_allclose(slope, gap / 2e-5, rtol=1e-8)
    np.testing.assert_allclose(jax.grad(found)(flat) @ direction, slope, rtol=1e-12)
    for derive in (jax.grad, jax.hessian):
        wanted = np.stack([derive(plain)(point) for point in others])
        each = jax.jit(jax.vmap(derive(found)))(others)
        np.testing.assert_allclose(each, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cd_steps", [1, 3])
def test_contrastive_divergence_has_the_expected_gradient_of_its_chain(cd_steps):
    """The chain's law is enumerated; its last step leaves visible units at their means."""
    params = machine()
    _, h, p = joint(params)
    w, c, _ = weights(params)
    rule = lambda share, v, h: ((v * share[:, None]).T @ h, share @ h, share @ v)  # noqa: E731
    up, down = p / p.sum(1, keepdims=True), (p / p.sum(0)).T
    start = np.random.default_rng(2).dirichlet(np.ones(16))
    rows = np.random.default_rng(3).choice(16, 100_000, p=start)
    share = np.bincount(rows, minlength=16) / len(rows)
    last = share @ np.linalg.matrix_power(up @ down, cd_steps - 1) @ up
    mean = down @ V
    after = rule(last, mean, expit(mean @ w + c))
    step = jax.jit(jax.grad(jaxae.rbm((2, 2), 3, cd_steps=cd_steps).loss, has_aux=True))
    batch = {"x": V[rows].reshape(-1, 2, 2).astype(np.float32)}
    grads, metrics = step(float32(params), KEY, batch)
    for grad, now, end in zip(weights(grads), rule(share, V, h), after, strict=True):
        np.testing.assert_allclose(grad, end - now, atol=6e-3)
        assert np.abs(end - now).max() > 0.03
    gaps = share @ (up * ((V[:, None] - mean) ** 2).sum(2)).sum(1)
    np.testing.assert_allclose(metrics["squared_error"], gaps, atol=6e-3)


def test_gibbs_sampling_and_samples_reach_the_distribution_of_the_machine():
    params, energy, p = machine(), jaxae.rbm_energy(), joint(machine())[0]
    start = energy.start(float32(params), KEY, 20_000)
    assert_distributed(start, np.full(16, 1 / 16))
    mean, v = jax.jit(energy.gibbs, static_argnums=3)(float32(params), KEY, start, 40)
    assert_distributed(v, p)
    np.testing.assert_allclose(mean.mean(0), p @ V, atol=0.01)
    x = jaxae.rbm((2, 2), 3, sample_steps=40).sample(float32(params), KEY, 20_000)
    assert x.shape == (20_000, 2, 2)
    assert_distributed(x.reshape(-1, 4), p)


def test_gibbs_sampling_of_gaussian_units_has_the_moments_of_their_mixture():
    """p(v) is a mixture over h of Gaussians of unit variance about b + W h."""
    params, energy = machine(2, 3, seed=5), jaxae.rbm_energy("gaussian")
    w, c, b = weights(params)
    centres = H @ w.T + b
    log_share = H @ c + (centres**2).sum(1) / 2
    share = np.exp(log_share - logsumexp(log_share))
    mean = share @ centres
    cov = np.eye(2) + (centres - mean).T @ (share[:, None] * (centres - mean))
    start = energy.start(float32(params), KEY, 40_000)
    _, v = jax.jit(energy.gibbs, static_argnums=3)(float32(params), jax.random.key(1), start, 60)
    np.testing.assert_allclose(v.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(v.T), cov, atol=0.05 * np.abs(cov).max())


def test_free_energy_and_hidden_means_are_those_of_scikit_learn(x64):
    params, energy = machine(6, 5, seed=6), jaxae.rbm_energy()
    w, c, b = weights(params)
    other = BernoulliRBM(n_components=5)
    other.components_, other.intercept_hidden_, other.intercept_visible_ = w.T, c, b
    v = np.random.default_rng(0).integers(2, size=(30, 6)).astype(np.float64)
    np.testing.assert_allclose(energy.free_energy(params, {"x": v}), other._free_energy(v))
    np.testing.assert_allclose(energy.hidden(params, v), other._mean_hiddens(v))


@pytest.mark.parametrize("side", ["visible", "hidden"])
def test_gaussian_units_are_those_of_integrals(side, x64):
    """One Gaussian unit u, two binary units s; E is symmetric in the two sides."""
    d, k = (1, 2) if side == "visible" else (2, 1)
    params, units = machine(d, k, seed=7), {side: "gaussian"}
    energy, model = jaxae.rbm_energy(**units), jaxae.rbm(d, k, **units)
    w, c, b = weights(params)
    own, other = (b[0], c) if side == "visible" else (c[0], b)
    log_p = lambda u, s: -(u**2) / 2 + u * own + s @ other + u * (w.ravel() @ s)  # noqa: E731
    given = energy.visible if d == 1 else energy.hidden
    codes = model.decode if d == 1 else lambda params, v: model.encode(params, {"x": v})
    for s in states(2):
        z = quad(lambda u, s=s: np.exp(log_p(u, s)), -15, 15)[0]
        mean = quad(lambda u, s=s: u * np.exp(log_p(u, s)), -15, 15)[0] / z
        np.testing.assert_allclose(given(params, s[None])[0, 0], mean, rtol=1e-8)
        np.testing.assert_allclose(codes(params, s[None])[0, 0], mean, rtol=1e-8)
        if side == "hidden":
            free = energy.free_energy(params, {"x": s[None]})
            np.testing.assert_allclose(free, [-np.log(z)], rtol=1e-8)
    for u in (-1.3, 0.4) if side == "visible" else ():
        free = energy.free_energy(params, {"x": np.array([[u]])})
        np.testing.assert_allclose(free, [-logsumexp([log_p(u, s) for s in states(2)])])


def test_initial_weights_are_small_and_their_scale_may_be_traced():
    like = {"x": jnp.ones((1, 100))}
    init = jax.vmap(lambda scale: jaxae.rbm(100, 90, kernel_scale=scale).init(KEY, like))
    w, *biases = weights(init(jnp.array([0.01, 0.2])))
    np.testing.assert_allclose(w.std(axis=(1, 2)), [0.01, 0.2], rtol=0.03)
    assert not any(b.any() for b in biases)


@pytest.mark.parametrize("cd_steps", [1, 3])
def test_a_unit_that_is_never_observed_is_as_if_it_were_not_there(cd_steps):
    params, model, x = machine(), jaxae.rbm(4, 3, cd_steps=cd_steps), np.float32(V)
    batch = {"x": x, "mask": np.broadcast_to([1, 1, 1, 0], x.shape)}
    grads, metrics = jax.jit(jax.grad(model.loss, has_aux=True))(float32(params), KEY, batch)
    w, c, b = weights(params)
    free = -x[:, :3] @ b[:3] - np.logaddexp(x[:, :3] @ w[:3] + c, 0).sum(1)
    np.testing.assert_allclose(metrics["free_energy"], free.mean(), rtol=1e-5)
    assert not weights(grads)[0][3].any()
    assert weights(grads)[2][3] == 0
    other = jax.tree.map(np.copy, float32(params))
    weights(other)[0][3], weights(other)[2][3] = 50.0, 5.0
    again = jax.jit(jax.grad(model.loss, has_aux=True))(other, KEY, batch)[0]
    jax.tree.map(np.testing.assert_array_equal, again, grads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visible": "binary"}, "visible is one of .*'bernoulli', 'gaussian'.*got 'binary'"),
        ({"hidden": "relu"}, "hidden is one of"),
        ({"visible": "gaussian", "hidden": "gaussian"}, "Only one side may be Gaussian"),
        ({"cd_steps": 0}, "cd_steps must lie in"),
        ({"sample_steps": 0}, "sample_steps must lie in"),
        ({"code": None, "decoder": "mirrored"}, r"has no parts \['code', 'decoder'\]"),
        ({"networks": jaxae.mlp}, r"\['networks'\]"),
    ],
)
def test_what_makes_no_machine_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jaxae.rbm(4, 3, **options)
    if {"visible", "hidden"} & options.keys():
        with pytest.raises(ValueError, match=message):
            jaxae.rbm_energy(**options)


@pytest.mark.parametrize(
    "model",
    [jaxae.tied(4, 2, hidden_dims=(3,)), jaxae.deep(4, 2), jaxae.tied(4, 2, use_bias=False)],
    ids=["deep", "mirrored", "without-biases"],
)
def test_parameters_of_another_model_are_refused(model):
    params = model.init(KEY, {"x": jnp.ones((1, 4))})
    with pytest.raises(ValueError, match="one tied layer with biases"):
        jaxae.rbm_energy().hidden(params, V)


def test_a_context_is_refused():
    batch = {"x": jnp.ones((2, 4)), "context": jnp.ones((2, 1))}
    with pytest.raises(ValueError, match="takes no context"):
        jaxae.rbm(4, 3).loss(float32(machine()), KEY, batch)
