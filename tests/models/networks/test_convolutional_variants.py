import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae import codes, likelihoods, penalties
from jaxae.models.networks.convnets import convolutional

KEY = jax.random.key(3)
RNG = np.random.default_rng(3)
SMALL = {"hidden_dims": (3, 4), "networks": convolutional}


def moved(params, scale=0.3):
    return jax.tree.map(lambda a: a + scale * RNG.normal(size=a.shape).astype(a.dtype), params)


def stripes(n=48):
    """Images of a bright row or column each, which a few codes describe."""
    at, along = RNG.integers(0, 6, n), RNG.integers(0, 2, n)
    x = np.zeros((n, 6, 6, 1), np.float32)
    for i in range(n):
        x[i, at[i] if along[i] else slice(None), slice(None) if along[i] else at[i]] = 1.0
    return {"x": x}


VARIANTS = {
    "denoising": lambda: jaxae.denoising((6, 6, 1), 4, **SMALL),
    "tied, contractive": lambda: jaxae.contractive(
        (6, 6, 1), 4, decoder="tied", contractive_weight=1e-3, **SMALL
    ),
    "vae": lambda: jaxae.vae((6, 6, 1), 4, **SMALL),
    "vq": lambda: jaxae.vq_vae((6, 6, 1), 4, num_embeddings=8, maps=True, **SMALL),
    "winner-take-all": lambda: jaxae.winner_take_all(
        (6, 6, 1), 8, fraction=0.3, maps=True, strides=1, latent_activation="relu", **SMALL
    ),
    "k-sparse maps": lambda: jaxae.k_sparse((6, 6, 1), 8, k=3, maps=True, **SMALL),
    "normalised, pooled": lambda: jaxae.deep(
        (6, 6, 1), 4, normalisation="group", pooling="max", **SMALL
    ),
    "per-entry scale": lambda: jaxae.deep(
        (6, 6, 1), 4, likelihood=likelihoods.gaussian("per_entry"), **SMALL
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_with_convolutional_networks_learn(name):
    model, data = VARIANTS[name](), stripes()
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    state, key = jaxae.start(model, learner, data, KEY)
    fit = jax.jit(lambda state: jaxae.fit(learner, state, data, key, epochs=40, batch_size=16)[0])
    loss = jax.jit(lambda params: model.loss(params, KEY, data)[0])
    assert loss(fit(state).params) < loss(state.params) - 0.5  # of 3 nats, for zeros


def test_spatial_winners_are_one_for_each_map_and_share_of_the_batch():
    model = jaxae.winner_take_all((6, 6, 1), 5, fraction=0.25, maps=True, strides=1, **SMALL)
    h = model.encode(model.init(KEY, stripes(8)), stripes(8))
    z, _ = codes.WinnerTakeAll(0.25).apply({}, h, train=True)
    assert h.shape == (8, 6, 6, 5)
    assert ((np.asarray(z) != 0).sum((1, 2)) <= 1).all()
    np.testing.assert_array_equal((np.asarray(z) != 0).sum((0, 1, 2)), [2] * 5)


def layer(shape, channels, **options):
    options = {"maps": True, "hidden_dims": (), "networks": convolutional, **options}
    return jaxae.denoising(shape, channels, noise_level=0.1, **options)


@pytest.mark.parametrize("decoder", ["mirrored", "tied"])
def test_pretrained_convolutional_layers_unroll_into_a_deep_net(decoder):
    data = stripes()
    models = [
        layer((6, 6, 1), 3, decoder=decoder),
        layer((3, 3, 3), 4, decoder=decoder, output_activation="elu"),
        jaxae.deep((2, 2, 4), 5, latent_activation="identity", output_activation="elu")
        if decoder == "mirrored"
        else jaxae.tied((2, 2, 4), 5, latent_activation="identity", output_activation="elu"),
    ]
    layers = [
        jaxae.Layer(model, jaxae.gradient(model.loss, optax.adam(1e-2)), 5, 16) for model in models
    ]
    trained = jax.jit(lambda key: jaxae.pretrain(layers, data, key, codes=True))(KEY)
    for history in trained.history:
        assert history["loss"][-1] < history["loss"][0]
    target = jaxae.deep((6, 6, 1), 5, decoder=decoder, **SMALL)
    params = jaxae.unroll(models, trained.params, target, data)
    z = target.encode(params, data)
    np.testing.assert_allclose(z, trained.codes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        target.decode(params, z),
        jaxae.stacked(models).decode(trained.params, z),
        rtol=1e-4,
        atol=1e-5,
    )
    kernel = params["encoder"]["layer_0"]["kernel"]
    np.testing.assert_array_equal(kernel, trained.params["layer_0"]["encoder"]["layer_0"]["kernel"])


def test_tied_layers_unroll_into_a_net_with_kernels_of_its_own():
    data = stripes(8)
    models = [layer((6, 6, 1), 3, decoder="tied"), jaxae.tied((3, 3, 3), 4, activation="elu")]
    params = moved(jaxae.stacked(models).init(KEY, data))
    target = jaxae.deep(
        (6, 6, 1), 4, hidden_dims=(3,), networks=convolutional, latent_activation="elu"
    )
    with pytest.raises(ValueError, match="reconstruction differs"):  # the top gives no ELU
        jaxae.unroll(models, params, target, data)
    models[1] = jaxae.tied((3, 3, 3), 4, activation="elu", output_activation="elu")
    unrolled = jaxae.unroll(models, params, target, data)
    z = target.encode(unrolled, data)
    expected = jaxae.stacked(models).decode(params, z)
    np.testing.assert_allclose(target.decode(unrolled, z), expected, rtol=1e-4, atol=1e-5)


def test_hidden_pixels_change_neither_loss_nor_code_and_a_net_may_see_that_they_are_hidden():
    mask = RNG.integers(0, 2, (4, 6, 6)).astype(np.float32)
    x = RNG.normal(size=(4, 6, 6, 3)).astype(np.float32)
    other = np.where(mask[..., None] == 1, x, 7.0).astype(np.float32)
    for see_mask in (False, True):
        model = jaxae.deep((6, 6, 3), 4, see_mask=see_mask, **SMALL)
        params = model.init(KEY, {"x": x, "mask": mask})
        one, two = ({"x": values, "mask": mask} for values in (x, other))
        assert model.loss(params, KEY, one)[0] == model.loss(params, KEY, two)[0]
        z = model.encode(params, one)
        np.testing.assert_array_equal(z, model.encode(params, two))
        zeros = {"x": x * mask[..., None]}
        same = np.allclose(z, model.encode(params, zeros))
        assert same != see_mask


@pytest.mark.parametrize("maps", [False, True])
def test_a_context_reaches_encoder_and_decoder(maps):
    batch = {"x": RNG.normal(size=(4, 6, 6, 1)).astype(np.float32)}
    batch["context"] = np.eye(4, 3, dtype=np.float32)
    model = jaxae.deep((6, 6, 1), 4, maps=maps, **SMALL)
    params = model.init(KEY, batch)
    z, other = model.encode(params, batch), {**batch, "context": np.roll(batch["context"], 1)}
    assert not np.allclose(z, model.encode(params, other))
    x_hat = model.decode(params, z, model.context(batch))
    assert x_hat.shape == batch["x"].shape
    assert not np.allclose(x_hat, model.decode(params, z, model.context(other)))


@pytest.mark.parametrize("decoder", ["mirrored", "tied"])
def test_weight_decay_counts_each_kernel_once(decoder):
    options = {"decoder": decoder, "normalisation": "layer", **SMALL}
    model = jaxae.deep((6, 6, 1), 4, penalties=[penalties.l2(0.3)], **options)
    params = model.init(KEY, stripes(4))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = [a for path, a in leaves if "kernel" in str(path[-1])]
    assert len(kernels) == (3 if decoder == "tied" else 6)
    expected = 0.15 * sum(float(np.sum(np.square(a))) for a in kernels)
    given = model.loss(params, KEY, stripes(4))[1]["penalty"]
    np.testing.assert_allclose(given, expected, rtol=1e-5)
