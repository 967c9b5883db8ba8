import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

import jaxae
from jaxae import corruptions, penalties

KEY = jax.random.key(0)
RNG = np.random.default_rng(7)
X = RNG.normal(size=(3, 5))


def build(preset, latent_dim=4, x=X, **options):
    """A model in double precision, with random kernels and biases."""
    model = preset(x.shape[1], latent_dim, param_dtype=jnp.float64, **options)
    like = jax.eval_shape(model.init, KEY, {"x": x})
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda a: 0.7 * rng.normal(size=a.shape), like)


def penalty(model, params, x=X, key=KEY):
    return jax.jit(lambda p, k: model.loss(p, k, {"x": x})[1]["penalty"])(params, key)


def mean_penalty(model, params, draws, x=X):
    """Over many keys."""
    keys = jax.random.split(KEY, draws)
    each = jax.jit(jax.vmap(lambda key: model.loss(params, key, {"x": x})[1]["penalty"]))(keys)
    return np.mean(each)


def dense(model, params, x=X):
    """The mean squared Frobenius norm of the dense Jacobian."""
    jacobian = jax.vmap(jax.jacfwd(lambda row: model.encode(params, {"x": row[None]})[0]))(x)
    return np.mean(np.sum(np.square(jacobian), axis=(1, 2)))


@pytest.mark.parametrize("hidden_dims", [(), (6,)])
def test_the_contractive_penalty_is_that_of_the_dense_jacobian(hidden_dims, x64):
    model, params = build(jaxae.contractive, hidden_dims=hidden_dims, contractive_weight=0.3)
    np.testing.assert_allclose(penalty(model, params), 0.3 * dense(model, params), rtol=1e-9)
    if not hidden_dims:
        z, kernel = model.encode(params, {"x": X}), params["encoder"]["layer_0"]["kernel"]
        closed = np.mean(np.square(z * (1 - z)) @ np.sum(np.square(kernel), axis=0))
        np.testing.assert_allclose(penalty(model, params), 0.3 * closed, rtol=1e-9)


def test_the_gradient_of_the_contractive_loss_is_that_of_finite_differences(x64):
    model, params = build(jaxae.contractive, hidden_dims=(6,), contractive_weight=0.3)
    loss = jax.jit(jax.value_and_grad(lambda p: model.loss(p, KEY, {"x": X})[0]))
    direction = jax.tree.map(lambda a: RNG.normal(size=a.shape), params)
    moved = lambda by: loss(jax.tree.map(lambda p, d: p + by * d, params, direction))[0]  # noqa: E731
    slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, loss(params)[1], direction)))
    np.testing.assert_allclose((moved(1e-5) - moved(-1e-5)) / 2e-5, slope, rtol=1e-6)


@pytest.mark.parametrize("hidden_dims", [(), (6,)])
def test_small_gaussian_noise_contracts_as_the_jacobian_does(hidden_dims, x64):
    model, params = build(
        jaxae.stochastic_contractive,
        hidden_dims=hidden_dims,
        contractive_weight=2.0,
        noise_level=1e-3,
    )
    found = mean_penalty(model, params, 4000)
    np.testing.assert_allclose(found, 2.0 * 1e-6 * dense(model, params), rtol=0.05)


def test_the_stochastic_penalty_is_the_squared_distance_of_codes(x64):
    model, params = build(
        jaxae.stochastic_contractive,
        contractive_weight=2.0,
        noise_level=0.5,
        corruption=lambda level: lambda key, x: x + level,
    )
    clean, moved = (model.encode(params, {"x": x}) for x in (X, X + 0.5))
    expected = 2.0 * np.mean(np.sum((clean - moved) ** 2, axis=1))
    np.testing.assert_allclose(penalty(model, params), expected, rtol=1e-9)


def higher_order(weight, noise_level):
    own = [penalties.higher_order_contractive(weight, noise_level)]
    return lambda *args, **options: jaxae.deep(*args, penalties=own, **options)


def test_codes_that_are_linear_have_no_second_order(x64):
    model, params = build(higher_order(1.0, 0.5), activation="identity")
    np.testing.assert_allclose(penalty(model, params), 0.0, atol=1e-20)


def test_small_changes_of_the_jacobian_are_those_of_the_hessian(x64):
    """E ‖J(x) - J(x + ε)‖² = σ² ‖H‖², of tanh(w · x + b) with H = (tanh)'' w wᵀ."""
    model, params = build(higher_order(3.0, 1e-3), 1, X[:1], activation="tanh")
    z, kernel = model.encode(params, {"x": X[:1]})[0, 0], params["encoder"]["layer_0"]["kernel"]
    hessian = -2 * z * (1 - z**2) * kernel @ kernel.T
    found = mean_penalty(model, params, 20_000, X[:1])
    np.testing.assert_allclose(found, 3.0 * 1e-6 * np.sum(hessian**2), rtol=0.05)


def test_the_higher_order_variant_adds_both_penalties(x64):
    parts = {"contractive_weight": 0.3, "noise_level": 0.2}
    _, params = build(jaxae.higher_order_contractive)
    none, half, whole = (
        penalty(jaxae.higher_order_contractive(5, 4, hessian_weight=w, **parts), params)
        for w in (0.0, 0.5, 1.0)
    )
    first = penalty(jaxae.contractive(5, 4, contractive_weight=0.3), params)
    np.testing.assert_allclose(none, first, rtol=1e-9)
    np.testing.assert_allclose(whole - none, 2 * (half - none), rtol=1e-9)
    assert whole > 1.001 * none


def test_the_contractive_variants_are_tied_sigmoid_networks_unless_told_otherwise():
    for preset in (
        jaxae.contractive,
        jaxae.stochastic_contractive,
        jaxae.higher_order_contractive,
    ):
        params = preset(5, 4, hidden_dims=(6,)).init(KEY, {"x": X})
        assert set(params["decoder"]) == {"bias_0", "bias_1"}
        z = preset(5, 4, hidden_dims=(6,)).encode(params, {"x": 10 * X})
        assert ((z > 0) & (z < 1)).all()
        other = preset(5, 4, decoder="mirrored", activation="tanh")
        params = other.init(KEY, {"x": X})
        assert set(params["decoder"]) == {"layer_0"}
        assert other.encode(params, {"x": X}).min() < 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: penalties.contractive(-0.1), "weight"),
        (lambda: penalties.stochastic_contractive(np.nan, corruptions.none), "weight"),
        (lambda: penalties.higher_order_contractive(-0.1, 0.1), "weight"),
        (lambda: penalties.higher_order_contractive(0.1, -0.1), "noise_level"),
        (lambda: jaxae.contractive(5, 4, contractive_weight=-1.0), "weight"),
        (lambda: jaxae.stochastic_contractive(5, 4, noise_level=-1.0), "noise_level"),
        (lambda: jaxae.higher_order_contractive(5, 4, hessian_weight=-1.0), "weight"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_residual_of_a_denoiser_is_the_score_of_the_noisy_density():
    """(r(x) - x) / σ² = ∇ log p_σ(x) (Alain & Bengio, 2014), of a mixture of two Gaussians."""
    means, scale, noise = np.array([-1.0, 1.0]), 0.4, 0.3
    quantiles = norm.ppf((np.arange(2048) + 0.5) / 2048)
    data = {"x": (means[:, None] + scale * quantiles).reshape(-1, 1).astype(np.float32)}
    model = jaxae.denoising(
        1,
        16,
        hidden_dims=(64,),
        activation="tanh",
        latent_activation="tanh",
        noise_level=noise,
        corruption=corruptions.gaussian,
    )
    learner = jaxae.gradient(model.loss, optax.adam(optax.cosine_decay_schedule(1e-2, 200 * 8)))
    state = learner.init(model.init(KEY, data), KEY)
    fit = jax.jit(lambda s, d: jaxae.fit(learner, s, d, KEY, epochs=200, batch_size=512))
    params = fit(state, data)[0].params
    x = np.linspace(-2, 2, 200)[:, None]
    variance = scale**2 + noise**2
    density = np.exp(-((x - means) ** 2) / (2 * variance))
    score = np.sum(density * (means - x), axis=1) / (variance * np.sum(density, axis=1))
    r = model.decode(params, model.encode(params, {"x": x.astype(np.float32)}))
    found, likely = (r - x)[:, 0] / noise**2, density.sum(axis=1) > 0.1
    assert likely.mean() > 0.5
    assert np.corrcoef(found[likely], score[likely])[0, 1] > 0.95
    error = np.linalg.norm(found[likely] - score[likely])
    assert error < 0.25 * np.linalg.norm(score[likely])
