"""Codes that are maps, `(batch, height, width, channels)`: a rate is that of the whole example."""

import jax
import numpy as np
import pytest

import jaxae

KEY = jax.random.key(0)
X = np.random.default_rng(0).integers(0, 2, size=(6, 4, 4, 1)).astype(np.float32)
MAPS = {"networks": jaxae.convolutional, "maps": True, "hidden_dims": ()}


@pytest.mark.parametrize(
    ("code", "rate"),
    [
        (jaxae.codes.JumpReLU(0.3), lambda z, h: 0.3 * (z != 0).sum((1, 2, 3))),
        (jaxae.codes.Binary(3), None),
        (jaxae.codes.Rectified(), lambda z, h: 0.0),
    ],
)
def test_the_rate_sums_over_places_and_channels(code, rate):
    model = jaxae.deep(X.shape[1:], 3, code=code, activation="identity", **MAPS)
    params = model.init(KEY, {"x": X})
    plain = jaxae.deep(X.shape[1:], 3, activation="identity", **MAPS)
    h = np.asarray(plain.encode(params, {"x": X}), np.float64)
    z = np.asarray(model.encode(params, {"x": X}))
    assert z.shape == (6, 2, 2, 3)
    if rate is None:  # the divergence of independent bits from fair ones
        p = 1 / (1 + np.exp(-h))
        expected = (p * np.log(2 * p) + (1 - p) * np.log(2 - 2 * p)).sum((1, 2, 3))
    else:
        expected = rate(z, h)
    found = model.loss(params, KEY, {"x": X})[1]["rate"]
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_draw_of_bits_sums_its_log_ratio_over_the_whole_map():
    model = jaxae.deep(X.shape[1:], 3, code=jaxae.codes.Binary(3), **MAPS)
    params = model.init(KEY, {"x": X})
    plain = jaxae.deep(X.shape[1:], 3, **MAPS)
    h = np.asarray(plain.encode(params, {"x": X}), np.float64)
    draw = model.latent.draw(params, KEY, {"x": X}, 2)
    p = 1 / (1 + np.exp(-h))
    log_q = np.log(np.where(np.asarray(draw.z) > 0, p, 1 - p))
    expected = (log_q + np.log(2)).sum((2, 3, 4))
    np.testing.assert_allclose(draw.rate, expected, rtol=1e-4)


def test_batch_top_k_reports_the_active_entries_of_an_example():
    model = jaxae.deep(X.shape[1:], 3, code=jaxae.codes.BatchTopK(5), **MAPS)
    params = model.init(KEY, {"x": X})
    h = np.asarray(jaxae.deep(X.shape[1:], 3, **MAPS).encode(params, {"x": X}))
    assert (h > 0).sum() > 30  # so that 5 an example are a choice
    assert model.loss(params, KEY, {"x": X})[1]["l0"] == 5


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (2, 3, 2)])
def test_the_winners_of_maps_of_any_rank_are_one_place_of_a_share_of_the_batch(sizes):
    h = np.random.default_rng(3).normal(size=(10, *sizes, 3)).astype(np.float32)
    z, _ = jaxae.codes.WinnerTakeAll(0.4).apply({}, h)
    expected = np.zeros_like(h)
    for c in range(3):
        tops = h[..., c].reshape(10, -1).max(1)
        for i in np.argsort(-tops)[:4]:
            place = np.unravel_index(h[i, ..., c].argmax(), sizes)
            expected[(i, *place, c)] = tops[i]
    np.testing.assert_array_equal(z, expected)
