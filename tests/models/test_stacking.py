import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, softmax

import jaxae
from jaxae import likelihoods

KEY = jax.random.key(0)
BATCH = {"x": np.random.default_rng(0).uniform(size=(11, 12)).astype(np.float32)}
BERNOULLI = {"likelihood": likelihoods.bernoulli()}
SIGMOID = {"activation": "sigmoid", **BERNOULLI}
SIGMOID_NET = partial(jaxae.deep, 12, 4, hidden_dims=(8,), latent_activation="sigmoid", **SIGMOID)
NO_BIAS = {"use_bias": False}


def tied_sigmoid(**options):
    layers = [jaxae.tied(12, 8, **SIGMOID, **options), jaxae.tied(8, 4, **SIGMOID, **options)]
    return layers, partial(SIGMOID_NET, **options), ["sigmoid"] * 2, ["sigmoid"] * 2


def untied_elu(**options):
    upper = [jaxae.deep(n, m, output_activation="elu", **options) for n, m in [(8, 6), (6, 3)]]
    net = partial(jaxae.deep, 12, 3, hidden_dims=(8, 6), latent_activation="elu", **options)
    return [jaxae.deep(12, 8, **options), *upper], net, ["elu"] * 3, ["elu", "elu", "identity"]


def machines():
    layers = [jaxae.rbm(12, 8), jaxae.rbm(8, 3, hidden="gaussian")]
    net = partial(jaxae.deep, 12, 3, hidden_dims=(8,), **SIGMOID)
    return layers, net, ["sigmoid", "identity"], ["sigmoid"] * 2


def mixed():
    top = jaxae.tied(6, 3, latent_activation="identity", output_activation="elu")
    layers = [jaxae.deep(12, 6, hidden_dims=(9,), latent_activation="elu"), top]
    net = partial(jaxae.deep, 12, 3, hidden_dims=(9, 6))
    return layers, net, ["elu", "elu", "identity"], ["elu", "elu", "identity"]


UNROLLED = {
    "tied sigmoid, mirrored": (tied_sigmoid, "mirrored"),
    "tied sigmoid, tied": (tied_sigmoid, "tied"),
    "tied without biases, tied": (partial(tied_sigmoid, **NO_BIAS), "tied"),
    "untied elu": (untied_elu, "mirrored"),
    "machines, mirrored": (machines, "mirrored"),
    "machines, tied": (machines, "tied"),
    "a layer of two layers": (mixed, "mirrored"),
}


def moved(params, key):
    """Parameters as training may leave them: biases are not zero, kernels not small."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
    noise = [0.7 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.map(jnp.add, params, jax.tree.unflatten(tree, noise))


def start(models, key=KEY):
    return moved(jaxae.stacked(models).init(key, BATCH), key)


def dense_by_hand(layers, x, activations, by_hand):
    for layer, name in zip(layers, activations, strict=True):
        x = by_hand.activations[name](x @ layer["kernel"] + layer.get("bias", 0.0))
    return x


def dense_layers(params, count):
    """Kernels and biases from the input to the code and back, read off as plain NumPy."""
    params, up, down = jax.tree.map(np.asarray, params), [], []
    for i in range(count):
        encoder, decoder = params[f"layer_{i}"]["encoder"], params[f"layer_{i}"].get("decoder", {})
        back = [decoder[name] for name in sorted(decoder) if name.startswith("layer_")]
        for j in reversed(range(len(encoder) if not back else 0)):
            bias = {"bias": decoder[f"bias_{j}"]} if f"bias_{j}" in decoder else {}
            back.append({"kernel": encoder[f"layer_{j}"]["kernel"].T, **bias})
        up, down = up + [encoder[name] for name in sorted(encoder)], back + down
    return up, down


@pytest.mark.parametrize("name", UNROLLED)
def test_an_unrolled_net_does_what_its_layers_do_one_after_the_other(name, by_hand):
    build, decoder = UNROLLED[name]
    models, net, up_names, down_names = build()
    target, initial = net(decoder=decoder), jaxae.stacked(models).init(KEY, BATCH)
    for params in (initial, moved(initial, KEY)):
        unrolled = jaxae.unroll(models, params, target, BATCH)
        chex.assert_trees_all_equal_shapes_and_dtypes(unrolled, target.init(KEY, BATCH))
        up, down = dense_layers(params, len(models))
        z = dense_by_hand(up, BATCH["x"], up_names, by_hand)
        x_hat = dense_by_hand(down, z, down_names, by_hand)
        found = target.encode(unrolled, BATCH), target.decode(unrolled, z)
        chex.assert_trees_all_close(found, (z, x_hat), rtol=1e-4, atol=1e-5)


def test_mirrored_kernels_leave_the_encoders_when_trained_and_tied_ones_do_not():
    models, net, *_ = tied_sigmoid()
    params, kernels = start(models), {}
    for decoder in ("mirrored", "tied"):
        target = net(decoder=decoder)
        learner = jaxae.gradient(target.loss, optax.sgd(0.1))
        state = learner.init(jaxae.unroll(models, params, target, BATCH), KEY)
        kernels[decoder] = learner.step(state, KEY, BATCH)[0].params
    before = params["layer_0"]["encoder"]["layer_0"]["kernel"]
    up = kernels["mirrored"]["encoder"]["layer_0"]["kernel"]
    down = kernels["mirrored"]["decoder"]["layer_1"]["kernel"].T
    pairs = itertools.combinations((before, up, down), 2)
    assert not any(np.allclose(a, b, atol=1e-4) for a, b in pairs)
    assert sorted(kernels["tied"]["decoder"]) == ["bias_0", "bias_1"]


TIED, TIED_NO_BIAS = tied_sigmoid()[0], tied_sigmoid(**NO_BIAS)[0]
GATED = [jaxae.deep(12, 8), jaxae.gated(8, 4, networks=jaxae.mlp)]
WIDTHS = r"encoder/layer_0/kernel: the net has \(12, 7\), the layers \(12, 8\)"
REFUSED = {
    "activation": (TIED, SIGMOID_NET(activation="tanh"), "code differs"),
    "output": (TIED, SIGMOID_NET(likelihood=likelihoods.gaussian()), "reconstruction differs"),
    "widths": (TIED, SIGMOID_NET(hidden_dims=(7,)), WIDTHS),
    "too few": (TIED, SIGMOID_NET(hidden_dims=(8, 6)), "encoder/layer_2/kernel: .* layers None"),
    "too many": (TIED, jaxae.deep(12, 8, **SIGMOID), "encoder/layer_1/kernel: the net has None"),
    "no biases": (TIED_NO_BIAS, SIGMOID_NET(), "decoder/layer_0/bias"),
    "no biases, tied": (TIED_NO_BIAS, SIGMOID_NET(decoder="tied"), "decoder/bias_0"),
    "biases": (TIED, SIGMOID_NET(use_bias=False), "decoder/layer_0/bias"),
    "untied": (untied_elu()[0], untied_elu()[1](decoder="tied"), "layer_0 has decoder kernels"),
    "dictionary": ([jaxae.relu_l1(12, 4)], jaxae.deep(12, 4), "encoder/pre_bias.* of layer_0"),
    "gated": (GATED, jaxae.deep(12, 4, hidden_dims=(8,)), "code/r.* of layer_1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_do_as_its_layers_is_refused_by_name(name):
    models, target, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        jaxae.unroll(models, start(models), target, BATCH)


def test_a_net_may_be_unrolled_from_traced_layers():
    """Built, moved and unrolled inside a function that is mapped and compiled."""
    models, net, *_ = machines()
    target = net()
    unrolled = lambda key: jaxae.unroll(models, start(models, key), target, BATCH)  # noqa: E731
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(unrolled))(keys)
    alone = jax.tree.map(lambda *a: np.stack(a), *map(unrolled, keys))
    chex.assert_trees_all_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_learned_scale_is_the_nets_own():
    scale = {"likelihood": likelihoods.gaussian("shared")}
    models = [jaxae.deep(12, 8, **scale), jaxae.deep(8, 3, output_activation="elu")]
    assert abs((params := start(models))["layer_0"]["head"]["log_scale"]) > 0.01
    target = jaxae.deep(12, 3, hidden_dims=(8,), latent_activation="elu", **scale)
    assert jaxae.unroll(models, params, target, BATCH)["head"]["log_scale"] == 0.0


def test_parameters_take_the_types_of_the_net():
    for given, wanted in [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16)]:
        models, target = untied_elu(param_dtype=given)[0], untied_elu(param_dtype=wanted)[1]()
        unrolled = jaxae.unroll(models, jaxae.stacked(models).init(KEY, BATCH), target, BATCH)
        chex.assert_trees_all_equal_shapes_and_dtypes(unrolled, target.init(KEY, BATCH))


def test_a_stack_encodes_and_decodes_by_its_layers_in_turn():
    models = [jaxae.rbm(12, 8), jaxae.contractive(8, 6, **BERNOULLI), jaxae.rbm(6, 3)]
    stack, params, z, batch = jaxae.stacked(models), start(models), [], BATCH
    for i, model in enumerate(models):
        z.append(model.encode(params[f"layer_{i}"], batch))
        batch = {"x": z[-1]}
    np.testing.assert_array_equal(stack.encode(params, BATCH), z[-1])
    x_hat, rows = z[-1], models[2].sample(params["layer_2"], KEY, 5)
    for i in (2, 1, 0):
        x_hat = models[i].decode(params[f"layer_{i}"], x_hat)
        rows = models[i].decode(params[f"layer_{i}"], rows) if i < 2 else rows
    np.testing.assert_array_equal(stack.decode(params, z[-1]), x_hat)
    np.testing.assert_array_equal(stack.sample(params, KEY, 5), rows)


def test_the_loss_is_that_of_the_top_on_clean_codes_and_moves_no_layer_below():
    models = [jaxae.denoising(12, 8, noise_level=0.5), jaxae.denoising(8, 5), jaxae.tied(5, 3)]
    stack, params = jaxae.stacked(models), start(models)
    (value, metrics), grads = jax.value_and_grad(stack.loss, has_aux=True)(params, KEY, BATCH)
    codes = models[0].encode(params["layer_0"], BATCH)
    codes = {"x": models[1].encode(params["layer_1"], {"x": codes})}
    top = jax.value_and_grad(models[2].loss, has_aux=True)(params["layer_2"], KEY, codes)
    assert (value, metrics["distortion"]) == (top[0][0], top[0][1]["distortion"])
    chex.assert_trees_all_close(grads["layer_2"], top[1], rtol=1e-6)
    assert not any(np.any(g) for g in jax.tree.leaves([grads["layer_0"], grads["layer_1"]]))


def test_labels_reach_the_top_and_a_mask_the_lowest_alone():
    seen = {}
    top = jaxae.tied(8, 3)._replace(loss=lambda params, key, batch: (seen.update(batch), {}))
    stack = jaxae.stacked([jaxae.tied(12, 8), top])
    hidden = np.arange(12) % 3 == 0
    batch = {**BATCH, "y": np.arange(11), "mask": np.broadcast_to(~hidden, (11, 12))}
    params = stack.init(KEY, batch)
    stack.loss(params, KEY, {**batch, "x": np.where(hidden, np.nan, BATCH["x"])})
    assert set(seen) == {"x", "y"}
    zeros = {"x": np.where(hidden, 0, BATCH["x"])}
    codes = jaxae.tied(12, 8).encode(params["layer_0"], zeros)
    np.testing.assert_allclose(seen["x"], codes, rtol=1e-5, atol=1e-6)


def test_a_deep_belief_net_samples_its_exact_distribution():
    """The top's 8 visible states enumerated, and each passed down by its mean."""
    models = [jaxae.rbm(4, 3), jaxae.rbm(3, 2, sample_steps=50)]
    key, n = jax.random.key(5), 20000
    params = jaxae.stacked(models).init(key, {"x": np.zeros((1, 4), np.float32)})
    draws = np.random.default_rng(1)
    params = jax.tree.map(lambda a: jnp.asarray(draws.normal(size=a.shape), jnp.float32), params)
    (w0, _, b0), (w1, c1, b1) = (
        (p["encoder"]["layer_0"]["kernel"], p["encoder"]["layer_0"]["bias"], p["decoder"]["bias_0"])
        for p in jax.tree.map(np.asarray, (params["layer_0"], params["layer_1"]))
    )
    states = np.array(list(itertools.product([0, 1], repeat=3)))
    pairs = [(v, h) for v in states for h in itertools.product([0, 1], repeat=2)]
    p = softmax([v @ b1 + h @ c1 + v @ w1 @ h for v, h in pairs]).reshape(8, 4).sum(axis=1)
    rows = expit(states @ w0.T + b0)
    x = np.asarray(jaxae.stacked(models).sample(params, key, n))
    gaps = np.abs(x[:, None] - rows).max(axis=2)
    assert gaps.min(axis=1).max() < 1e-5
    shares = np.bincount(gaps.argmin(axis=1), minlength=8) / n
    assert np.all(np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) / n))
    assert np.all(np.abs(x.mean(axis=0) - p @ rows) < 5 * x.std(axis=0) / np.sqrt(n))
    assert np.abs(shares - 1 / 8).max() > 0.05


def test_errors_say_which_layer_does_not_fit():
    with pytest.raises(ValueError, match="at least one autoencoder"):
        jaxae.stacked([])
    for upper in (jaxae.tied(7, 3), jaxae.deep(7, 3)):
        with pytest.raises(ValueError, match=r"layer_1 of the stack: .*7.*8|layer_1 .*8.*7"):
            jaxae.stacked([jaxae.tied(12, 8), upper]).init(KEY, BATCH)
    outside = {"x": np.where(np.arange(11)[:, None] == 5, 2, BATCH["x"])}
    with pytest.raises(ValueError, match=r"layer_0 of the stack: .*\[0.0, 1.0\]"):
        jaxae.stacked(TIED).init(KEY, outside)
    params = jaxae.stacked(TIED[:1]).init(KEY, BATCH)
    with pytest.raises(ValueError, match=r"parameters of layer_1; got \['layer_0'\]"):
        jaxae.unroll(TIED, params, SIGMOID_NET(), BATCH)
    with pytest.raises(ValueError, match="no context"):
        jaxae.stacked(TIED).decode(start(TIED), jnp.ones((2, 4)), jnp.ones((2, 1)))
