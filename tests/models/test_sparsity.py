from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import rel_entr

import jaxae
from jaxae import sparsity

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 6)).astype(np.float32)
CONSTANT = 0.5 * np.log(2 * np.pi)


def penalty_of(module, z, carried=None):
    """The penalty of codes, and what was carried on and reported."""
    given = {"carried": carried or {}}
    return module.apply(given, SimpleNamespace(z=z), mutable=["carried", "metrics"])


def divergence(target, mean):
    return np.sum(rel_entr(target, mean) + rel_entr(1 - target, 1 - mean))


def slope(target, mean):
    return (1 - target) / (1 - mean) - target / mean


def test_kl_is_that_of_bernoulli_variables_and_so_is_its_gradient(x64):
    z = RNG.uniform(0.05, 0.95, size=(7, 5))
    value = lambda z: penalty_of(sparsity.kl_sparsity(0.2, 1.5), z)[0]  # noqa: E731
    np.testing.assert_allclose(value(z), 1.5 * divergence(0.2, z.mean(axis=0)), rtol=1e-12)
    direction = RNG.normal(size=z.shape)
    quotient = (value(z + 1e-6 * direction) - value(z - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(np.sum(jax.grad(value)(z) * direction), quotient, rtol=1e-7)
    np.testing.assert_allclose(value(np.full((3, 5), 0.2)), 0.0, atol=1e-12)
    assert np.isfinite(value(np.zeros((3, 5))))
    assert np.isfinite(value(np.ones((3, 5))))


def test_a_running_kl_is_taken_at_the_running_mean(x64):
    module, mean, carried = sparsity.kl_sparsity(0.1, 2.0, decay=0.6), 0.0, {}
    for n in range(1, 5):
        z = RNG.uniform(0.05, 0.95, size=(7, 5))
        mean = mean + max(1 / n, 0.4) * (z.mean(axis=0) - mean)
        before = carried
        if n == 1:
            before = module.init(KEY, SimpleNamespace(z=z))["carried"]
        value, gradient = jax.value_and_grad(lambda z, c=before: penalty_of(module, z, c)[0])(z)
        np.testing.assert_allclose(value, 2 * divergence(0.1, mean), rtol=1e-5)
        expected = np.broadcast_to(2 * slope(0.1, mean) / 7, z.shape)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)
        changed = penalty_of(module, z, before)[1]
        carried = changed["carried"]
        np.testing.assert_allclose(carried["mean_activation"], mean, rtol=1e-5)
        np.testing.assert_allclose(changed["metrics"]["mean_activation"], mean.mean(), rtol=1e-5)


def test_units_that_hardly_fire_are_revived_in_half_precision_too():
    """A bfloat16 mean of 0.002 is less than that dtype's epsilon, which must not clip it."""
    z = jnp.full((64, 3), 0.002, jnp.bfloat16)
    value, gradient = jax.value_and_grad(lambda z: penalty_of(sparsity.kl_sparsity(0.1, 1), z)[0])(
        z
    )
    np.testing.assert_allclose(value, divergence(0.1, np.full(3, 0.002)), rtol=0.02)
    np.testing.assert_allclose(np.float32(gradient), slope(0.1, 0.002) / 64, rtol=0.02)


def dictionary(penalties, code=None, latent_dim=9):
    model = jaxae.deep(6, latent_dim, networks=jaxae.dictionary, code=code, penalties=penalties)
    return model, jax.tree.map(lambda a: a + 0.1, model.init(KEY, {"x": X}))


@pytest.mark.parametrize("by_decoder_norm", [False, True])
def test_l1_is_the_sum_of_sizes_times_lengths_of_atoms(by_decoder_norm):
    model, params = dictionary([sparsity.l1(0.3, by_decoder_norm=by_decoder_norm)])
    z, atoms = model.encode(params, {"x": X}), params["decoder"]["layer_0"]["kernel"]
    lengths = np.linalg.norm(atoms, axis=1) if by_decoder_norm else 1.0
    penalty = jax.jit(lambda p: model.loss(p, KEY, {"x": X})[1]["penalty"])
    given = penalty(params)
    np.testing.assert_allclose(given, 0.3 * np.mean(np.sum(np.abs(z) * lengths, axis=1)), rtol=1e-5)
    wider = {**params, "decoder": {"layer_0": {"kernel": 3 * atoms}}}
    np.testing.assert_allclose(penalty(wider), (3 if by_decoder_norm else 1) * given, rtol=1e-5)


def test_l1_by_the_norms_of_a_deep_decoder_is_refused():
    model = jaxae.deep(6, 3, hidden_dims=(4,), penalties=[sparsity.l1(0.1, by_decoder_norm=True)])
    with pytest.raises(ValueError, match="one dense layer"):
        model.init(KEY, {"x": X})


def in_numpy(params, x, mask=1.0):
    """(x - pre_bias) · mask, h and the atoms of a dictionary."""
    layer, pre_bias = params["encoder"]["layer_0"], params["encoder"]["pre_bias"]
    centred = np.where(mask, x - np.asarray(pre_bias), 0)
    h = centred @ np.asarray(layer["kernel"]) + layer["bias"]
    return centred, h, np.asarray(params["decoder"]["layer_0"]["kernel"])


def largest(h, k):
    return np.where(np.argsort(np.argsort(-h, axis=1), axis=1) < k, np.maximum(h, 0), 0)


def revival(params, x, dead, k, aux_k, mask=1.0):
    """The normalised squared error of the error rebuilt from dead units, and which units fired."""
    centred, h, atoms = in_numpy(params, x, mask)
    z = largest(h, k)
    error = np.where(mask, centred - z @ atoms, 0)
    rebuilt = np.where(mask, largest(np.where(dead, h, 0), aux_k) @ atoms, 0)
    seen = np.broadcast_to(mask, x.shape).astype(bool)
    spread = np.sum((error - np.mean(error, axis=0, where=seen)) ** 2, where=seen)
    return np.sum((error - rebuilt) ** 2) / spread, (z > 0).any(axis=0)


@pytest.mark.parametrize("masked", [False, True])
def test_units_die_and_are_revived_as_computed_by_hand(masked):
    """A strong bias makes two units win every time, until at 8 examples the others are dead."""
    model = jaxae.top_k(6, 9, k=2, aux_k=3, aux_coefficient=0.25, dead_after=8)
    params = model.init(KEY, {"x": X})
    params["encoder"]["layer_0"]["bias"] = jnp.zeros(9).at[:2].set(9.0)
    mask = RNG.integers(2, size=X.shape) if masked else np.ones(X.shape, int)
    mask[:2] = 1
    learner, since = jaxae.gradient(model.loss, optax.sgd(1e-2)), np.zeros(9)
    state, step = learner.init(params, KEY), jax.jit(learner.step)
    seen = []
    for _ in range(5):
        x = RNG.normal(size=X.shape).astype(np.float32)
        dead = since >= 8
        nmse, fired = revival(state.params, x, dead, 2, 3, mask)
        state, metrics = step(state, KEY, {"x": x, **({"mask": mask} if masked else {})})
        assert metrics["dead_fraction"] == np.float32(dead.mean())
        np.testing.assert_allclose(metrics["penalty"], 0.25 * nmse * dead.any(), rtol=1e-4)
        since = np.where(fired, 0, since + 4)
        np.testing.assert_array_equal(jax.tree.leaves(state.params["carried"])[0], since)
        seen.append(dead.sum())
    assert seen[:3] == [0, 0, 7]


def with_the_dead(dead, k=2, **options):
    model = jaxae.top_k(6, 9, k=k, **options)
    params = model.init(KEY, {"x": X})
    carried = jax.tree.map(
        lambda a: jnp.where(jnp.isin(jnp.arange(9), dead), 1e9, 0.0), params["carried"]
    )
    return model, {**params, "carried": carried}


def test_revival_moves_the_best_dead_units_alone():
    dead = np.array([1, 4, 5, 8])
    model, params = with_the_dead(dead, aux_k=2)
    grads = jax.jit(jax.grad(lambda p: model.loss(p, KEY, {"x": X})[1]["penalty"]))(params)
    h = in_numpy(params, X)[1]
    chosen = (largest(np.where(np.isin(np.arange(9), dead), h, 0), 2) > 0).any(axis=0)
    assert 1 < chosen.sum() <= len(dead)
    for by_unit in (
        grads["encoder"]["layer_0"]["kernel"].T,
        grads["encoder"]["layer_0"]["bias"][:, None],
        grads["decoder"]["layer_0"]["kernel"],
    ):
        np.testing.assert_array_equal((by_unit != 0).any(axis=1), chosen)


def test_hidden_rows_and_a_lone_row_do_not_blow_revival_up():
    model, params = with_the_dead(np.array([1, 4]), aux_k=2)
    evaluate = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
    alone = evaluate(params, KEY, {"x": X})[0][1]["penalty"]
    more, mask = np.concatenate([X, X]), np.repeat([1, 0], 4)
    hidden = evaluate(params, KEY, {"x": more, "mask": mask})[0][1]["penalty"]
    np.testing.assert_allclose(hidden, alone, rtol=1e-5)
    (loss, _), grads = evaluate(params, KEY, {"x": X[:1]})
    assert np.isfinite(loss)
    assert loss < 1e3
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_the_gate_is_trained_through_a_frozen_decoder(x64):
    model, params = dictionary([sparsity.gate(0.3)], jaxae.codes.Gated())
    shut = {**params, "code": {"r": params["code"]["r"], "bias": params["code"]["bias"] - 99}}
    by = lambda name: jax.jit(jax.grad(lambda p: model.loss(p, KEY, {"x": X})[1][name]))  # noqa: E731
    reconstruction, gate = by("distortion")(shut), by("penalty")(shut)
    assert not np.any(reconstruction["encoder"]["layer_0"]["kernel"])
    centred, h, atoms = in_numpy(shut, X)
    opened = np.maximum(h, 0)
    error = opened @ atoms - centred
    value = 0.3 * opened.sum() / 4 + 0.5 * np.sum(error**2) / 4 + 6 * CONSTANT
    np.testing.assert_allclose(model.loss(shut, KEY, {"x": X})[1]["penalty"], value, rtol=1e-5)
    by_h = (h > 0) * (0.3 + error @ atoms.T) / 4
    kernel = gate["encoder"]["layer_0"]["kernel"]
    np.testing.assert_allclose(kernel, centred.T @ by_h, rtol=1e-4, atol=1e-6)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([gate["decoder"], gate["code"]]))


def test_nested_losses_are_the_mean_over_prefixes():
    model, params = dictionary([sparsity.nested([2, 5, 9])])
    centred, z, atoms = in_numpy(params, X)
    nats = [
        0.5 * np.sum((centred - z[:, :m] @ atoms[:m]) ** 2) / 4 + 6 * CONSTANT for m in (2, 5, 9)
    ]
    loss, metrics = model.loss(params, KEY, {"x": X})
    np.testing.assert_allclose(loss, np.mean(nats), rtol=1e-5)
    np.testing.assert_allclose(metrics["distortion"], nats[-1], rtol=1e-5)


@pytest.mark.parametrize("prefixes", [[], [3, 3, 9], [5, 2, 9], [0, 9]])
def test_prefixes_rise_from_one(prefixes):
    with pytest.raises(ValueError, match="rising positive"):
        sparsity.nested(prefixes)


def test_the_last_prefix_is_the_whole_code():
    with pytest.raises(ValueError, match=r"whole code, 9; got \[2, 5\]"):
        dictionary([sparsity.nested([2, 5])])[0].init(KEY, {"x": X})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sparsity.kl_sparsity(1.0, 1.0), "sparsity_target"),
        (lambda: sparsity.kl_sparsity(0.1, -1.0), "sparsity_weight"),
        (lambda: sparsity.kl_sparsity(0.1, 1.0, decay=1.0), "decay"),
        (lambda: sparsity.l1(-0.1), "l1_coefficient"),
        (lambda: sparsity.gate(np.nan), "l1_coefficient"),
        (lambda: sparsity.aux_k(0), "aux_k"),
        (lambda: sparsity.aux_k(3, -1.0), "aux_coefficient"),
        (lambda: sparsity.aux_k(3, dead_after=0), "dead_after"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
