import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxae
from jaxae import corruptions, likelihoods

KEY = jax.random.key(4)
RNG = np.random.default_rng(2)
X = RNG.normal(size=(300, 6)).astype(np.float32)


def test_what_is_hidden_is_zero_in_x_and_in_the_mask_and_the_rest_stays():
    observed = RNG.integers(2, size=X.shape)
    batch = {"x": jnp.where(observed, X, 0), "mask": jnp.asarray(observed), "y": jnp.arange(300)}
    seen = corruptions.corrupted(corruptions.hiding(0.4), KEY, batch)
    kept = np.asarray(seen["mask"]) == 1
    assert not (kept & (observed == 0)).any()
    np.testing.assert_array_equal(seen["x"], np.where(kept, X, 0))
    np.testing.assert_array_equal(seen["y"], np.arange(300))
    hidden = (observed == 1) & ~kept
    low, high = stats.binom.interval(1 - 1e-6, int(observed.sum()), 0.4)
    assert low <= hidden.sum() <= high


def test_a_mask_of_the_first_axes_becomes_one_of_entries():
    x, rows = jnp.ones((4, 3, 2)), jnp.array([[1, 1, 0]] * 4)
    seen = corruptions.corrupted(corruptions.hiding(0.0), KEY, {"x": x, "mask": rows})
    np.testing.assert_array_equal(seen["mask"], np.broadcast_to(rows[..., None], (4, 3, 2)))


def test_groups_are_hidden_together_and_apart_from_each_other():
    seen = corruptions.corrupted(corruptions.hiding(0.5, [1, 3, 2]), KEY, {"x": jnp.asarray(X)})
    mask = np.asarray(seen["mask"])
    blocks = [mask[:, :1], mask[:, 1:4], mask[:, 4:]]
    assert all((block == block[:, :1]).all() for block in blocks)
    first = np.stack([block[:, 0] for block in blocks], axis=1)
    both = np.mean(first[:, 0] * first[:, 1])
    assert abs(both - 0.25) < 0.1  # 4 standard errors
    for bad in ([0, 6], [1.5, 4.5]):
        with pytest.raises(ValueError, match="positive integers"):
            corruptions.hiding(0.5, bad)
    with pytest.raises(ValueError, match="add up to"):
        corruptions.hiding(0.5, [2, 2])(KEY, jnp.asarray(X))


def test_the_loss_still_counts_what_is_hidden_and_an_encoder_sees_the_mask():
    model = jaxae.denoising(
        6, 2, hidden_dims=(5,), corruption=corruptions.hiding, noise_level=1.0, see_mask=True
    )
    batch = {"x": jnp.asarray(X)}
    params = model.init(KEY, batch)
    blind = {"x": jnp.zeros_like(batch["x"]), "mask": jnp.zeros_like(batch["x"])}
    x_hat = model.decode(params, model.encode(params, blind))
    expected = -stats.norm.logpdf(X, np.asarray(x_hat)).sum(1).mean()
    assert model.loss(params, KEY, batch)[0] == pytest.approx(expected, rel=1e-5)
    assert params["encoder"]["layer_0"]["kernel"].shape == (12, 5)
    ones = {**batch, "mask": jnp.ones_like(batch["x"])}
    np.testing.assert_array_equal(model.encode(params, batch), model.encode(params, ones))
    zeros = {"x": jnp.zeros_like(batch["x"])}  # zeros that were seen are other than unseen ones
    assert not np.allclose(model.encode(params, zeros), model.encode(params, blind))
    with pytest.raises(ValueError, match="see_mask"):
        jaxae.tied(6, 2, see_mask=True)


def test_semi_supervised_labels_and_stochastic_penalties_hide_as_well():
    labelled = {"x": X[:8], "y": np.arange(8) % 2}
    code = jaxae.codes.Matched(jaxae.priors.Standard(3), one_hot=2)
    hide = corruptions.hiding(1.0)
    penalty = jaxae.penalties.stochastic_contractive(1.0, hide)
    plain = jaxae.deep(6, 3, code=code, see_mask=True, penalties=[penalty])
    model = jaxae.semi_supervised(plain, labelled, 2, corrupt=hide)
    batch = {"x": X[:8]}
    params = model.init(KEY, batch)
    metrics = model.loss(params, KEY, batch)[1]
    blind = {"x": np.zeros_like(X[:8]), "mask": np.zeros_like(X[:8])}
    far, near = plain.encode(params, batch), plain.encode(params, blind)
    assert metrics["penalty"] == pytest.approx(float(((far - near) ** 2).sum(1).mean()), rel=1e-5)
    expected = -np.log(np.asarray(near)[np.arange(8), labelled["y"]]).mean()
    assert metrics["label_loss"] == pytest.approx(expected, rel=1e-5)


def test_multinomial_is_scipys_mass_without_its_coefficient(x64):
    counts, logits = np.array([[2.0, 0, 1, 3], [0, 1, 0, 0]]), RNG.normal(size=(2, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    coefficient = stats.multinomial.logpmf(counts, counts.sum(1), np.full((2, 4), 0.25))
    coefficient -= counts.sum(1) * np.log(0.25)
    expected = stats.multinomial.logpmf(counts, counts.sum(1), p) - coefficient
    got = likelihoods.multinomial().log_prob(jnp.asarray(logits), jnp.asarray(counts))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    drawn = likelihoods.multinomial(5000).sample(KEY, jnp.asarray(logits))
    np.testing.assert_array_equal(drawn.sum(1), [5000, 5000])
    np.testing.assert_allclose(drawn / 5000, p, atol=5 * np.sqrt(0.25 / 5000))
    with pytest.raises(ValueError, match="positive integer"):
        likelihoods.multinomial(0)


class Blind(nn.Module):
    """An encoder that has no use for a mask."""

    @nn.compact
    def __call__(self, x, mask=None, context=None):
        return nn.Dense(6)(x)


class Echo(nn.Module):
    """A decoder that needs the batch's mask, and in training x itself."""

    @nn.nowrap
    def given(self, batch, known):
        return {"mask": batch["mask"], **({"x": batch["x"]} if known else {})}

    @nn.compact
    def __call__(self, z, context):
        scale = self.param("scale", nn.initializers.ones, ())
        known = context.get("x", 0.0)
        return scale * (z + 10.0 * context["mask"]) + known


def test_a_decoder_says_what_of_a_batch_it_is_given_and_reconstructions_never_see_x():
    model = jaxae.autoencoder(Blind(), Echo(), corrupt=corruptions.masking(0.5))
    batch = {"x": jnp.asarray(X), "mask": jnp.ones((300, 6))}
    params = model.init(KEY, batch)
    context = model.context(batch)
    assert set(context) == {"mask"}
    z = model.encode(params, batch)
    np.testing.assert_allclose(model.decode(params, z, context), z + 10, rtol=1e-6)
    draw = model.latent.draw(params, KEY, batch)
    expected = -stats.norm.logpdf(X, np.asarray(z) + 10 + X).sum(1)
    np.testing.assert_allclose(draw.distortion[0], expected, rtol=1e-4)


def test_a_conditional_model_hands_on_what_its_decoder_is_given():
    class Labelled(Echo):
        @nn.nowrap
        def given(self, batch, known):
            return {"mask": batch["mask"], "context": batch.get("context")}

        @nn.compact
        def __call__(self, z, context):
            return z + context["context"] @ jnp.arange(3.0)[:, None] + 0 * context["mask"]

    model = jaxae.conditional(jaxae.autoencoder(Blind(), Labelled()), 3)
    batch = {"x": X[:3], "mask": np.ones((3, 6)), "y": np.array([0, 2, 1])}
    params = model.init(KEY, batch)
    z, context = model.encode(params, batch), model.context(batch)
    np.testing.assert_array_equal(context["context"], np.eye(3)[batch["y"]])
    expected = z + np.array([[0.0], [2.0], [1.0]])
    np.testing.assert_allclose(model.decode(params, z, context), expected, rtol=1e-6)
    again = {**context, "context": batch["y"]}
    np.testing.assert_allclose(model.decode(params, z, again), expected, rtol=1e-6)
