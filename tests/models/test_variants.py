import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import corruptions, likelihoods, penalties

KEY = jax.random.key(9)
RNG = np.random.default_rng(9)
X = RNG.uniform(size=(5, 6)).astype(np.float32)
PRESETS = {
    jaxae.deep: 3,
    jaxae.linear: 3,
    jaxae.undercomplete: 3,
    jaxae.overcomplete: 8,
    jaxae.tied: 3,
    jaxae.denoising: 3,
}

every = pytest.mark.parametrize(("preset", "latent_dim"), PRESETS.items())


def finite_difference(f, params, direction, step=1e-5):
    """The central difference quotient of f at params along a direction."""

    def moved(distance):
        return f(jax.tree.map(lambda p, d: p + distance * d, params, direction))

    return (moved(step) - moved(-step)) / (2 * step)


COMBINATIONS = [(preset, latent_dim, {}) for preset, latent_dim in PRESETS.items()] + [
    (jaxae.tied, 3, {"likelihood": likelihoods.bernoulli(), "penalties": [penalties.l2(0.1)]}),
    (jaxae.denoising, 3, {"likelihood": likelihoods.gaussian("per_entry"), "decoder": "mirrored"}),
    (jaxae.denoising, 3, {"likelihood": likelihoods.gaussian("shared"), "decoder": "tied"}),
    (jaxae.overcomplete, 8, {"corrupt": corruptions.dropout(0.5), "hidden_dims": (7, 9)}),
    (jaxae.undercomplete, 2, {"corrupt": corruptions.salt_and_pepper(0.5), "hidden_dims": (4,)}),
]


@pytest.mark.parametrize(("preset", "latent_dim", "parts"), COMBINATIONS)
def test_the_gradient_is_that_of_finite_differences(preset, latent_dim, parts, x64):
    smooth = {} if preset is jaxae.linear else {"activation": "tanh"}
    model = preset(6, latent_dim, param_dtype=jnp.float64, **smooth, **parts)
    batch = {"x": X.astype(np.float64), "mask": RNG.integers(2, size=X.shape)}
    random = lambda a: 0.5 * RNG.normal(size=a.shape)  # noqa: E731
    params = jax.tree.map(random, jax.eval_shape(model.init, KEY, batch))
    both = jax.jit(jax.value_and_grad(lambda p: model.loss(p, KEY, batch)[0]))
    loss, grads = lambda p: both(p)[0], both(params)[1]
    for _ in range(3):
        direction = jax.tree.map(random, params)
        slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, grads, direction)))
        np.testing.assert_allclose(
            finite_difference(loss, params, direction), slope, rtol=1e-6, atol=1e-8
        )


@every
def test_every_preset_takes_every_part(preset, latent_dim):
    options = {"kernel_init": "lecun_normal", "use_bias": False, "dtype": jnp.bfloat16}
    if preset is not jaxae.linear:
        options |= {"activation": "relu", "hidden_dims": (4,)}
    if preset is not jaxae.denoising:
        options |= {"corrupt": corruptions.masking(0.5)}
    model = preset(
        6,
        latent_dim,
        likelihood=likelihoods.bernoulli(),
        penalties=[penalties.l2(0.1)],
        beta=0.5,
        **options,
    )
    params = model.init(KEY, {"x": X})
    assert {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)} == {"kernel"}
    evaluate = jax.jit(model.loss)
    loss, metrics = evaluate(params, KEY, {"x": X})
    assert jnp.isfinite(loss)
    assert metrics["penalty"] > 0
    assert evaluate(params, jax.random.key(10), {"x": X})[0] != loss
    x_hat = model.decode(params, model.encode(params, {"x": X}))
    assert ((x_hat > 0) & (x_hat < 1)).all()


def test_hidden_dims_run_from_the_input_to_the_code_and_back():
    params = jaxae.deep(6, 2, hidden_dims=(5, 4)).init(KEY, {"x": X})
    shapes = {
        net: [layers[f"layer_{i}"]["kernel"].shape for i in range(3)]
        for net, layers in params.items()
    }
    assert shapes == {"encoder": [(6, 5), (5, 4), (4, 2)], "decoder": [(2, 4), (4, 5), (5, 6)]}


def reconstruct(model, params, x):
    return model.decode(params, model.encode(params, {"x": x}))


def test_linear_is_affine(x64):
    """f(a x + (1 - a) y) = a f(x) + (1 - a) f(y), for any a, of codes and reconstructions."""
    model = jaxae.linear(6, 3, param_dtype=jnp.float64)
    params = jax.tree.map(lambda p: p + 0.3, model.init(KEY, {"x": X}))
    x, y = RNG.normal(size=(2, 5, 6))
    mixed, ends = reconstruct(model, params, 3 * x - 2 * y), (x, y)
    fx, fy = (reconstruct(model, params, end) for end in ends)
    np.testing.assert_allclose(mixed, 3 * fx - 2 * fy, rtol=1e-10)
    curved = jaxae.deep(6, 3, param_dtype=jnp.float64)
    bent = reconstruct(curved, params, 3 * x - 2 * y)
    assert not np.allclose(bent, 3 * fx - 2 * fy, rtol=1e-2)


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"hidden_dims": (4,)}])
def test_linear_refuses_what_is_not_linear(options):
    with pytest.raises(ValueError, match="take deep"):
        jaxae.linear(6, 3, **options)


def test_tied_has_half_of_the_kernels():
    options = {"hidden_dims": (5,), "use_bias": False}
    tied, plain = (
        sum(
            leaf.size
            for leaf in jax.tree.leaves(jax.eval_shape(preset(6, 3, **options).init, KEY, {"x": X}))
        )
        for preset in (jaxae.tied, jaxae.deep)
    )
    assert 2 * tied == plain


@pytest.mark.parametrize("corruption", ["masking", "gaussian", "salt_and_pepper", "dropout"])
@pytest.mark.parametrize("preset", [jaxae.deep, jaxae.tied])
def test_denoising_at_level_zero_is_the_plain_model(corruption, preset):
    decoder = "tied" if preset is jaxae.tied else "mirrored"
    corruption = getattr(corruptions, corruption)
    noisy = jaxae.denoising(6, 3, noise_level=0.0, corruption=corruption, decoder=decoder)
    plain = preset(6, 3)
    params = plain.init(KEY, {"x": X})
    given, expected = (jax.jit(m.loss)(params, KEY, {"x": X}) for m in (noisy, plain))
    jax.tree.map(np.testing.assert_array_equal, given, expected)


def test_denoising_reconstructs_the_clean_input_from_the_corrupted_one():
    model = jaxae.denoising(
        6, 3, noise_level=0.4, corruption=lambda level: lambda key, x: x + level
    )
    params = model.init(KEY, {"x": X})
    expected = 0.5 * np.sum((X - reconstruct(model, params, X + 0.4)) ** 2, axis=1).mean()
    given = model.loss(params, KEY, {"x": X})[0]
    np.testing.assert_allclose(given, expected + 3 * np.log(2 * np.pi), rtol=1e-5)


@pytest.mark.parametrize("latent_dim", [6, 7])
def test_undercomplete_refuses_codes_as_wide_as_the_input(latent_dim):
    with pytest.raises(ValueError, match=f"fewer than the 6 .*latent_dim={latent_dim}"):
        jaxae.undercomplete((2, 3), latent_dim)


@pytest.mark.parametrize("latent_dim", [5, 6])
def test_overcomplete_refuses_codes_no_wider_than_the_input(latent_dim):
    with pytest.raises(ValueError, match=f"more than the 6 .*latent_dim={latent_dim}"):
        jaxae.overcomplete((2, 3), latent_dim)


def test_denoising_refuses_a_level_that_its_corruption_does_not_know():
    with pytest.raises(ValueError, match="noise_level"):
        jaxae.denoising(6, 3, noise_level=1.5)


@every
def test_every_preset_refuses_widths_that_are_not_positive(preset, latent_dim):
    with pytest.raises(ValueError, match=r"positive integers|more than"):
        preset(6, -latent_dim)
