"""The notes say what is wrong, and nothing where nothing is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae.base import Autoencoder
from jaxae.evaluation import doctor

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def binary():
    """Rows of two prototypes with a few flips: one bit that a code needs."""
    rng = np.random.default_rng(0)
    prototypes = np.stack([np.repeat([0, 1], 6), np.repeat([1, 0], 6)])
    y = rng.integers(0, 2, 400)
    x = np.where(rng.random((400, 12)) < 0.05, 1 - prototypes[y], prototypes[y])
    return {"x": x.astype(np.float32)}


def trained(model, data, epochs=60):
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    state, key = jaxae.start(model, learner, data, KEY)
    fit = jax.jit(lambda s, k: jaxae.fit(learner, s, data, k, epochs=epochs, batch_size=50))
    return fit(state, key)[0].params


def starts(notes):
    return [note.partition(":")[0] for note in notes]


@pytest.fixture(scope="module")
def healthy(binary):
    return trained(jaxae.vae(12, 1, hidden_dims=(16,)), binary)


def test_a_trained_vae_on_binary_data_has_no_notes_and_so_has_an_iwae(binary, healthy):
    model = jaxae.vae(12, 1, hidden_dims=(16,))
    assert doctor.diagnose(model, healthy, KEY, binary) == []
    tight = jaxae.iwae(12, 1, hidden_dims=(16,), samples=20)
    assert doctor.diagnose(tight, healthy, KEY, binary) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 4.0}, "the rate weighs 4 in it"),
        ({"beta": 0.0}, "the rate weighs 0 in it"),
        ({"free_bits": 5.0}, "it counts a rate of 5 nats where the codes cost"),
        ({"capacity": 20.0}, "it counts a rate of"),
        ({"penalties": [lambda forward: jnp.asarray(3.0)]}, "penalties of 3 nats"),
    ],
)
def test_a_loss_that_is_no_elbo_is_told_by_its_own_numbers(options, words, binary, healthy):
    model = jaxae.vae(12, 1, hidden_dims=(16,), **options)
    notes = doctor.diagnose(model, healthy, KEY, binary)
    assert starts(notes) == ["The loss is no ELBO"]
    assert words in notes[0]


def test_a_weight_that_is_told_is_believed(binary, healthy):
    model = jaxae.vae(12, 1, hidden_dims=(16,))
    notes = doctor.diagnose(model, healthy, KEY, binary, beta=0.5)
    assert "the rate weighs 0.5 in it" in notes[0]


@pytest.mark.parametrize(("factor", "words"), [(1 / 12, "mean over entries"), (400.0, "the sum")])
def test_a_mean_over_entries_or_a_sum_over_examples_is_told(factor, words, binary, healthy):
    model = jaxae.vae(12, 1, hidden_dims=(16,))
    odd = model._replace(loss=lambda *given: (factor * model.loss(*given)[0], {}))
    (note,) = doctor.diagnose(odd, healthy, KEY, binary)
    assert words in note


def test_codes_that_say_nothing_are_a_posterior_collapse_and_idle_units_are_counted(
    binary, healthy
):
    model = jaxae.vae(12, 1, hidden_dims=(16,))
    last = jax.tree.map(jnp.zeros_like, healthy["encoder"]["layer_1"])
    dumb = {**healthy, "encoder": {**healthy["encoder"], "layer_1": last}}
    notes = doctor.diagnose(model, dumb, KEY, binary)
    assert "0 of 1 units are active" in notes[0]
    assert starts(notes) == ["Posterior collapse"]
    wide = jaxae.vae(12, 8, hidden_dims=(16,))
    params = trained(wide, binary)
    (note,) = doctor.diagnose(wide, params, KEY, binary)
    means = np.asarray(wide.encode(params, binary))
    active = int((means.var(0) > 0.01).sum())
    assert active < 4
    assert f"Posterior collapse of some units: {active} of 8 are active" in note


def test_grey_values_under_a_bernoulli_likelihood_have_the_floor_of_their_entropy(binary, healthy):
    x = np.clip(binary["x"], 0.2, 0.9)
    model = jaxae.vae(12, 1, hidden_dims=(16,))
    notes = doctor.diagnose(model, healthy, KEY, {"x": x})
    floor = np.mean(np.sum(-x * np.log(x) - (1 - x) * np.log(1 - x), axis=1))
    assert "100% of the entries" in notes[0]
    assert f"a floor of {floor:.2f} nats" in notes[0]
    assert starts(notes)[0] == "Grey values under a Bernoulli likelihood"
    masked = doctor.grey_floor(x, np.arange(12)[None] < np.full((400, 1), 3))
    np.testing.assert_allclose(
        masked,
        np.sum((-x * np.log(x) - (1 - x) * np.log(1 - x))[:, :3], axis=1),
        rtol=1e-5,
    )
    bytes_ = (255 * binary["x"]).astype(np.uint8)
    assert np.all(np.asarray(doctor.grey_floor(bytes_)) == 0)


@pytest.mark.parametrize(("levels", "noted"), [(11, False), (256, True)])
def test_values_beside_the_levels_are_told(levels, noted, binary):
    data = {"x": np.round(np.random.default_rng(1).random((50, 12)) * 10) / 10}
    model = jaxae.vae(12, 1, likelihood=jaxae.likelihoods.discretised_logistic(levels))
    data = {"x": data["x"].astype(np.float32)}
    params = model.init(KEY, data)
    assert doctor.levels_of(model, params, data) == levels
    notes = doctor.diagnose(model, params, KEY, data)
    assert any(note.startswith("Values beside the levels") for note in notes) == noted


def test_the_perplexity_of_a_codebook_is_that_of_the_counts_and_a_collapse_is_told():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(300, 4)).astype(np.float32)}
    model = jaxae.vq_vae(4, 4, num_embeddings=32, embedding_dim=2)
    params = model.init(KEY, data)
    book = np.asarray(params["carried"]["code"]["codebook"], np.float64)
    v = np.asarray(model.encode(params, data), np.float64).reshape(-1, 2)
    index = np.argmin(((v[:, None] - book) ** 2).sum(2), axis=1)
    share = np.bincount(index, minlength=32) / len(index)
    found = jax.jit(doctor.codebook_usage(model, batch_size=70))(params, data)
    entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
    np.testing.assert_allclose(found["perplexity"], np.exp(entropy), rtol=1e-5)
    assert int(found["used"]) == (share > 0).sum()
    assert doctor.diagnose(model, params, KEY, data) == []
    far = jnp.asarray(book).at[1:].add(100.0).astype(jnp.float32)
    code = {**params["carried"]["code"], "codebook": far}
    notes = doctor.diagnose(model, {**params, "carried": {"code": code}}, KEY, data)
    assert "1 of 32 embeddings are in use, with a perplexity of 1.0" in notes[0]
    with pytest.raises(ValueError, match="no codebook"):
        doctor.codebook_usage(model)({}, data)


def test_bits_that_never_change_are_dead():
    rng = np.random.default_rng(0)
    data = {"x": rng.integers(0, 2, (100, 5)).astype(np.float32)}
    model = jaxae.semantic_hashing(5, 3, noise_level=1.0)
    params = model.init(KEY, data)
    kernel = np.zeros((5, 3), np.float32)
    kernel[0, 0], bias = 10.0, np.array([-5.0, 1.0, -1.0], np.float32)
    params["encoder"]["layer_0"] = {"kernel": kernel, "bias": bias}
    notes = doctor.diagnose(model, params, KEY, data, bits=True)
    assert starts(notes) == ["Dead bits"]
    assert "2 of 3 are the same in all 100 rows" in notes[0]
    assert doctor.diagnose(model, params, KEY, data) == []


def test_what_has_no_codes_or_no_rows_is_refused(binary):
    machine = Autoencoder(None, None, None, None, None)
    with pytest.raises(ValueError, match="no likelihood"):
        doctor.diagnose(machine, {}, KEY, binary)
    model = jaxae.vae(12, 1)
    with pytest.raises(ValueError, match="number of rows"):
        doctor.diagnose(model, {}, KEY, {"x": binary["x"][:1]})
