from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxae.base import Latent
from jaxae.deploy.coding import bits_back, evaluating
from jaxae.deploy.coding.containers import CorruptFileError

pytest.importorskip("constriction")


def hand_made(shape, latents, levels, scale=1.0):
    """A Gaussian encoder and a categorical decoder of one dense layer each, and their params."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    params = {
        "mean": rng.normal(0, 2 / np.sqrt(size), (size, latents)),
        "scale": rng.normal(0, 0.5, (size, latents)),
        "out": rng.normal(0, scale, (latents, size * levels)),
        "bias": rng.normal(0, scale, size * levels),
    }

    def posterior(params, batch):
        x = batch["x"].reshape(len(batch["x"]), -1)
        return x @ params["mean"], 0.3 * jax.nn.sigmoid(x @ params["scale"]) + 0.01

    def masses(params, z, context=None):
        out = (jnp.tanh(z) @ params["out"] + params["bias"]).reshape(len(z), *shape, levels)
        return jax.nn.softmax(out, axis=-1)

    return Latent(None, posterior, None, None, masses), params


def networks(latent, params, shape, latents, levels, rows):
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
    return evaluating.networks(latent, params, (shape, (latents,)), levels, rows)


@pytest.mark.parametrize(
    ("shape", "levels"), [((7,), 2), ((3, 5, 1), 2), ((4, 2), 3), ((5,), 256), ((1,), 2)]
)
def test_what_is_coded_is_decoded_whatever_the_rows_at_a_time(shape, levels):
    latent, params = hand_made(shape, 3, levels)
    for n in (1, 7, 60):
        x = np.random.default_rng(n).integers(0, levels, (n, int(np.prod(shape))))
        coded = bits_back.encode(networks(latent, params, shape, 3, levels, 64), x, 64)
        assert coded.groups.sum() == n
        for rows in (64, 5):
            nets = networks(latent, params, shape, 3, levels, rows)
            np.testing.assert_array_equal(bits_back.decode(nets, coded), x)


def negative_elbo(params, x, levels, samples):
    """In bits for all rows, by numpy and scipy alone."""
    rng = np.random.default_rng(1)
    v = x / (levels - 1)
    mean, scale = v @ params["mean"], 0.3 * special.expit(v @ params["scale"]) + 0.01
    total = 0.0
    for _ in range(samples):
        z = mean + scale * rng.normal(size=mean.shape)
        out = (np.tanh(z) @ params["out"] + params["bias"]).reshape(*x.shape, levels)
        log_p = np.take_along_axis(special.log_softmax(out, -1), x[..., None], -1).sum()
        rate = (stats.norm.logpdf(z, mean, scale) - stats.norm.logpdf(z)).sum()
        total += (rate - log_p) / samples
    return total / np.log(2)


@pytest.mark.parametrize(("entries", "levels"), [(60, 2), (10, 256)])
def test_the_length_is_the_negative_elbo(entries, levels):
    n, latents = 500, 4
    latent, params = hand_made((entries,), latents, levels)
    rng = np.random.default_rng(2)
    z = rng.normal(size=(n, latents))
    out = (np.tanh(z) @ params["out"] + params["bias"]).reshape(n, entries, levels)
    x = (out + rng.gumbel(size=out.shape)).argmax(-1)
    coded = bits_back.encode(networks(latent, params, (entries,), latents, levels, 128), x, 128)
    bits = negative_elbo(params, x, levels, samples=20)
    assert abs(32 * len(coded.words) / bits - 1) < 0.01
    assert coded.groups.max() > 64


class Greys(NamedTuple):
    """A Gaussian encoder, and a decoder to mixtures of logistic distributions."""

    posterior: Any
    logistic: Any


def hand_made_greys(entries, latents, components):
    coder, params = hand_made((entries,), latents, 3 * components, scale=0.5)

    def logistic(params, z, context=None):
        out = (jnp.tanh(z) @ params["out"] + params["bias"]).reshape(len(z), entries, 3, -1)
        return out[..., 0, :] + 0.5, out[..., 1, :] - 3.0, jax.nn.softmax(out[..., 2, :])

    return Greys(coder.posterior, logistic), params


@pytest.mark.parametrize("components", [1, 3])
def test_logistic_levels_come_back_and_cost_the_negative_elbo(components):
    n, entries, latents, samples = 600, 12, 4, 20
    latent, params = hand_made_greys(entries, latents, components)
    rng = np.random.default_rng(2)

    def told(z):
        out = (np.tanh(z) @ params["out"] + params["bias"]).reshape(n, entries, 3, -1)
        return (
            out[..., 0, :] + 0.5,
            np.exp(out[..., 1, :] - 3.0),
            special.softmax(out[..., 2, :], -1),
        )

    place, width, share = told(rng.normal(size=(n, latents)))
    chosen = (np.log(share) + rng.gumbel(size=share.shape)).argmax(-1)[..., None]
    place, width = (np.take_along_axis(a, chosen, -1)[..., 0] for a in (place, width))
    x = np.clip(np.rint((place + width * rng.logistic(size=place.shape)) * 255), 0, 255)
    nets = networks(latent, params, (entries,), latents, 256, 128)
    assert nets.components == components
    coded = bits_back.encode(nets, x.astype(np.int32), 128)
    other = networks(latent, params, (entries,), latents, 256, 50)
    np.testing.assert_array_equal(bits_back.decode(other, coded), x)

    mean = x / 255 @ params["mean"]
    scale, nats = 0.3 * special.expit(x / 255 @ params["scale"]) + 0.01, 0.0
    for _ in range(samples):
        z = mean + scale * rng.normal(size=mean.shape)
        place, width, share = told(z)
        v = x[..., None]
        upper = np.where(v == 255, 1.0, stats.logistic.cdf((v + 0.5) / 255, place, width))
        lower = np.where(v == 0, 0.0, stats.logistic.cdf((v - 0.5) / 255, place, width))
        mass = ((upper - lower) * share).sum(-1)
        rate = (stats.norm.logpdf(z, mean, scale) - stats.norm.logpdf(z)).sum()
        nats += (rate - np.log(np.maximum(mass, 1e-6)).sum()) / samples
    assert abs(32 * len(coded.words) * np.log(2) / nats - 1) < 0.01


def test_only_the_first_row_takes_random_bits():
    latent, params = hand_made((60,), 4, 2)
    nets = networks(latent, params, (60,), 4, 2, 128)
    x = np.random.default_rng(0).integers(0, 2, (300, 60))
    one, all_rows = (len(bits_back.encode(nets, x[:n], 128).words) for n in (1, 300))
    taken = 32 * all_rows - negative_elbo(params, x, 2, samples=50)
    assert 32 * one < 350  # 4 latents of up to 31 bits, 60 entries of about 2, the coder's state
    assert taken < 350


def test_noise_within_the_margin_changes_nothing_and_escapes_are_why(monkeypatch):
    monkeypatch.setattr(evaluating, "MARGIN", 0.01)
    evaluating._split.cache_clear()
    latent, params = hand_made((20,), 3, 2)

    def posterior(params, batch):
        mean, scale = latent.posterior(params, batch)
        return mean + params["noise"] / 2**13, scale  # in steps of the grid

    def masses(params, z, context=None):
        p = latent.masses(params, z)
        return p + jnp.array([1.0, -1.0]) * params["noise"] / 2**16

    shaken = Latent(None, posterior, None, None, masses)
    x = np.random.default_rng(0).integers(0, 2, (100, 20))
    quiet, noisy = (
        networks(shaken, {**params, "noise": np.float64(e)}, (20,), 3, 2, 50) for e in (0, 5e-3)
    )
    coded = bits_back.encode(quiet, x, 50)
    assert len(coded.escapes) > 0
    np.testing.assert_array_equal(bits_back.decode(noisy, coded), x)
    with pytest.raises(CorruptFileError, match="computes the model differently"):
        bits_back.decode(noisy, coded._replace(escapes=np.zeros(0, np.int64)))
    evaluating._split.cache_clear()


@pytest.mark.parametrize("levels", [2, 256])
def test_levels_of_no_probability_can_be_coded(levels):
    latent, params = hand_made((6,), 2, levels, scale=1000.0)
    nets = networks(latent, params, (6,), 2, levels, 16)
    x = np.random.default_rng(0).integers(0, levels, (30, 6))
    np.testing.assert_array_equal(bits_back.decode(nets, bits_back.encode(nets, x, 16)), x)


def test_a_model_without_finite_outputs_is_refused():
    latent, params = hand_made((6,), 2, 2)
    nets = networks(latent, {**params, "mean": params["mean"] * np.nan}, (6,), 2, 2, 4)
    with pytest.raises(ValueError, match="NaN or infinities"):
        bits_back.encode(nets, np.zeros((3, 6), int), 4)
