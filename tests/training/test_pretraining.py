from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import likelihoods
from jaxae.training import checkpoints

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = {"x": RNG.uniform(size=(24, 12)).astype(np.float32)}
IMAGES = {
    "x": RNG.integers(0, 256, (24, 4, 4, 1)).astype(np.uint8),
    "y": np.arange(24) % 3,
    "mask": RNG.uniform(size=(24, 4, 4)) < 0.8,
}
BERNOULLI = {"likelihood": likelihoods.bernoulli()}
SIGMOID = {"activation": "sigmoid", **BERNOULLI}


def layer(model, tx, epochs=2, batch_size=8):
    return jaxae.Layer(model, jaxae.gradient(model.loss, tx), epochs, batch_size)


def three_layers():
    return [
        layer(jaxae.denoising((4, 4, 1), 10, **SIGMOID), optax.adam(1e-2), 3, 8),
        layer(jaxae.contractive(10, 6, **BERNOULLI), optax.sgd(0.1), 2, 6),
        layer(jaxae.rbm(6, 4), jaxae.momentum_sgd(0.1, 0.5), 4, 5),
    ]


def two_layers(noise_level=0.3, rate=1e-2):
    return [
        layer(jaxae.denoising(12, 8, noise_level=noise_level, **SIGMOID), optax.adam(rate)),
        layer(jaxae.rbm(8, 4), optax.adam(rate)),
    ]


def assert_close(a, b):
    chex.assert_trees_all_close(a, b, rtol=1e-5, atol=1e-6)


def one_at_a_time(train, *arguments):
    alone = [train(*each) for each in zip(*arguments, strict=True)]
    return jax.tree.map(lambda *a: np.stack(a), *alone)


def test_greedy_training_is_fit_on_each_layer_by_turns():
    """Rebuilt from `fit` and `encode`; labels go up, the mask and the images' bytes do not."""
    seen, layers, data = [], three_layers(), IMAGES
    norm = lambda i, params: {f"norm_{i}": optax.tree.norm(params)}  # noqa: E731
    trained = jaxae.pretrain(layers, IMAGES, KEY, codes=True, evaluate=norm)
    for i, (model, learner, epochs, batch_size) in enumerate(layers):
        init_key, state_key, fit_key = jax.random.split(jax.random.fold_in(KEY, i), 3)
        state = learner.init(model.init(init_key, data), state_key)
        state, history = jaxae.fit(
            learner, state, data, fit_key, epochs=epochs, batch_size=batch_size
        )
        assert_close(trained.params[f"layer_{i}"], state.params)
        last = trained.history[i].pop(f"norm_{i}")[-1]
        assert_close(last, optax.tree.norm(state.params))
        assert_close(trained.history[i], history)
        assert trained.history[i]["loss"].shape == (epochs,)
        data = {"x": model.encode(state.params, data), "y": data["y"]}
        seen.append(data["x"].shape)
    assert seen == [(24, 10), (24, 6), (24, 4)]
    assert_close(trained.codes, data["x"])
    assert set(trained.params) == {"layer_0", "layer_1", "layer_2"}


def test_a_layer_sees_the_clean_codes_and_the_labels_of_all_rows():
    """A second layer that only looks: its parameters are the batch that `init` was shown."""
    data = {"x": RNG.normal(size=(1003, 12)).astype(np.float32), "y": np.arange(1003.0)}
    lowest = layer(jaxae.denoising(12, 5, noise_level=0.9), optax.adam(1e-2), 1, 500)
    looking = jaxae.Autoencoder(
        lambda key, batch: dict(batch), lambda p, key, b: (0.0 * p["x"][0, 0], {}), None, None, None
    )
    looking = looking._replace(encode=lambda params, batch: batch["x"])
    rows = {**data, "mask": np.ones((1003, 12)), "context": np.ones((1003, 1), np.float32)}
    trained = jaxae.pretrain([lowest, layer(looking, optax.sgd(0.0), 1, 500)], rows, KEY)
    seen = trained.params["layer_1"]
    assert set(seen) == {"x", "y"}
    np.testing.assert_array_equal(seen["y"], data["y"])
    codes = lowest.model.encode(trained.params["layer_0"], rows)
    np.testing.assert_allclose(seen["x"], codes, rtol=1e-5, atol=1e-6)
    assert trained.codes is None


def test_compiled_mapped_over_keys_and_over_devices_it_is_the_same():
    traces, layers = [], two_layers()
    for i, (model, learner, *rest) in enumerate(layers):

        def step(state, key, batch, i=i, learner=learner):
            traces.append(i)
            return learner.step(state, key, batch)

        layers[i] = jaxae.Layer(model, jaxae.Learner(learner.init, step), *rest)
    train = partial(jaxae.pretrain, layers, codes=True)
    keys = jax.random.split(KEY, 3)
    alone = one_at_a_time(partial(train, DATA), keys)
    traces.clear()
    mapped = jax.jit(jax.vmap(train, in_axes=(None, 0)))
    assert_close(mapped(DATA, keys), alone)
    mapped(DATA, keys[::-1])
    assert traces == [0, 1]
    compiled = jax.jit(train)
    assert_close(one_at_a_time(partial(compiled, DATA), keys), alone)
    over_devices = jax.pmap(train, in_axes=(None, 0))(DATA, keys[:2])
    assert len(over_devices.codes.sharding.device_set) == 2
    assert_close(over_devices, jax.tree.map(lambda a: a[:2], alone))
    assert not np.allclose(alone.codes[0], alone.codes[1], atol=1e-3)


def test_hyperparameters_are_swept_where_layers_are_built_inside():
    def train(noise_level, rate):
        return jaxae.pretrain(two_layers(noise_level, rate), DATA, KEY)

    levels, rates = jnp.asarray([0.0, 0.3, 0.3]), jnp.asarray([1e-2, 1e-2, 1e-3])
    swept = jax.jit(jax.vmap(train))(levels, rates)
    assert_close(swept, one_at_a_time(jax.jit(train), levels, rates))
    for a, b in ((0, 1), (1, 2)):
        assert swept.history[1]["loss"][a, -1] != swept.history[1]["loss"][b, -1]


def test_a_second_layer_is_that_of_a_stack_whose_first_is_frozen():
    """One layer at a time in one graph is greedy training on codes."""
    layers = two_layers()
    trained = jaxae.pretrain(layers, DATA, KEY)
    stack = jaxae.stacked([each.model for each in layers])
    init_key, state_key, fit_key = jax.random.split(jax.random.fold_in(KEY, 1), 3)
    codes = {"x": layers[0].model.encode(trained.params["layer_0"], DATA)}
    params = {**trained.params, "layer_1": layers[1].model.init(init_key, codes)}
    learner = jaxae.gradient(stack.loss, optax.adam(1e-2), frozen=("layer_0",))
    state, history = jaxae.fit(
        learner, learner.init(params, state_key), DATA, fit_key, epochs=2, batch_size=8
    )
    chex.assert_trees_all_equal(state.params["layer_0"], trained.params["layer_0"])
    chex.assert_trees_all_close(state.params, trained.params, rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(history, trained.history[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "top",
    [
        jaxae.batch_top_k(8, 16, k=3, dead_after=20),
        jaxae.k_sparse(8, 16, k=3, start_k=6, anneal_steps=20),
        jaxae.tied(8, 3),
    ],
    ids=["batch top-k", "k-sparse", "nothing carried"],
)
def test_what_layers_carry_is_kept_and_only_the_tops_goes_on(top, tmp_path):
    models = [jaxae.denoising(12, 10, **SIGMOID), jaxae.sparse(10, 8, decay=0.9), top]
    params = jaxae.pretrain([layer(m, optax.adam(1e-2)) for m in models], DATA, KEY).params
    own = {"layer_2"} if "carried" in top.init(KEY, {"x": DATA["x"][:, :8]}) else set()
    assert set(params["carried"]) == {"layer_1"} | own
    assert params["carried"]["layer_1"]["penalties_0"]["mean_activation_steps"] == 6
    stack, batch = jaxae.stacked(models), DATA
    for i, model in enumerate(models):
        carried = {"carried": params["carried"][f"layer_{i}"]} if i > 0 and i < 2 + len(own) else {}
        batch = {"x": model.encode({**params[f"layer_{i}"], **carried}, batch)}
    np.testing.assert_array_equal(stack.encode(params, DATA), batch["x"])

    learner = jaxae.gradient(stack.loss, optax.adam(1e-2))
    state = first = learner.init(params, KEY)
    for i in range(2):
        state, _ = learner.step(state, jax.random.key(i), DATA)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, first)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        name = jax.tree_util.keystr(path)
        before = dict(jax.tree_util.tree_leaves_with_path(params))[path]
        if "layer_2" not in jax.tree_util.keystr(path[:2]):
            np.testing.assert_array_equal(leaf, before, name)
        elif name.endswith("steps']"):
            np.testing.assert_array_equal(leaf, before + 2, name)
        elif "since_fired" not in name:
            assert not np.array_equal(leaf, before), name

    manager = checkpoints.open_checkpoints(tmp_path)
    checkpoints.save(manager, 1, state, state.params)
    manager.wait_until_finished()
    chex.assert_trees_all_equal(checkpoints.restore(manager, state=first)["state"], state)
    manager.close()


def test_one_layer_at_a_time():
    """The two phases of Géron's "Hands-On Machine Learning", and the net they make.

    Phase 1 trains hidden layer 1 and the outputs; phase 2 trains hidden layers 2 and 3 to
    reconstruct hidden layer 1, which is frozen. Then all are put together.
    """
    factors = RNG.normal(size=(256, 6)) @ RNG.normal(size=(6, 64)) / 3
    data = {"x": np.tanh(factors).astype(np.float32)}
    options = {"activation": "elu", "penalties": [jaxae.penalties.l2(1e-4)]}
    hidden1 = jaxae.deep(64, 30, **options)
    hidden23 = jaxae.deep(30, 8, output_activation="elu", **options)
    fit = partial(jaxae.fit, data=data, key=KEY, epochs=30, batch_size=32)

    phase1 = jaxae.gradient(hidden1.loss, optax.adam(1e-2))
    first = fit(phase1, phase1.init(hidden1.init(KEY, data), KEY))[0].params

    stack = jaxae.stacked([hidden1, hidden23])
    phase2 = jaxae.gradient(stack.loss, optax.adam(1e-2), frozen=("layer_0",))
    state, history = fit(phase2, phase2.init({**stack.init(KEY, data), "layer_0": first}, KEY))
    chex.assert_trees_all_equal(state.params["layer_0"], first)
    assert history["distortion"][-1] < history["distortion"][0] - 1

    net = jaxae.deep(64, 8, hidden_dims=(30,), latent_activation="elu", **options)
    params = jaxae.unroll([hidden1, hidden23], state.params, net, data)
    error = lambda p: np.mean((net.decode(p, net.encode(p, data)) - data["x"]) ** 2)  # noqa: E731
    assert error(params) < 0.5 * data["x"].var()
    tuning = jaxae.gradient(net.loss, optax.adam(1e-3))
    assert error(fit(tuning, tuning.init(params, KEY))[0].params) < error(params)


def test_what_does_not_fit_is_refused_before_anything_is_trained():
    first, second = two_layers()
    untrained = first._replace(learner=first.learner._replace(step=None))
    frozen = jaxae.gradient(second.model.loss, optax.adam(1e-2), frozen=("layer_0",))
    for wrong, message in (
        (layer(jaxae.rbm(7, 4), optax.adam(1e-2)), "layer_1 of the stack: .*7"),
        (second._replace(batch_size=25), r"layer_1 of the stack: batch_size .*\[1, 24\]; got 25"),
        (second._replace(epochs=0), "layer_1 of the stack: epochs is a positive integer; got 0"),
        (second._replace(batch_size=2.0), "layer_1 of the stack: batch_size is a positive"),
        (second._replace(learner=frozen), "layer_1 of the stack: There is no 'layer_0' to freeze"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxae.pretrain([untrained, wrong], DATA, KEY)
    with pytest.raises(ValueError, match="at least one layer"):
        jaxae.pretrain([], DATA, KEY)
    linear = layer(jaxae.linear(12, 8), optax.adam(1e-2))
    with pytest.raises(ValueError, match=r"layer_1 of the stack: .*needs x in \[0.0, 1.0\]"):
        jaxae.pretrain([linear, second], DATA, KEY)
