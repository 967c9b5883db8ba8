from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import codes, likelihoods, penalties, priors

KEY = jax.random.key(9)
RNG = np.random.default_rng(11)
X = RNG.integers(0, 2, size=(8, 6)).astype(np.float32)
BATCH = {"x": X}
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def squared_mmd(a, b):
    """By a loop over all pairs of different rows, in double precision."""
    n, d = a.shape

    def kernel(x, y):
        return sum(2 * d * s / (2 * d * s + np.sum((x - y) ** 2)) for s in SCALES)

    within = sum(kernel(x[i], x[j]) for x in (a, b) for i in range(n) for j in range(n) if i != j)
    return within / (n * (n - 1)) - 2 * sum(kernel(x, y) for x in a for y in b) / n**2


def test_the_penalty_is_the_estimate_over_all_pairs(x64):
    a, b = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 3)) * 1.4 + 0.3
    found = penalties.squared_mmd(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, squared_mmd(a, b), rtol=1e-9)
    slope = jax.grad(lambda a: penalties.squared_mmd(a, b))(jnp.asarray(a))
    step = np.zeros((9, 3))
    step[4, 1] = 1e-5
    difference = (squared_mmd(a + step, b) - squared_mmd(a - step, b)) / 2e-5
    np.testing.assert_allclose(slope[4, 1], difference, rtol=1e-6)


def test_the_penalty_has_no_bias_and_sees_differences_and_is_zero_of_one_row():
    a, b = jax.random.normal(KEY, (2, 300, 10, 3))
    same = np.asarray(jax.vmap(penalties.squared_mmd)(a, b))
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(300)
    moved = np.asarray(jax.vmap(penalties.squared_mmd)(a, b + 1.0))
    assert moved.mean() > 20 * moved.std() / np.sqrt(300)
    value, slope = jax.value_and_grad(penalties.squared_mmd)(a[0, :1], b[0, :1])
    assert value == 0
    np.testing.assert_array_equal(slope, np.zeros((1, 3)))


def at(model):
    return model.init(KEY, BATCH)


def test_the_vae_is_binary_with_the_divergence_as_its_rate_and_a_standard_prior():
    model = jaxae.vae(6, 2, hidden_dims=(4,))
    params = at(model)
    total, metrics = model.loss(params, KEY, BATCH)
    mean, scale = model.latent.posterior(params, BATCH)
    kl = np.mean(np.sum(0.5 * (mean**2 + scale**2 - 1) - np.log(scale), axis=1))
    np.testing.assert_allclose(metrics["rate"], kl, rtol=1e-5)
    np.testing.assert_allclose(total, metrics["distortion"] + kl, rtol=1e-5)
    np.testing.assert_array_equal(model.encode(params, BATCH), mean)
    assert set(np.unique(model.sample(params, KEY, 20))) == {0.0, 1.0}
    masses = model.latent.masses(params, mean)
    np.testing.assert_allclose(masses[..., 1], model.decode(params, mean), rtol=1e-6)
    np.testing.assert_allclose(masses.sum(-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"beta": 2.5}])
def test_beta_weighs_the_rate(options):
    model = jaxae.beta_vae(6, 2, **options)
    total, metrics = model.loss(at(model), KEY, BATCH)
    beta = options.get("beta", 4.0)
    np.testing.assert_allclose(total, metrics["distortion"] + beta * metrics["rate"], rtol=1e-6)


def test_the_loss_of_the_wasserstein_autoencoder_has_the_weighted_discrepancy():
    model = jaxae.wae(6, 2, mmd_weight=3.0)
    params = at(model)
    total, metrics = model.loss(params, KEY, BATCH)
    assert metrics["rate"] == 0
    np.testing.assert_allclose(total, metrics["distortion"] + metrics["penalty"], rtol=1e-6)
    drawn = []
    spy = {"penalties": [lambda forward: drawn.append(forward) or jnp.zeros(())]}
    jaxae.deep(6, 2, latent_activation="identity", **spy).loss(params, KEY, BATCH)
    key, z = drawn[0].key, model.encode(params, BATCH)
    expected = squared_mmd(np.float64(z), np.float64(model.latent.prior(params, key, 8)))
    np.testing.assert_allclose(metrics["penalty"], 3 * expected, rtol=1e-4)


@pytest.mark.parametrize(("alpha", "weight"), [(1.0, 1000.0), (0.4, 5.0), (-1.0, 4.0), (0.0, 1.0)])
def test_info_vaes_weigh_the_divergence_and_the_discrepancy(alpha, weight):
    """With 1 - α and α + λ - 1; at α = 0 and λ = 1 it is the plain vae."""
    model, unit = (
        jaxae.info_vae(6, 2, information=a, mmd_weight=w) for a, w in ((alpha, weight), (1.0, 1.0))
    )
    total, metrics = model.loss(at(model), KEY, BATCH)
    mmd = unit.loss(at(model), KEY, BATCH)[1]["penalty"]
    parts = (1 - alpha) * metrics["rate"] + (alpha + weight - 1) * mmd
    np.testing.assert_allclose(total, metrics["distortion"] + parts, rtol=1e-5)
    assert mmd != 0


def test_penalties_of_ones_own_add_to_those_of_the_variant():
    own = {"penalties": [lambda forward: jnp.asarray(7.0)]}
    for variant in (jaxae.wae, jaxae.info_vae):
        plain, more = variant(6, 2), variant(6, 2, **own)
        params = at(plain)
        assert more.loss(params, KEY, BATCH)[0] > plain.loss(params, KEY, BATCH)[0]
    assert len(own["penalties"]) == 1


def test_likelihoods_default_to_bits_or_to_squared_errors():
    for variant in (jaxae.vq_vae, jaxae.wae):
        model = variant(6, 2)
        params = at(model)
        metrics = model.loss(params, KEY, BATCH)[1]
        x_hat = model.decode(params, model.encode(params, BATCH))
        expected = np.mean(np.sum(0.5 * (X - x_hat) ** 2 + 0.5 * np.log(2 * np.pi), axis=1))
        np.testing.assert_allclose(metrics["distortion"], expected, rtol=1e-5)
    for variant in (jaxae.vae, jaxae.iwae, jaxae.info_vae, jaxae.semantic_hashing):
        with pytest.raises(ValueError, match=r"\[0.0, 1.0\]"):
            variant(6, 2).init(KEY, {"x": 2 * X})
    given = jaxae.vae(6, 2, likelihood=likelihoods.gaussian())
    assert jnp.isfinite(given.loss(given.init(KEY, {"x": 2 * X}), KEY, {"x": 2 * X})[0])


def test_hashing_has_noise_in_training_and_none_in_use():
    model = jaxae.semantic_hashing(6, 3, noise_level=5.0)
    params = at(model)
    z = model.encode(params, BATCH)
    assert np.all((z > 0) & (z < 1))
    np.testing.assert_array_equal(model.latent.draw(params, KEY, BATCH).z[0], z)
    losses = {float(model.loss(params, jax.random.key(i), BATCH)[0]) for i in range(3)}
    assert len(losses) == 3
    silent = jaxae.semantic_hashing(6, 3, noise_level=0.0)
    losses = {float(silent.loss(params, jax.random.key(i), BATCH)[0]) for i in range(3)}
    assert len(losses) == 1


SWEPT = {
    "free bits": (lambda v: jaxae.vae(6, 2, free_bits=v), (0.0, 2.0)),
    "capacity": (lambda v: jaxae.vae(6, 2, capacity=v), (0.5, 3.0)),
    "beta": (lambda v: jaxae.beta_vae(6, 2, beta=v), (0.5, 3.0)),
    "beta of a schedule": (lambda v: jaxae.vae(6, 2, beta=lambda n: v * (1 + n)), (0.5, 3.0)),
    "commitment": (lambda v: jaxae.vq_vae(6, 2, num_embeddings=3, commitment=v), (0.1, 2.0)),
    "mmd weight": (lambda v: jaxae.wae(6, 2, mmd_weight=v), (1.0, 20.0)),
    "information": (lambda v: jaxae.info_vae(6, 2, information=v), (-1.0, 0.5)),
    "noise level": (lambda v: jaxae.semantic_hashing(6, 2, noise_level=v), (0.5, 4.0)),
    "temperature": (
        lambda v: jaxae.deep(6, 2, code=codes.Binary(2, v, straight_through=False)),
        (0.3, 1.0),
    ),
}


@pytest.mark.parametrize("name", SWEPT)
def test_numbers_may_be_traced_and_swept_and_give_what_each_alone_gives(name):
    build, values = SWEPT[name]
    params = at(build(values[1]))

    def loss(value, params):
        return build(value).loss(params, KEY, BATCH)[0]

    totals, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss, 1), (0, None)))(
        jnp.asarray(values), params
    )
    for i, value in enumerate(values):
        np.testing.assert_allclose(totals[i], loss(value, params), rtol=1e-5)
    assert not np.allclose(totals[0], totals[1])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


REFUSED = {
    "free_bits": partial(jaxae.vae, free_bits=-0.1),
    "capacity": partial(jaxae.vae, capacity=-1.0),
    "beta": partial(jaxae.beta_vae, beta=-1.0),
    "samples": partial(jaxae.iwae, samples=0),
    "num_embeddings": partial(jaxae.vq_vae, num_embeddings=0),
    "commitment": partial(jaxae.vq_vae, commitment=-1.0),
    "restart_after": partial(jaxae.vq_vae, restart_after=-1),
    "decay": partial(jaxae.vq_vae, decay=1.0),
    "weight": partial(jaxae.wae, mmd_weight=-1.0),
    "information": partial(jaxae.info_vae, information=1.5),
    r"information \+ mmd_weight": partial(jaxae.info_vae, information=0.2, mmd_weight=0.5),
    "noise_level": partial(jaxae.semantic_hashing, noise_level=-1.0),
    "dictionary": partial(jaxae.vae, networks=jaxae.dictionary),
    "tied decoder": partial(jaxae.vae, decoder="tied"),
    "no prior": partial(jaxae.deep, penalties=[penalties.mmd(1.0)]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_traced_or_at_init(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message](6, 2).init(KEY, BATCH)


def test_a_tied_decoder_goes_with_codes_of_one_number_each():
    model = jaxae.semantic_hashing(6, 2, decoder="tied")
    assert jnp.isfinite(model.loss(at(model), KEY, BATCH)[0])


@pytest.mark.parametrize(
    "prior",
    [
        priors.Standard(3),
        priors.Learned(3),
        priors.Mixture(3),
        jaxae.layered_prior(3, 1),
        priors.Joint([priors.Standard(1), priors.Standard(2)], [1, 2]),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_a_prior_of_another_width_is_refused(prior):
    with pytest.raises(ValueError, match=r"prior.*3.*2|prior.*2.*3"):
        jaxae.vae(6, 2, prior=prior).init(KEY, BATCH)


def test_the_upper_layers_of_a_prior_are_nets_of_their_own_hidden_dims():
    prior = jaxae.layered_prior(4, 2, hidden_dims=(7, 5))
    params = at(jaxae.iwae(6, 4, prior=prior))["code"]["prior"]
    shapes = {
        name: [params[name][f"layer_{i}"]["kernel"].shape for i in range(3)] for name in params
    }
    assert shapes == {
        "encoder": [(4, 7), (7, 5), (5, 4)],
        "decoder": [(2, 5), (5, 7), (7, 8)],
    }
