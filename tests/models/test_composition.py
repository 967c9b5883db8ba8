import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxae
from jaxae import likelihoods

KEY = jax.random.key(1)
RNG = np.random.default_rng(1)
SMALL = {"hidden_dims": (5,), "activation": "tanh", "param_dtype": jnp.float64}


def perturbed(params):
    return jax.tree.map(lambda a: a + 0.1 * RNG.normal(size=a.shape).astype(a.dtype), params)


def gaussian_by_hand(out, x, params):
    return stats.norm.logpdf(x, out, 0.7)


def shared_by_hand(out, x, params):
    return stats.norm.logpdf(x, out, np.exp(params["head"]["log_scale"]))


def per_entry_by_hand(out, x, params):
    mean, raw = np.split(out, 2, axis=-1)
    return stats.norm.logpdf(x, mean, np.exp(raw) + 1e-3)


def bernoulli_by_hand(out, x, params):
    a = special.expit(out)
    return special.xlogy(x, a) + special.xlogy(1 - x, 1 - a)


def categorical_by_hand(out, x, params):
    return np.sum(x * np.log(special.softmax(out, axis=-1)), axis=-1)


@pytest.mark.parametrize(
    ("likelihood", "log_prob"),
    [
        (lambda: likelihoods.gaussian(0.7), gaussian_by_hand),
        (lambda: likelihoods.gaussian("shared"), shared_by_hand),
        (lambda: likelihoods.gaussian("per_entry"), per_entry_by_hand),
        (lambda: likelihoods.bernoulli(), bernoulli_by_hand),
        (lambda: likelihoods.categorical(), categorical_by_hand),
    ],
)
def test_the_loss_is_minus_the_log_density_summed_over_features(likelihood, log_prob, by_hand, x64):
    x = np.eye(4)[RNG.integers(4, size=(7, 3))]
    model = jaxae.deep((3, 4), 2, likelihood=likelihood(), **SMALL)
    params = perturbed(model.init(KEY, {"x": x}))
    z = by_hand.mlp(params["encoder"], x, "tanh")
    out = by_hand.mlp(params["decoder"], z, "tanh").reshape(7, 3, -1)
    each = -log_prob(out, x, params).reshape(7, -1).sum(axis=1)
    loss, metrics = model.loss(params, KEY, {"x": x})
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-10)
    np.testing.assert_allclose(metrics["distortion"], each.mean(), rtol=1e-10)
    assert metrics["loss"] == loss
    assert metrics["rate"] == metrics["penalty"] == 0
    np.testing.assert_allclose(model.encode(params, {"x": x}), z, rtol=1e-10)


def test_decode_is_the_mean_of_the_likelihood(by_hand, x64):
    model = jaxae.deep(6, 2, likelihood=likelihoods.bernoulli(), **SMALL)
    params = perturbed(model.init(KEY, {"x": np.ones((1, 6))}))
    z = RNG.normal(size=(7, 2))
    expected = special.expit(by_hand.mlp(params["decoder"], z, "tanh"))
    np.testing.assert_allclose(model.decode(params, z), expected, rtol=1e-10)


@pytest.mark.parametrize("likelihood", [likelihoods.gaussian(), likelihoods.categorical()])
def test_distortion_is_a_sum_over_features_and_a_mean_over_examples(likelihood, x64):
    x = np.eye(4)[RNG.integers(4, size=(6, 3))]
    model = jaxae.deep((3, 4), 2, likelihood=likelihood, **SMALL)
    params = perturbed(model.init(KEY, {"x": x}))

    def loss(rows):
        return model.loss(params, KEY, {"x": rows})[0]

    np.testing.assert_allclose(loss(x), np.mean([loss(x[i : i + 1]) for i in range(6)]), rtol=1e-12)
    np.testing.assert_allclose(loss(np.concatenate([x, x])), loss(x), rtol=1e-12)


def test_twice_the_features_cost_twice_the_distortion(x64):
    """A decoder of zeros, so that each feature costs the same."""
    for size in (6, 12):
        model = jaxae.deep(size, 2, **SMALL)
        x = np.full((3, size), 2.0)
        params = jax.tree.map(jnp.zeros_like, model.init(KEY, {"x": x}))
        loss = model.loss(params, KEY, {"x": x})[0]
        np.testing.assert_allclose(loss, size * (2.0 + 0.5 * np.log(2 * np.pi)), rtol=1e-12)


def test_unsigned_bytes_are_their_255th_parts():
    x = RNG.integers(256, size=(5, 6), dtype=np.uint8)
    model = jaxae.deep(6, 3, likelihood=likelihoods.bernoulli())
    params = model.init(KEY, {"x": x})
    floats = {"x": x.astype(np.float32) / 255}
    given, expected = (model.loss(params, KEY, b)[0] for b in ({"x": x}, floats))
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.testing.assert_allclose(
        model.encode(params, {"x": x}), model.encode(params, floats), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        (nn.Dense(3), nn.Dense(6)),
        (nn.Sequential([nn.Dense(5), nn.tanh, nn.Dense(3)]), nn.Sequential([nn.Dense(6)])),
    ],
)
def test_plain_linen_modules_are_encoders_and_decoders(encoder, decoder):
    model = jaxae.autoencoder(encoder, decoder)
    batch = {"x": RNG.normal(size=(5, 6)).astype(np.float32)}
    params = model.init(KEY, batch)
    z = encoder.apply({"params": params["encoder"]}, batch["x"])
    x_hat = decoder.apply({"params": params["decoder"]}, z)
    np.testing.assert_allclose(model.encode(params, batch), z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.decode(params, z), x_hat, rtol=1e-5, atol=1e-6)
    expected = 0.5 * np.sum((batch["x"] - x_hat) ** 2, axis=1).mean() + 3 * np.log(2 * np.pi)
    np.testing.assert_allclose(model.loss(params, KEY, batch)[0], expected, rtol=1e-5)


class Everything(nn.Module):
    """An encoder whose code is all that it was given."""

    @nn.compact
    def __call__(self, x, mask=None, context=None):
        x = x + self.param("shift", nn.initializers.zeros, ())
        return jnp.concatenate([x, mask, context], axis=1)


class ContextOnly(nn.Module):
    def __call__(self, z, context):
        return context[:, :1] * jnp.ones((1, 2)) + 0 * z[:, :1]


def test_networks_are_given_mask_and_context():
    model = jaxae.autoencoder(Everything(), ContextOnly())
    x, context = np.ones((3, 2), np.float32), RNG.normal(size=(3, 4)).astype(np.float32)
    mask = np.asarray([[1, 0], [1, 1], [0, 0]], np.float32)
    batch = {"x": x, "mask": mask, "context": context}
    params = model.init(KEY, batch)
    np.testing.assert_array_equal(
        model.encode(params, batch), np.concatenate([x * mask, mask, context], axis=1)
    )
    z = jnp.zeros((3, 8))
    np.testing.assert_array_equal(model.decode(params, z, context), context[:, [0, 0]])
    observed = mask * (0.5 * (x - context[:, :1]) ** 2 + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(
        model.loss(params, KEY, batch)[0], observed.sum(axis=1).mean(), rtol=1e-6
    )


def test_networks_without_parameters_are_an_autoencoder():
    model = jaxae.autoencoder(nn.Sequential([jnp.negative]), nn.Sequential([jnp.negative]))
    batch = {"x": jnp.ones((3, 2))}
    params = model.init(KEY, batch)
    assert not jax.tree.leaves(params)
    np.testing.assert_allclose(model.loss(params, KEY, batch)[0], np.log(2 * np.pi), rtol=1e-6)


def test_a_conditional_model_decodes_codes_with_their_context(by_hand, x64):
    model = jaxae.deep(6, 2, **SMALL)
    batch = {"x": RNG.normal(size=(5, 6)), "context": RNG.normal(size=(5, 3))}
    params = perturbed(model.init(KEY, batch))
    z = RNG.normal(size=(5, 2))
    given = model.decode(params, z, batch["context"])
    joined = np.concatenate([z, batch["context"]], axis=1)
    np.testing.assert_allclose(given, by_hand.mlp(params["decoder"], joined, "tanh"), rtol=1e-10)


class Noisy(nn.Module):
    """A code with noise in training, a rate of 2 nats, and a prior of sevens."""

    def __call__(self, h, train=True):
        noise = jax.random.normal(self.make_rng("code"), h.shape) if train else 0.0
        return h + noise, jnp.full(h.shape[0], 2.0)

    def sample_prior(self, key, n):
        return jnp.full((n, 3), 7.0)


@pytest.mark.parametrize("beta", [0.0, 0.25, 3.0])
def test_the_rate_is_weighted_by_beta(beta):
    model = jaxae.deep(6, 3, code=Noisy(), beta=beta)
    batch = {"x": jnp.ones((4, 6))}
    params = model.init(KEY, batch)
    loss, metrics = model.loss(params, KEY, batch)
    assert metrics["rate"] == 2
    np.testing.assert_allclose(loss, metrics["distortion"] + 2 * beta, rtol=1e-6)


def test_a_stochastic_code_is_random_in_the_loss_and_not_in_encode():
    model = jaxae.deep(6, 3, code=Noisy())
    batch = {"x": jnp.ones((4, 6))}
    params = model.init(KEY, batch)
    losses = [model.loss(params, jax.random.key(i), batch)[0] for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    encoder = jaxae.deep(6, 3)
    np.testing.assert_array_equal(model.encode(params, batch), encoder.encode(params, batch))


def test_samples_are_draws_around_decoded_codes_of_the_prior():
    model = jaxae.deep(6, 3, code=Noisy(), likelihood=likelihoods.gaussian(1e-4))
    params = model.init(KEY, {"x": jnp.ones((4, 6))})
    x = model.sample(params, KEY, 5)
    np.testing.assert_allclose(x, model.decode(params, jnp.full((5, 3), 7.0)), atol=1e-3)
    assert len(np.unique(x, axis=0)) == 5
