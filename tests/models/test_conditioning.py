import jax
import numpy as np
import pytest

import jaxae
from jaxae import evaluation

KEY = jax.random.key(3)
RNG = np.random.default_rng(8)
X = RNG.integers(0, 2, size=(6, 5)).astype(np.float32)
Y = np.array([0, 2, 1, 2, 0, 1])
ONE_HOT = np.eye(3, dtype=np.float32)[Y]
BATCH, GIVEN = {"x": X, "y": Y}, {"x": X, "context": ONE_HOT}


@pytest.fixture(scope="module")
def parts():
    plain = jaxae.vae(5, 2)
    model = jaxae.conditional(plain, 3)
    return plain, model, model.init(KEY, BATCH)


def test_labels_are_one_hot_contexts_everywhere(parts):
    plain, model, params = parts
    same = np.testing.assert_array_equal
    jax.tree.map(same, params, plain.init(KEY, GIVEN))
    assert params["encoder"]["layer_0"]["kernel"].shape == (5 + 3, 4)
    assert params["decoder"]["layer_0"]["kernel"].shape == (2 + 3, 5)
    assert model.loss(params, KEY, BATCH)[0] == plain.loss(params, KEY, GIVEN)[0]
    z = model.encode(params, BATCH)
    same(z, plain.encode(params, GIVEN))
    jax.tree.map(
        same, model.latent.draw(params, KEY, BATCH, 2), plain.latent.draw(params, KEY, GIVEN, 2)
    )
    jax.tree.map(same, model.latent.posterior(params, BATCH), plain.latent.posterior(params, GIVEN))
    same(model.latent.prior(params, KEY, 4), plain.latent.prior(params, KEY, 4))
    for inner, outer in (
        (plain.decode, model.decode),
        (plain.latent.masses, model.latent.masses),
        (lambda *a: plain.latent.emit(a[0], KEY, *a[1:]),
         lambda *a: model.latent.emit(a[0], KEY, *a[1:])),
    ):  # fmt: skip
        expected = inner(params, z, ONE_HOT)
        same(outer(params, z, Y), expected)
        same(outer(params, z, ONE_HOT), expected)


def test_a_context_in_the_batch_counts_before_its_labels(parts):
    plain, model, params = parts
    both = {**GIVEN, "y": (Y + 1) % 3}
    np.testing.assert_array_equal(model.encode(params, both), plain.encode(params, GIVEN))


def test_the_class_matters_to_codes_and_to_reconstructions(parts):
    _, model, params = parts
    z = model.encode(params, BATCH)
    assert not np.allclose(z, model.encode(params, {**BATCH, "y": (Y + 1) % 3}))
    assert not np.allclose(model.decode(params, z, Y), model.decode(params, z, (Y + 1) % 3))


def test_samples_are_of_the_classes_in_turn_unless_told_which(parts):
    plain, model, params = parts
    turns = np.eye(3, dtype=np.float32)[np.arange(7) % 3]
    np.testing.assert_array_equal(model.sample(params, KEY, 7), plain.sample(params, KEY, 7, turns))
    told = np.array([2, 2, 0, 1, 2, 0, 0])
    expected = plain.sample(params, KEY, 7, np.eye(3, dtype=np.float32)[told])
    np.testing.assert_array_equal(model.sample(params, KEY, 7, told), expected)


def test_the_bound_and_the_likelihood_are_measured_given_the_class(parts):
    _, model, params = parts
    metrics = evaluation.elbo(model, samples=20, batch_size=4)(params, KEY, BATCH)
    nats = evaluation.nll(model, samples=20, batch_size=4)(params, KEY, BATCH)
    assert nats.shape == (6,)
    assert nats.mean() < -metrics["elbo"] + 0.3


def test_gradients_pass_inside_jit_where_labels_are_traced(parts):
    plain, model, params = parts
    found = jax.jit(jax.grad(lambda p, b: model.loss(p, KEY, b)[0]))(params, BATCH)
    expected = jax.jit(jax.grad(lambda p, b: plain.loss(p, KEY, b)[0]))(params, GIVEN)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_deterministic_models_may_be_conditional():
    plain = jaxae.denoising(5, 2, noise_level=0.3)
    model = jaxae.conditional(plain, 3)
    params = model.init(KEY, BATCH)
    z = model.encode(params, BATCH)
    np.testing.assert_array_equal(z, plain.encode(params, GIVEN))
    np.testing.assert_array_equal(model.decode(params, z, Y), plain.decode(params, z, ONE_HOT))
    assert model.loss(params, KEY, BATCH)[0] == plain.loss(params, KEY, GIVEN)[0]
    with pytest.raises(ValueError, match="no prior"):
        model.sample(params, KEY, 3)


def test_the_conditional_vae_is_a_vae_made_conditional(parts):
    _, model, params = parts
    named = jaxae.conditional_vae(5, 2, num_classes=3)
    assert named.loss(params, KEY, BATCH)[0] == model.loss(params, KEY, BATCH)[0]


def test_labels_that_are_missing_or_no_classes_are_refused(parts):
    _, model, params = parts
    for function in (
        model.init,
        lambda key, batch: model.loss(params, key, batch),
        lambda key, batch: model.encode(params, batch),
        lambda key, batch: model.latent.draw(params, key, batch),
    ):
        with pytest.raises(ValueError, match=r'labels "y"'):
            function(KEY, {"x": X})
        with pytest.raises(ValueError, match=r"\[0, 3\); got 0 to 3"):
            function(KEY, {"x": X, "y": np.array([0, 1, 2, 3, 0, 1])})
        with pytest.raises(ValueError, match=r"\[0, 3\); got -1 to 1"):
            function(KEY, {"x": X, "y": np.array([0, 1, -1, 1, 0, 1])})
        with pytest.raises(ValueError, match="float32"):
            function(KEY, {"x": X, "y": Y.astype(np.float32)})
    z = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"\[0, 3\); got 1 to 5"):
        model.decode(params, z, np.array([1, 5]))
    with pytest.raises(ValueError, match=r"\[0, 3\); got 1 to 5"):
        model.sample(params, KEY, 2, np.array([1, 5]))


def test_labels_of_several_columns_are_refused(parts):
    """Of shape (n, 1) they would be taken for contexts of one number each."""
    with pytest.raises(ValueError, match="y"):
        parts[1].init(KEY, {"x": X, "y": Y[:, None]})


def test_decoding_without_a_class_says_that_one_is_needed(parts):
    _, model, params = parts
    with pytest.raises(ValueError, match="context"):
        model.decode(params, np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("num_classes", [1, 0, 2.5, "three"])
def test_a_number_of_classes_below_two_is_refused(num_classes):
    with pytest.raises(ValueError, match="num_classes"):
        jaxae.conditional(jaxae.vae(5, 2), num_classes)


def test_a_tied_decoder_takes_no_class():
    model = jaxae.conditional(jaxae.tied(5, 2), 3)
    with pytest.raises(ValueError, match=r"tied decoder.*context"):
        model.init(KEY, BATCH)


def test_reconstructions_are_measured_given_the_class(parts):
    """As the figures, the summary and the validation of a training are."""
    plain, model, params = parts
    x_hat = plain.decode(params, plain.encode(params, GIVEN), ONE_HOT)
    found = evaluation.reconstruction(model, batch_size=4)(params, BATCH)
    np.testing.assert_allclose(found["mse"], np.mean((X - x_hat) ** 2), rtol=1e-5)
    held = evaluation.validation(model, KEY)(params, BATCH)
    np.testing.assert_allclose(held["validation_mse"], found["mse"], rtol=1e-5)
