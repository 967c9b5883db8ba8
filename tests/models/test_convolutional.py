import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxae
from jaxae import codes, likelihoods, penalties
from jaxae.models.convnets import convolutional

KEY = jax.random.key(3)
RNG = np.random.default_rng(3)
SMALL = {"hidden_dims": (3, 4), "networks": convolutional}

NETS = {
    "strided": ((7, 10, 1), {}),
    "colour, rectangular": ((9, 6, 3), {"kernel_size": [(5, 3), 3], "strides": [2, (3, 1)]}),
    "max pool": ((7, 6, 2), {"pooling": "max", "dense_dims": (7,)}),
    "mean pool": ((7, 6, 2), {"pooling": "mean", "strides": 3, "dilation": 2}),
    "layer norm": ((8, 8, 1), {"normalisation": "layer"}),
    "group norm": ((8, 8, 1), {"normalisation": "group", "dense_dims": (6, 5)}),
    "signal": ((21, 2), {"kernel_size": 5, "strides": 3}),
    "volume": ((5, 4, 3, 1), {}),
    "no bias": ((6, 6, 1), {"use_bias": False}),
    "maps": ((7, 10, 1), {"maps": True}),
    "a single layer of maps": ((7, 10, 1), {"maps": True, "hidden_dims": ()}),
}


@pytest.mark.parametrize("decoder", ["mirrored", "tied"])
@pytest.mark.parametrize("name", NETS)
def test_nets_of_all_kinds_code_and_give_back_examples_of_their_shape(name, decoder):
    shape, options = NETS[name]
    model = jaxae.deep(shape, 5, **{**SMALL, "decoder": decoder, **options})
    batch = {"x": jax.ShapeDtypeStruct((4, *shape), jnp.float32)}
    params = jax.eval_shape(lambda: model.init(KEY, {"x": jnp.zeros((4, *shape))}))
    z = jax.eval_shape(model.encode, params, batch)
    assert (z.shape[0], z.shape[-1]) == (4, 5)
    assert (z.ndim == len(shape) + 1) == ("maps" in name)
    assert jax.eval_shape(model.decode, params, z).shape == batch["x"].shape
    own, layers = params.get("decoder", {}), [n for n in params["encoder"] if "norm" not in n]
    kernels = [name for name in own if name.startswith("layer")]
    assert len(kernels) == (0 if decoder == "tied" else len(layers))


def small_net_by_torch(params, x):
    """Code of a net of two strided convolutions and a dense layer, with ELUs."""
    for i in range(2):
        layer = params["encoder"][f"layer_{i}"]
        pads = [(-(-n // 2) - 1) * 2 + 3 - n for n in (x.shape[2], x.shape[1])]
        kernel = torch.tensor(np.transpose(layer["kernel"], (3, 2, 0, 1)))
        maps = torch.tensor(np.moveaxis(np.asarray(x), -1, 1))
        around = [side for total in pads for side in (total // 2, total - total // 2)]
        y = torch.nn.functional.pad(maps, around)
        y = torch.nn.functional.conv2d(y, kernel, torch.tensor(np.asarray(layer["bias"])), 2)
        x = np.moveaxis(torch.nn.functional.elu(y).numpy(), 1, -1)
    last = params["encoder"]["layer_2"]
    return x.reshape(len(x), -1) @ last["kernel"] + last["bias"]


def moved(params, scale=0.3):
    return jax.tree.map(lambda a: a + scale * RNG.normal(size=a.shape).astype(a.dtype), params)


def test_an_encoder_is_pytorchs_layers_in_turn(x64):
    model = jaxae.deep((7, 9, 2), 5, param_dtype=jnp.float64, **SMALL)
    x = RNG.normal(size=(3, 7, 9, 2))
    params = moved(model.init(KEY, {"x": x}))
    np.testing.assert_allclose(
        model.encode(params, {"x": x}), small_net_by_torch(params, x), rtol=1e-10, atol=1e-10
    )


def test_linear_tied_nets_decode_by_the_jacobian_of_their_encoder(x64):
    """Without biases and activations decoding is the transpose of encoding."""
    options = {"activation": "identity", "use_bias": False, "decoder": "tied", "dense_dims": (6,)}
    model = jaxae.deep((5, 6, 2), 4, param_dtype=jnp.float64, **SMALL, **options)
    x, z = RNG.normal(size=(1, 5, 6, 2)), RNG.normal(size=(1, 4))
    params = model.init(KEY, {"x": x})
    jacobian = jax.jacfwd(lambda x: model.encode(params, {"x": x[None]})[0])(x[0])
    expected = np.tensordot(z[0], jacobian, axes=1)
    np.testing.assert_allclose(model.decode(params, z)[0], expected, rtol=1e-10, atol=1e-12)


def test_a_mirrored_decoder_of_the_encoders_kernels_is_the_tied_one(x64):
    """And its gradients by both kernels add up to that of the tied one."""
    options = {"param_dtype": jnp.float64, "pooling": "mean", "dense_dims": (6,), **SMALL}
    tied = jaxae.deep((5, 6, 2), 4, decoder="tied", **options)
    free = jaxae.deep((5, 6, 2), 4, **options)
    batch = {"x": RNG.normal(size=(3, 5, 6, 2))}
    params = moved(tied.init(KEY, batch))
    up, biases, last = params["encoder"], params["decoder"], len(params["encoder"]) - 1
    turn = lambda a: a.T if a.ndim == 2 else a  # noqa: E731
    down = {
        f"layer_{last - i}": {
            "kernel": turn(up[f"layer_{i}"]["kernel"]),
            "bias": biases[f"bias_{i}"],
        }
        for i in range(last + 1)
    }
    both = {"encoder": up, "decoder": down}
    differentiate = lambda m: jax.jit(jax.value_and_grad(m.loss, has_aux=True))  # noqa: E731
    (loss, _), grads = differentiate(tied)(params, KEY, batch)
    (same, _), apart = differentiate(free)(both, KEY, batch)
    np.testing.assert_allclose(loss, same, rtol=1e-12)
    for i in range(last + 1):
        here, back = apart["encoder"][f"layer_{i}"], apart["decoder"][f"layer_{last - i}"]
        total = here["kernel"] + turn(back["kernel"])
        np.testing.assert_allclose(grads["encoder"][f"layer_{i}"]["kernel"], total, rtol=1e-9)
        np.testing.assert_allclose(grads["decoder"][f"bias_{i}"], back["bias"], rtol=1e-9)


def test_contraction_of_a_convolutional_encoder_is_the_norm_of_its_jacobian(x64):
    model = jaxae.contractive((6, 5, 1), 3, activation="tanh", **SMALL)
    x = RNG.normal(size=(4, 6, 5, 1))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-10)):
        batch = {"x": x.astype(dtype)}
        params = jax.tree.map(lambda a: a.astype(dtype), model.init(KEY, batch))  # noqa: B023
        one = lambda x: model.encode(params, {"x": x[None]})[0]  # noqa: E731, B023
        jacobians = jax.vmap(jax.jacfwd(one))(batch["x"]).reshape(4, -1)
        expected = np.sum(np.float64(jacobians) ** 2, axis=1)
        for method in ("auto", "jacfwd", "jacrev"):
            given = jaxae.squared_jacobian_norm(model.encode, params, batch, method=method)
            np.testing.assert_allclose(given, expected, rtol=tolerance)
        penalty = model.loss(params, KEY, batch)[1]["penalty"]
        np.testing.assert_allclose(penalty, 0.1 * expected.mean(), rtol=tolerance)
    assert jaxae.explain(model.encode, params, batch).method in ("jacfwd", "jacrev")


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


def test_bytes_and_low_precision_are_taken():
    x = RNG.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    model = jaxae.deep((6, 6, 3), 4, dtype=jnp.bfloat16, normalisation="group", **SMALL)
    params = model.init(KEY, {"x": x})
    grads = jax.jit(jax.grad(lambda p: model.loss(p, KEY, {"x": x})[0]))(params)
    for leaf in jax.tree.leaves((params, grads)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
    assert model.encode(params, {"x": x}).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": 36}, r"channels last.*x\[..., None\]"),
        ({"shape": (36,)}, "channels last"),
        ({"hidden_dims": ()}, "give at least one"),
        ({"hidden_dims": (4, 0)}, "hidden_dims takes positive integers"),
        ({"latent_dim": 0}, "latent_dim takes positive integers"),
        ({"dense_dims": (1.5,)}, "dense_dims takes positive integers"),
        ({"hidden_dims": (2,) * 5}, "layer_3 is given are one entry"),
        ({"kernel_size": (3, 3, 3)}, "each of 2 convolutions"),
        ({"strides": [(2, 2, 2), 1]}, "one or 2 of them"),
        ({"dilation": 0}, "dilation is a positive integer"),
        ({"pooling": "median"}, "pooling is one of .*'median'"),
        ({"normalisation": "batch"}, "normalisation is one of .*'batch'"),
        ({"activation": "rlu"}, "activation is .*'rlu'"),
        ({"decoder": "adjoint"}, "'mirrored' or 'tied'"),
        ({"decoder": "tied", "outputs": 2}, "tied decoder gives one number"),
        ({"decoder": "tied", "see_mask": True}, "see_mask"),
        ({"maps": True, "dense_dims": (4,)}, "no dense layer follows"),
        ({"maps": True, "latent_outputs": 2}, "take maps=False"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        convolutional(**{"shape": (6, 6, 1), "latent_dim": 3, **options})


def test_examples_and_codes_of_other_shapes_are_refused():
    model = jaxae.deep((6, 6, 1), 4, maps=True, **SMALL)
    with pytest.raises(ValueError, match=r"shape \(6, 6, 1\); got x with \(5, 6, 1\)"):
        model.init(KEY, {"x": np.ones((2, 5, 6, 1), np.float32)})
    params = model.init(KEY, stripes(2))
    with pytest.raises(ValueError, match="to sample, build the networks with maps=False"):
        model.decode(params, np.ones((3, 4)))
