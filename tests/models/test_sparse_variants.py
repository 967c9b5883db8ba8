import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import codes, likelihoods, penalties, sparsity

KEY = jax.random.key(0)
X = np.random.default_rng(8).normal(size=(6, 2, 4)).astype(np.float32)
BATCH = {"x": X}
DICTIONARIES = ("relu_l1", "gated", "jump_relu", "top_k", "batch_top_k", "matryoshka")
NETS = ("sparse", "k_sparse", "winner_take_all")
OWN_K = {"k_sparse": {"k": 5}, "top_k": {"k": 5}, "batch_top_k": {"k": 5}, "matryoshka": {"k": 5}}


def build(name, **parts):
    return getattr(jaxae, name)((2, 4), 16, **{**OWN_K.get(name, {}), **parts})


@pytest.mark.parametrize("name", DICTIONARIES)
def test_dictionaries_have_unit_atoms_a_pre_bias_and_codes_that_are_not_negative(name):
    model = build(name, pre_bias=X.mean(axis=0))
    params = model.init(KEY, BATCH)
    np.testing.assert_allclose(np.linalg.norm(jaxae.atoms(params), axis=1), np.ones(16), rtol=1e-5)
    np.testing.assert_allclose(params["encoder"]["pre_bias"], X.mean(axis=0).ravel(), rtol=1e-6)
    z = model.encode(params, BATCH)
    assert (z >= 0).all()
    assert (z == 0).any()
    loss, metrics = jax.jit(model.loss)(params, KEY, BATCH)
    assert jnp.isfinite(loss)
    np.testing.assert_allclose(
        loss, metrics["distortion"] + metrics["rate"] + metrics["penalty"], rtol=1e-6
    )


@pytest.mark.parametrize("name", NETS)
def test_networks_of_several_layers_take_every_part(name):
    model = build(
        name,
        hidden_dims=(7,),
        likelihood=likelihoods.bernoulli(),
        corrupt=jaxae.corruptions.masking(0.3),
        penalties=[penalties.l2(0.1), lambda forward: 2.0],
        use_bias=False,
    )
    batch = {"x": (X > 0).astype(np.float32)}
    params = model.init(KEY, batch)
    loss, metrics = jax.jit(model.loss)(params, KEY, batch)
    assert jnp.isfinite(loss)
    assert metrics["penalty"] > 2.0
    assert model.encode(params, batch).shape == (6, 16)


def codes_and_decoder(name, **parts):
    model = build(name, **parts)
    params = model.init(KEY, BATCH)
    return model.encode(params, {"x": 20 * X}), set(params["decoder"])


@pytest.mark.parametrize("parts", [{}, {"hidden_dims": (7,)}, {"activation": "relu"}])
def test_sparse_codes_are_sigmoid_whatever_the_hidden_units_are(parts):
    z, decoder = codes_and_decoder("sparse", **parts)
    assert ((z >= 0) & (z <= 1)).all()
    assert z.max() - z.min() > 0.5
    assert "layer_0" in decoder


def test_k_sparse_codes_are_linear_and_tied_unless_told_otherwise():
    z, decoder = codes_and_decoder("k_sparse", k=14)
    assert decoder == {"bias_0"}
    assert z.min() < 0 < z.max()
    assert ((z != 0).sum(axis=1) == 14).all()
    _, decoder = codes_and_decoder("k_sparse", decoder="mirrored")
    assert decoder == {"layer_0"}
    _, decoder = codes_and_decoder("k_sparse", networks=jaxae.dictionary)
    assert decoder == {"layer_0"}


def test_winners_are_rectified_units():
    model = build("winner_take_all", hidden_dims=(7,), fraction=0.5)
    params = model.init(KEY, BATCH)
    z, kernels = model.encode(params, BATCH), [params["encoder"][f"layer_{i}"] for i in (0, 1)]
    hidden = np.maximum(X.reshape(6, 8) @ np.asarray(kernels[0]["kernel"]), 0)
    expected = np.maximum(hidden @ np.asarray(kernels[1]["kernel"]), 0)
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)


def composed(code, own=()):
    return jaxae.deep((2, 4), 16, networks=jaxae.dictionary, code=code, penalties=own)


EQUAL = {
    "top_k": lambda: (build("top_k", aux_k=0), composed(codes.TopK(5))),
    "top_k revived": lambda: (
        build("top_k", aux_k=3, aux_coefficient=0.5, dead_after=1),
        composed(codes.TopK(5), [sparsity.aux_k(3, 0.5, 1)]),
    ),
    "batch_top_k": lambda: (build("batch_top_k", aux_k=0), composed(codes.BatchTopK(5))),
    "matryoshka": lambda: (
        build("matryoshka", prefixes=[2, 16], aux_k=0),
        composed(codes.BatchTopK(5), [sparsity.nested([2, 16])]),
    ),
    "matryoshka halves": lambda: (
        build("matryoshka", aux_k=0),
        build("matryoshka", aux_k=0, prefixes=[1, 2, 4, 8, 16]),
    ),
    "relu_l1": lambda: (
        build("relu_l1", l1_coefficient=0.3),
        composed(codes.Rectified(), [sparsity.l1(0.3, by_decoder_norm=True)]),
    ),
    "gated": lambda: (
        build("gated", l1_coefficient=0.3, penalties=[penalties.l2(0.2)]),
        composed(codes.Gated(), [sparsity.gate(0.3), penalties.l2(0.2)]),
    ),
    "jump_relu": lambda: (
        build("jump_relu", sparsity_weight=0.3, bandwidth=2.0, threshold=0.5),
        composed(codes.JumpReLU(0.3, 2.0, 0.5)),
    ),
    "sparse": lambda: (
        build("sparse", sparsity_target=0.2, sparsity_weight=0.3, decay=0.9, activation="tanh"),
        jaxae.deep(
            (2, 4), 16, activation="sigmoid", penalties=[sparsity.kl_sparsity(0.2, 0.3, 0.9)]
        ),
    ),
    "k_sparse": lambda: (
        build("k_sparse", start_k=7, anneal_steps=3, alpha=2.0),
        jaxae.tied((2, 4), 16, activation="identity", code=codes.KSparse(5, 7, 3, 2.0)),
    ),
    "winner_take_all": lambda: (
        build("winner_take_all", fraction=0.5),
        jaxae.deep((2, 4), 16, activation="relu", code=codes.WinnerTakeAll(0.5)),
    ),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_a_variant_is_the_composition_that_it_names(pair):
    variant, composition = pair()
    params = composition.init(KEY, BATCH)
    assert jax.eval_shape(variant.init, KEY, BATCH) == jax.eval_shape(lambda: params)
    given, expected = (
        jax.jit(jax.value_and_grad(m.loss, has_aux=True))(params, KEY, BATCH)
        for m in (variant, composition)
    )
    jax.tree.map(np.testing.assert_array_equal, given, expected)
    np.testing.assert_array_equal(variant.encode(params, BATCH), composition.encode(params, BATCH))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("sparse", "sparsity_weight"),
        ("relu_l1", "l1_coefficient"),
        ("jump_relu", "sparsity_weight"),
    ],
)
def test_weights_may_be_traced(name, weight):
    params = build(name).init(KEY, BATCH)
    loss = lambda w: build(name, **{weight: w}).loss(params, KEY, BATCH)[0]  # noqa: E731
    swept = jax.jit(jax.vmap(loss))(jnp.asarray([0.1, 0.7]))
    np.testing.assert_allclose(swept, [loss(0.1), loss(0.7)], rtol=1e-5)
    assert swept[0] != swept[1]


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        *((name, {"k": k}, r"in \[1, 16\]") for name in OWN_K for k in (0, 17, 2.0, None)),
        ("k_sparse", {"start_k": 17}, r"in \[1, 16\]"),
        ("k_sparse", {"alpha": 0.9}, "alpha"),
        ("k_sparse", {"alpha": np.nan}, "alpha"),
        ("k_sparse", {"anneal_steps": -1}, "anneal_steps"),
        ("k_sparse", {"start_k": 7}, "both or neither; got start_k=7 and anneal_steps=0"),
        ("k_sparse", {"anneal_steps": 9}, "both or neither; got start_k=None and anneal_steps=9"),
        ("winner_take_all", {"fraction": 0.0}, "fraction"),
        ("winner_take_all", {"fraction": 1.1}, "fraction"),
        ("sparse", {"sparsity_target": 1.0}, "sparsity_target"),
        ("sparse", {"sparsity_weight": -1.0}, "sparsity_weight"),
        ("sparse", {"decay": 0.0}, "decay"),
        ("sparse", {"latent_activation": "relu"}, "Take relu_l1"),
        ("sparse", {"networks": jaxae.dictionary}, "no sigmoid codes; take relu_l1"),
        ("relu_l1", {"l1_coefficient": -1.0}, "l1_coefficient"),
        ("gated", {"l1_coefficient": -1.0}, "l1_coefficient"),
        ("jump_relu", {"sparsity_weight": -1.0}, "sparsity_weight"),
        ("jump_relu", {"bandwidth": 0.0}, "bandwidth"),
        ("jump_relu", {"threshold": np.nan}, "threshold"),
        ("top_k", {"aux_k": -1}, "aux_k"),
        ("top_k", {"aux_coefficient": -1.0}, "aux_coefficient"),
        ("batch_top_k", {"dead_after": 0}, "dead_after"),
        ("matryoshka", {"prefixes": []}, "rising"),
        ("matryoshka", {"prefixes": [4, 2, 16]}, "rising"),
        ("matryoshka", {"prefixes": [4, 8]}, "latent_dim, 16"),
        ("top_k", {"hidden_dims": (4,)}, "no hidden layers"),
    ],
)
def test_numbers_out_of_range_are_refused(name, parts, message):
    with pytest.raises(ValueError, match=message):
        build(name, **parts)


def test_k_may_be_a_number_of_numpy():
    assert (codes_and_decoder("k_sparse", k=np.int64(3))[0] != 0).sum() == 18
