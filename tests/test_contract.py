"""Every autoencoder and every learner obeys the same contract; a new one is a row here."""

import types
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import corruptions, likelihoods, penalties, priors, sparsity
from jaxae.training import checkpoints

N, D, LATENT = 48, 12, 4
WIDE = {"hidden_dims": (8,), "activation": "tanh"}

MIXED = types.SimpleNamespace(kinds=("numeric", "binary", "categorical"), widths=(1, 1, 10))

MODELS = {
    "linear": lambda: jaxae.linear(D, LATENT),
    "undercomplete": lambda: jaxae.undercomplete(D, LATENT),
    "overcomplete": lambda: jaxae.overcomplete(D, 2 * D, penalties=[penalties.l2(1e-3)]),
    "deep": lambda: jaxae.deep(D, LATENT, **WIDE),
    "deep bfloat16": lambda: jaxae.deep(D, LATENT, dtype=jnp.bfloat16, **WIDE),
    "tied": lambda: jaxae.tied(D, LATENT, likelihood=likelihoods.bernoulli(), **WIDE),
    "denoising masking": lambda: jaxae.denoising(D, LATENT, noise_level=0.3, **WIDE),
    "denoising gaussian": lambda: jaxae.denoising(D, 2 * D, corruption=corruptions.gaussian),
    "denoising salt": lambda: jaxae.denoising(D, LATENT, corruption=corruptions.salt_and_pepper),
    "denoising dropout": lambda: jaxae.denoising(D, LATENT, corruption=corruptions.dropout),
    "shared scale": lambda: jaxae.deep(D, LATENT, likelihood=likelihoods.gaussian("shared")),
    "per-entry scale": lambda: jaxae.deep(D, LATENT, likelihood=likelihoods.gaussian("per_entry")),
    "contractive": lambda: jaxae.contractive(D, LATENT),
    "contractive deep": lambda: jaxae.contractive(D, LATENT, **WIDE),
    "stochastic contractive": lambda: jaxae.stochastic_contractive(D, LATENT),
    "higher-order contractive": lambda: jaxae.higher_order_contractive(D, LATENT, **WIDE),
    "sparse": lambda: jaxae.sparse(D, 2 * D, sparsity_target=0.2),
    "sparse running": lambda: jaxae.sparse(D, 2 * D, sparsity_target=0.2, decay=0.9),
    "k-sparse": lambda: jaxae.k_sparse(D, 2 * D, k=3, start_k=6, anneal_steps=20, alpha=1.5),
    "winner-take-all": lambda: jaxae.winner_take_all(D, 2 * D, fraction=0.3),
    "relu l1": lambda: jaxae.relu_l1(D, 2 * D, l1_coefficient=0.01),
    "gated": lambda: jaxae.gated(D, 2 * D, l1_coefficient=0.01),
    "jump relu": lambda: jaxae.jump_relu(D, 2 * D, sparsity_weight=0.01, bandwidth=2.0),
    "top-k": lambda: jaxae.top_k(D, 2 * D, k=3, dead_after=20),
    "batch top-k": lambda: jaxae.batch_top_k(D, 2 * D, k=3, dead_after=20),
    "matryoshka": lambda: jaxae.matryoshka(D, 2 * D, k=3, prefixes=[6, 12, 24], dead_after=20),
    "rbm": lambda: jaxae.rbm(D, LATENT, cd_steps=2, kernel_scale=0.1, sample_steps=3),
    "rbm sparse": lambda: jaxae.rbm(D, LATENT, penalties=[sparsity.kl_sparsity(0.1, 1.0, 0.9)]),
    "rbm gaussian visible": lambda: jaxae.rbm(D, LATENT, visible="gaussian"),
    "rbm gaussian hidden": lambda: jaxae.rbm(D, LATENT, hidden="gaussian"),
    "stack": lambda: jaxae.stacked([jaxae.denoising(D, 8), jaxae.tied(8, LATENT)]),
    "belief net": lambda: jaxae.stacked(
        [jaxae.rbm(D, 8, kernel_scale=1.0), jaxae.rbm(8, LATENT, kernel_scale=0.1, sample_steps=3)]
    ),
    "vae": lambda: jaxae.vae(D, LATENT, **WIDE),
    "vae free bits": lambda: jaxae.vae(D, LATENT, free_bits=0.2, likelihood=likelihoods.gaussian()),
    "vae capacity": lambda: jaxae.vae(D, LATENT, capacity=lambda n: 0.01 * n, beta=5.0),
    "vae learned prior": lambda: jaxae.vae(D, LATENT, prior=priors.Learned(LATENT)),
    "vae mixture": lambda: jaxae.vae(D, LATENT, prior=priors.Mixture(LATENT, 3), samples=2),
    "beta-vae warm-up": lambda: jaxae.beta_vae(D, LATENT, beta=lambda n: 0.1 + 0.01 * n),
    "iwae": lambda: jaxae.iwae(D, LATENT, samples=3),
    "iwae two layers": lambda: jaxae.iwae(
        D, LATENT, samples=3, prior=jaxae.layered_prior(LATENT, 2, hidden_dims=(4,))
    ),
    "vq-vae": lambda: jaxae.vq_vae(D, 4, num_embeddings=3, embedding_dim=2),
    "vq-vae descent": lambda: jaxae.vq_vae(D, 4, num_embeddings=3, embedding_dim=2, decay=None),
    "wae": lambda: jaxae.wae(D, LATENT, mmd_weight=0.1),
    "info vae": lambda: jaxae.info_vae(D, LATENT, mmd_weight=0.5),
    "semantic hashing": lambda: jaxae.semantic_hashing(D, LATENT, noise_level=1.0),
    "binary": lambda: jaxae.deep(
        D, LATENT, code=jaxae.codes.Binary(LATENT), likelihood=likelihoods.bernoulli()
    ),
    "discretised": lambda: jaxae.vae(D, LATENT, likelihood=likelihoods.discretised_logistic()),
    "table": lambda: jaxae.table(MIXED, LATENT, noise_level=0.3, hidden_dims=(8,)),
    "hiding": lambda: jaxae.denoising(
        D, LATENT, corruption=corruptions.hiding, see_mask=True, **WIDE
    ),
    "auto-rec": lambda: jaxae.auto_rec(D, LATENT, see_mask=True),
    "mult-dae": lambda: jaxae.mult_dae(D, LATENT),
    "vae multinomial": lambda: jaxae.mult_vae(D, LATENT, hidden_dims=(8,)),
    "convolutional": lambda: jaxae.denoising(
        (4, 3, 1), LATENT, networks=jaxae.convolutional, hidden_dims=(3,)
    ),
    "convolutional tied": lambda: jaxae.contractive(
        (4, 3, 1), LATENT, networks=jaxae.convolutional, hidden_dims=(3,), decoder="tied"
    ),
    "maps": lambda: jaxae.winner_take_all(
        (4, 3, 1), 5, fraction=0.3, networks=jaxae.convolutional, maps=True
    ),
    "recurrent": lambda: jaxae.deep((4, 3), LATENT, networks=jaxae.recurrent, hidden_dims=(5,)),
    "vae recurrent": lambda: jaxae.vae(
        (4, 3),
        LATENT,
        networks=jaxae.recurrent,
        cell="lstm",
        hidden_dims=(5,),
        bidirectional=True,
        teacher_forcing=True,
        feedback="sigmoid",
    ),
    "categorical": lambda: jaxae.deep((3, 4), LATENT, likelihood=likelihoods.categorical()),
}
SHAPES = {
    **dict.fromkeys(("convolutional", "convolutional tied", "maps"), (4, 3, 1)),
    **dict.fromkeys(("recurrent", "vae recurrent"), (4, 3)),
}
STACKS = ("stack", "belief net")
SAMPLING = ("rbm", "belief", "vae", "beta", "iwae", "vq", "wae", "info", "binary", "discretised")
LEARNERS = {
    "gradient": lambda model, rate: jaxae.gradient(model.loss, optax.adam(rate)),
    "momentum": lambda model, rate: jaxae.gradient(model.loss, jaxae.momentum_sgd(rate, 0.5)),
    "restarted": lambda model, rate: jaxae.restarted(
        jaxae.gradient(model.loss, optax.adam(rate)), 2
    ),
    "alternating": lambda model, rate: jaxae.alternating(
        jaxae.gradient(model.loss, optax.adam(rate)), jaxae.gradient(model.loss, optax.sgd(rate))
    ),
    "persistent": lambda model, rate: jaxae.persistent(model, optax.adam(rate), num_chains=16),
}
CASES = [
    *((model, "gradient") for model in MODELS),
    *(("deep", how) for how in ("momentum", "restarted", "alternating")),
    *((model, "persistent") for model in ("rbm", "rbm sparse")),
]
every_case = pytest.mark.parametrize(("name", "how"), CASES, ids=lambda part: part)
every_model = pytest.mark.parametrize("name", MODELS)


def data_for(name):
    x = np.random.default_rng(0).integers(0, 2, (N, D)).astype(np.float32)
    if name == "categorical":
        x = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (N, 3))]
    return {"x": x.reshape(N, *SHAPES.get(name, x.shape[1:]))}


@cache
def start(name, how="gradient"):
    model = MODELS[name]()
    learner = LEARNERS[how](model, 1e-2)
    init_key, state_key = jax.random.split(jax.random.key(0))
    return model, learner, learner.init(model.init(init_key, data_for(name)), state_key)


@cache
def fitting(name, how):
    """`(state, epochs, first epoch)` -> what `fit` gives; one program for each number of epochs."""
    fit = partial(jaxae.fit, start(name, how)[1], batch_size=16)
    fit = jax.jit(fit, static_argnames="epochs")
    key = jax.random.key(1)
    return lambda state, epochs, first: fit(
        state, data_for(name), key, epochs=epochs, first_epoch=jnp.int32(first)
    )


@cache
def whole(name, how):
    return fitting(name, how)(start(name, how)[2], 20, 0)


@every_case
def test_a_step_traces_once_and_keeps_structure_and_moves_every_parameter(name, how):
    _, learner, first = start(name, how)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(learner.step, n=1))
    state = first
    for i in range(4):
        state, metrics = step(state, jax.random.key(i), data_for(name))
    chex.assert_trees_all_equal_shapes_and_dtypes(first, state)
    chex.assert_tree_all_finite((state, metrics))
    chex.assert_rank(list(metrics.values()), 0)
    assert "loss" in metrics
    before = dict(jax.tree_util.tree_leaves_with_path(first.params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        if name in STACKS and "layer_0" in jax.tree_util.keystr(path[:1]):
            assert np.array_equal(before[path], leaf), path  # a stack trains its top alone
            continue
        if "since_fired" in jax.tree_util.keystr(path):
            continue  # stays 0 where every unit fires
        assert not np.array_equal(before[path], leaf), path


@every_case
def test_training_lowers_the_loss(name, how):
    # the contrast of two free energies, both of which move, need not fall; its error does
    metric = "squared_error" if name == "belief net" else "loss"
    loss = whole(name, how)[1][metric]
    assert loss[-5:].mean() < loss[:5].mean()


@every_case
def test_twice_ten_epochs_and_a_restored_checkpoint_equal_an_uninterrupted_fit(name, how, tmp_path):
    fit, state = fitting(name, how), start(name, how)[2]
    half, first = fit(state, 10, 0)
    manager = checkpoints.open_checkpoints(tmp_path)
    checkpoints.save(manager, 2, half, half.params)
    manager.wait_until_finished()
    half = checkpoints.restore(manager, state=state)["state"]
    manager.close()
    again, second = fit(half, 10, 10)
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)
    chex.assert_trees_all_equal(whole(name, how), (again, joined))


@every_model
def test_encode_and_decode_have_their_shapes_and_no_noise(name):
    model, _, state = start(name)
    batch = data_for(name)
    z = model.encode(state.params, batch)
    x_hat = model.decode(state.params, z)
    assert z.shape[0] == N
    assert z.ndim == (4 if name == "maps" else 2)
    assert x_hat.shape == batch["x"].shape
    np.testing.assert_array_equal(z, model.encode(state.params, batch))
    np.testing.assert_array_equal(x_hat, model.decode(state.params, z, None))


@every_model
def test_rows_are_encoded_independently_of_each_other(name):
    model, _, state = start(name)
    batch = data_for(name)
    few = {"x": batch["x"][:3]}
    tolerance = 2e-2 if "bfloat16" in name else 1e-5
    np.testing.assert_allclose(
        model.encode(state.params, few),
        model.encode(state.params, batch)[:3],
        rtol=tolerance,
        atol=tolerance,
    )


@every_model
def test_a_mask_of_ones_is_no_mask_and_hidden_entries_do_not_matter(name):
    model, _, state = start(name)
    batch, key = data_for(name), jax.random.key(5)
    ones = {**batch, "mask": np.ones(batch["x"].shape[:2], np.float32)}
    assert model.loss(state.params, key, batch)[0] == model.loss(state.params, key, ones)[0]
    mask = np.arange(batch["x"].shape[1]) % 3 != 0
    some = {**batch, "mask": np.broadcast_to(mask, batch["x"].shape[:2])}
    junk = {
        **some,
        "x": np.where(
            some["mask"].reshape(N, -1, *[1] * (batch["x"].ndim - 2)), batch["x"], np.nan
        ),
    }
    loss = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
    chex.assert_trees_all_equal(loss(state.params, key, some), loss(state.params, key, junk))
    np.testing.assert_array_equal(
        model.encode(state.params, some), model.encode(state.params, junk)
    )


@every_model
def test_bytes_are_pixels_scaled_inside(name):
    model, _, state = start(name)
    x = data_for(name)["x"]
    as_bytes = {"x": (255 * x).astype(np.uint8)}
    tolerance = 2e-2 if "bfloat16" in name else 1e-5
    loss = partial(model.loss, state.params, jax.random.key(6))
    np.testing.assert_allclose(loss({"x": x})[0], loss(as_bytes)[0], rtol=tolerance)


@every_model
def test_initialisation_needs_shapes_alone_and_depends_on_the_key_alone(name):
    model = MODELS[name]()
    like = jax.eval_shape(model.init, jax.random.key(0), data_for(name))
    params = model.init(jax.random.key(0), data_for(name))
    chex.assert_trees_all_equal_shapes_and_dtypes(like, params)
    other = {"x": 1.0 - data_for(name)["x"][:7]}
    chex.assert_trees_all_equal(params, model.init(jax.random.key(0), other))


@every_model
def test_a_model_samples_rows_like_its_data_or_refuses_where_it_has_no_distribution(name):
    model, _, state = start(name)
    if name.startswith(SAMPLING):
        rows = model.sample(state.params, jax.random.key(0), 3)
        assert rows.shape == (3, *data_for(name)["x"].shape[1:])
        assert np.array_equal(rows, model.sample(state.params, jax.random.key(0), 3))
        assert not np.array_equal(rows, model.sample(state.params, jax.random.key(1), 3))
        return
    with pytest.raises(ValueError, match="no prior"):
        model.sample(state.params, jax.random.key(0), 3)
