import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import likelihoods, penalties

KEY = jax.random.key(4)
BATCH = {"x": np.random.default_rng(4).normal(size=(5, 6))}


def build(preset=jaxae.deep, weight=0.3, **parts):
    model = preset(
        6, 3, hidden_dims=(4,), penalties=[penalties.l2(weight)], param_dtype=jnp.float64, **parts
    )
    params = jax.tree.map(lambda a: a + 0.5, model.init(KEY, BATCH))
    return model, params


def kernels(params):
    """Kernels by the names of their owners, without the library's own walk of the tree."""
    return [
        layer["kernel"] for net in params.values() for layer in net.values() if "kernel" in layer
    ]


@pytest.mark.parametrize("likelihood", [likelihoods.gaussian(), likelihoods.gaussian("shared")])
def test_l2_is_half_the_squared_norm_of_the_kernels_and_of_nothing_else(likelihood, x64):
    model, params = build(likelihood=likelihood)
    networks = {name: params[name] for name in ("encoder", "decoder")}
    assert len(kernels(networks)) == 4
    expected = 0.5 * 0.3 * sum(np.sum(np.square(k)) for k in kernels(networks))
    loss, metrics = model.loss(params, KEY, BATCH)
    np.testing.assert_allclose(metrics["penalty"], expected, rtol=1e-12)
    np.testing.assert_allclose(loss, metrics["distortion"] + expected, rtol=1e-12)


def test_tied_kernels_count_once(x64):
    model, params = build(jaxae.tied)
    layers = params["encoder"]
    expected = 0.5 * 0.3 * sum(np.sum(np.square(layer["kernel"])) for layer in layers.values())
    np.testing.assert_allclose(model.loss(params, KEY, BATCH)[1]["penalty"], expected, rtol=1e-12)


@pytest.mark.parametrize("preset", [jaxae.deep, jaxae.tied])
def test_the_gradient_of_l2_is_weight_times_kernel(preset, x64):
    model, params = build(preset)
    grads = jax.jit(jax.grad(lambda p: model.loss(p, KEY, BATCH)[1]["penalty"]))(params)

    def check(path, given, value):
        scale = 0.3 if path[-1].key == "kernel" else 0.0
        np.testing.assert_allclose(given, scale * value, rtol=1e-12)

    jax.tree_util.tree_map_with_path(check, grads, params)


def test_penalties_add_up(x64):
    model = jaxae.deep(6, 3, penalties=[penalties.l2(0.1), penalties.l2(0.4), lambda forward: 2.0])
    only = jaxae.deep(6, 3, penalties=[penalties.l2(0.5)])
    params = model.init(KEY, BATCH)
    given = model.loss(params, KEY, BATCH)[1]["penalty"]
    np.testing.assert_allclose(given, only.loss(params, KEY, BATCH)[1]["penalty"] + 2.0, rtol=1e-6)


def test_a_penalty_sees_the_clean_batch_the_codes_and_the_encoder(x64):
    """Under full masking the codes come from zeros, while `encode` sees what it is given."""
    seen = {}

    def spy(forward):
        seen.update(forward._asdict(), again=forward.encode(forward.params, forward.batch))
        return jnp.zeros(())

    model = jaxae.deep(6, 3, corrupt=jaxae.corruptions.masking(1.0), penalties=[spy])
    params = model.init(KEY, BATCH)
    model.loss(params, KEY, BATCH)
    np.testing.assert_array_equal(seen["batch"]["x"], BATCH["x"])
    zeros = {"x": np.zeros_like(BATCH["x"])}
    np.testing.assert_allclose(seen["z"], model.encode(params, zeros), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(seen["again"], model.encode(params, BATCH))


def test_two_penalties_draw_different_randomness(x64):
    keys = []
    spy = lambda forward: keys.append(jax.random.key_data(forward.key)) or jnp.zeros(())  # noqa: E731
    model = jaxae.deep(6, 3, penalties=[spy, spy])
    params = model.init(KEY, BATCH)
    keys.clear()
    model.loss(params, KEY, BATCH)
    assert (keys[0] != keys[1]).any()


def test_a_traced_weight_equals_the_concrete_one(x64):
    model, params = build(weight=0.3)

    @jax.jit
    def swept(weight):
        return build(weight=weight)[0].loss(params, KEY, BATCH)[0]

    np.testing.assert_allclose(swept(0.3), model.loss(params, KEY, BATCH)[0], rtol=1e-12)
    assert swept(0.6) > swept(0.3)


@pytest.mark.parametrize("weight", [-0.1, np.nan])
def test_weights_below_zero_are_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        penalties.l2(weight)
