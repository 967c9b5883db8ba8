import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import evaluation
from jaxae.models.networks.recurrent_pairs import recurrent
from jaxae.models.token_models import one_hot, tokens

KEY = jax.random.key(0)
RNG = np.random.default_rng(2)
TIME, NUM = 4, 3
X = RNG.integers(0, NUM, size=(5, TIME))
MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 0]])
ROWS = np.eye(NUM, dtype=np.float32)[X]
BATCH, SAME = {"x": X, "mask": MASK}, {"x": ROWS, "mask": MASK}
PARTS = {"likelihood": jaxae.likelihoods.categorical(), "hidden_dims": (4,)}


@pytest.fixture(scope="module", params=["recurrent", "forced", "mlp"])
def parts(request):
    options = {} if request.param == "mlp" else {"networks": recurrent}
    if request.param == "forced":
        options |= {"teacher_forcing": True, "feedback": jax.nn.softmax}
    rows = jaxae.vae((TIME, NUM), 2, **PARTS, **options)
    model = tokens(rows, NUM)
    return rows, model, model.init(KEY, BATCH)


def test_integers_are_one_hot_rows_everywhere(parts):
    rows, model, params = parts
    same = np.testing.assert_array_equal
    jax.tree.map(same, params, rows.init(KEY, SAME))
    same(jax.jit(model.loss)(params, KEY, BATCH)[0], jax.jit(rows.loss)(params, KEY, SAME)[0])
    z = model.encode(params, BATCH)
    same(z, rows.encode(params, SAME))
    jax.tree.map(same, model.context(BATCH), rows.context(SAME))
    jax.tree.map(same, model.latent.draw(params, KEY, BATCH), rows.latent.draw(params, KEY, SAME))
    jax.tree.map(same, model.latent.posterior(params, BATCH), rows.latent.posterior(params, SAME))
    given = model.context(BATCH)
    drawn = model.latent.emit(params, KEY, z, given)
    same(np.eye(NUM)[drawn], rows.latent.emit(params, KEY, z, given))
    same(np.eye(NUM)[model.sample(params, KEY, 6)], rows.sample(params, KEY, 6))


def test_reconstructions_are_probabilities_and_the_loss_their_logarithms(parts):
    """Of what is observed alone, in nats: the distortion of a code without noise."""
    rows, model, params = parts
    z, given = model.encode(params, BATCH), model.context(BATCH)
    p = np.asarray(model.decode(params, z, given), np.float64)
    np.testing.assert_allclose(p.sum(axis=2), 1, rtol=1e-6)
    if rows.context(SAME) is None or "previous" not in params["decoder"]:
        draws = model.latent.draw(params, KEY, BATCH)
        p = np.asarray(model.decode(params, draws.z[0], given), np.float64)
        nats = -np.log(np.take_along_axis(p, X[..., None], axis=2)[..., 0])
        np.testing.assert_allclose(draws.distortion[0], (nats * MASK).sum(axis=1), rtol=1e-5)


def test_what_is_unobserved_may_be_any_number(parts):
    _, model, params = parts
    junk = {"x": np.where(MASK, X, -7), "mask": MASK}
    loss = jax.jit(model.loss)
    assert loss(params, KEY, junk)[0] == loss(params, KEY, BATCH)[0]
    np.testing.assert_array_equal(model.encode(params, junk), model.encode(params, BATCH))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8])
def test_whole_numbers_of_any_type_are_tokens(dtype):
    """Bytes are no pixels here, and `load` makes floats of integers."""
    np.testing.assert_array_equal(one_hot(X.astype(dtype), NUM), ROWS)


def test_they_are_learned_in_a_compiled_loop_over_integers():
    model = tokens(jaxae.deep((TIME, NUM), 4, networks=recurrent, **PARTS), NUM)
    learner = jaxae.gradient(model.loss, optax.adam(0.03))
    state, key = jaxae.start(model, learner, BATCH, KEY)
    fit = jax.jit(lambda s, d, k: jaxae.fit(learner, s, d, k, epochs=200, batch_size=5))
    params = fit(state, BATCH, key)[0].params
    p = model.decode(params, model.encode(params, BATCH), model.context(BATCH))
    np.testing.assert_array_equal(jnp.argmax(p, axis=2)[MASK != 0], X[MASK != 0])


def test_what_are_no_tokens_is_refused(parts):
    _, model, params = parts
    for function in (
        model.init,
        lambda key, batch: model.loss(params, key, batch),
        lambda key, batch: model.encode(params, batch),
        lambda key, batch: model.latent.draw(params, key, batch),
        lambda key, batch: model.context(batch),
    ):
        with pytest.raises(ValueError, match=r"\[0, 3\); got 0 to 3"):
            function(KEY, {"x": np.array([[0, 3]])})
        with pytest.raises(ValueError, match=r"\[0, 3\); got -1 to 2"):
            function(KEY, {"x": np.array([[-1, 2]]), "mask": np.ones((1, 2))})
        with pytest.raises(ValueError, match="fractions"):
            function(KEY, {"x": np.array([[0.5, 1.0]])})
        with pytest.raises(ValueError, match=r"\(batch, time\)"):
            function(KEY, {"x": np.array([1, 2])})
        with pytest.raises(ValueError, match="mask has shape"):
            function(KEY, {"x": X, "mask": MASK[:, :2]})


@pytest.mark.parametrize("num_tokens", [1, 2.5, "many"])
def test_a_number_of_tokens_below_two_is_refused(num_tokens):
    with pytest.raises(ValueError, match="num_tokens"):
        tokens(jaxae.deep((TIME, NUM), 2, **PARTS), num_tokens)


def test_evaluation_of_tokens_is_the_share_of_observed_ones_that_are_most_probable(parts):
    _, model, params = parts
    x_hat = model.decode(params, model.encode(params, BATCH), model.context(BATCH))
    right = (np.argmax(np.asarray(x_hat), axis=2) == X)[MASK == 1].mean()
    found = evaluation.reconstruction(model, batch_size=2)(params, BATCH)
    assert set(found) == {"token_accuracy"}
    assert found["token_accuracy"] == pytest.approx(right, rel=1e-6)
    held = evaluation.validation(model, KEY)(params, BATCH)
    assert held["validation_token_accuracy"] == pytest.approx(right, rel=1e-6)
