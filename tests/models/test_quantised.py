import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist

import jaxae
from jaxae import codes

KEY = jax.random.key(5)
RNG = np.random.default_rng(3)


def code_of(**options):
    """Codes of two vectors of three numbers each, of a book of four."""
    return codes.VectorQuantised(6, **{"num_embeddings": 4, "embedding_dim": 3, **options})


def start(code, h):
    variables = code.init({"params": KEY, "code": KEY}, jnp.asarray(h))
    return {name: variables[name] for name in ("carried", "params") if name in variables}


def called(code, variables, h, **options):
    """Codes, rate and what changed."""
    out, changed = code.apply(
        variables, jnp.asarray(h), rngs={"code": KEY}, mutable=["carried", "metrics"], **options
    )
    return *out, changed


def book_of(variables):
    for name in ("carried", "params"):
        if "codebook" in variables.get(name, {}):
            return np.asarray(variables[name]["codebook"], np.float64)
    raise AssertionError(variables)


def quantised(book, h):
    """The nearest of the book by all distances, and which it is."""
    index = cdist(h.reshape(-1, book.shape[1]), book).argmin(1)
    return book[index].reshape(h.shape), index


@pytest.mark.parametrize("decay", [0.9, None])
@pytest.mark.parametrize("shape", [(5, 6), (5, 2, 2, 6)])
def test_vectors_become_the_nearest_embedding_and_indices_cost_their_nats(decay, shape):
    code, h = code_of(decay=decay), RNG.normal(size=shape)
    variables = start(code, h)
    expected, index = quantised(book_of(variables), h)
    assert len(set(index)) > 1
    for options in ({"train": True}, {"train": False}, {"method": "draw"}):
        z, rate, _ = called(code, variables, h, **options)
        np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
        assert rate.shape == (5,)
        if options == {"method": "draw"}:
            np.testing.assert_allclose(rate, np.prod(shape[1:]) / 3 * np.log(4), rtol=1e-6)
        elif not options["train"]:
            np.testing.assert_array_equal(rate, np.zeros(5))


@pytest.mark.parametrize("decay", [0.9, None])
def test_the_gradient_passes_straight_through_and_commits_h_and_moves_only_a_learned_book(
    decay, x64
):
    code, h = code_of(decay=decay, commitment=0.3), RNG.normal(size=(5, 6))
    variables = jax.tree.map(lambda a: a.astype(jnp.float64), start(code, h))
    weights = RNG.normal(size=(5, 6))
    expected, index = quantised(book_of(variables), h)

    def through(variables, h):
        return jnp.sum(weights * called(code, variables, h)[0])

    def cost(variables, h):
        return jnp.sum(called(code, variables, h)[1])

    squares = np.sum((h - expected) ** 2)
    np.testing.assert_allclose(cost(variables, h), (0.3 + (decay is None)) * squares, rtol=1e-6)
    of_book, of_h = jax.grad(through, (0, 1))(variables, h)
    np.testing.assert_allclose(of_h, weights, rtol=1e-10)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_book))
    of_book, of_h = jax.grad(cost, (0, 1))(variables, h)
    np.testing.assert_allclose(of_h, 2 * 0.3 * (h - expected), rtol=1e-6, atol=1e-10)
    slope = np.zeros((4, 3))
    if decay is None:
        np.add.at(slope, index, 2 * (expected - h).reshape(-1, 3))
    np.testing.assert_allclose(book_of(of_book), slope, rtol=1e-6, atol=1e-10)


def test_the_book_follows_the_running_means_as_numpy_does():
    code, h = code_of(decay=0.8, restart_after=0), RNG.normal(size=(5, 6))
    variables = start(code, h)
    book, counts = book_of(variables), np.ones(4)
    sums = book.copy()
    for _ in range(6):
        h = RNG.normal(size=(5, 6)) + 0.5
        _, _, changed = called(code, variables, h)
        _, index = quantised(book, h)
        chose = np.eye(4)[index]
        share = chose.mean(0)
        entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
        np.testing.assert_allclose(changed["metrics"]["perplexity"], np.exp(entropy), rtol=1e-4)
        counts = 0.8 * counts + 0.2 * chose.sum(0)
        sums = 0.8 * sums + 0.2 * chose.T @ h.reshape(-1, 3)
        book = sums / counts[:, None]
        variables = {"carried": changed["carried"]}
        np.testing.assert_allclose(book_of(variables), book, rtol=1e-4, atol=1e-5)


def test_an_embedding_that_no_vector_chose_for_so_long_starts_again_as_a_vector():
    code = code_of(restart_after=3, decay=0.9)
    h = RNG.normal(size=(5, 6)).astype(np.float32)
    variables = start(code, h)
    book = np.concatenate([h.reshape(-1, 3)[:3], np.full((1, 3), 50.0)]).astype(np.float32)
    variables["carried"] |= {"codebook": book, "sums": book, "unused": np.zeros(4, np.float32)}
    for step in range(1, 5):
        before = book_of(variables)[3]
        _, _, changed = called(code, variables, h)
        variables = {"carried": changed["carried"]}
        last = book_of(variables)[3]
        if step <= 3:
            np.testing.assert_allclose(last, before, rtol=1e-5)  # none chose it; it stays
            assert changed["metrics"]["dead_fraction"] == 0
            assert variables["carried"]["unused"][3] == step
    assert changed["metrics"]["dead_fraction"] == 0.25
    assert variables["carried"]["unused"][3] == 0
    assert np.min(np.abs(h.reshape(-1, 3) - last).max(1)) < 1e-6
    assert np.all(np.isfinite(book_of(variables)))


def test_the_book_starts_among_the_vectors_of_the_first_batch():
    code, h = code_of(), RNG.normal(size=(5, 6)).astype(np.float32) + 30
    variables = start(code, h)
    used = set(quantised(book_of(variables), h)[1])
    changed = called(code, variables, h)[2]
    for i in set(range(4)) - used:
        near = np.abs(h.reshape(-1, 3) - book_of(changed)[i]).max(1)
        assert near.min() < 1e-4


def test_unused_embeddings_without_restart_stay_finite_for_ever():
    code, h = code_of(restart_after=0, decay=0.5), np.zeros((5, 6), np.float32)
    variables = start(code, h)
    step = jax.jit(lambda variables: called(code, variables, h)[2]["carried"])
    for _ in range(200):
        variables = {"carried": step(variables)}
    assert np.all(np.isfinite(book_of(variables)))


def test_use_and_evaluation_leave_the_book_as_it_is_and_training_does_not():
    x = RNG.normal(size=(8, 5)).astype(np.float32)
    model = jaxae.vq_vae(5, 4, num_embeddings=3, embedding_dim=2, samples=2)
    params = model.init(KEY, {"x": x})
    first = jax.tree.map(np.asarray, params["carried"])
    for train in (False, True):
        _, changed = codes.VectorQuantised(4, 3, 2).apply(
            {"carried": params["carried"]["code"]},
            x[:, :4],
            train=train,
            rngs={"code": KEY},
            mutable=["carried", "metrics"],
        )
        same = np.array_equal(changed["carried"]["codebook"], first["code"]["codebook"])
        assert same != train
    drawn = model.latent.draw(params, KEY, {"x": x}, 3)
    z = model.encode(params, {"x": x})
    np.testing.assert_allclose(drawn.z, np.stack([z] * 3), rtol=1e-6)
    np.testing.assert_allclose(drawn.rate, np.full((3, 8), 2 * np.log(3)), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, first, params["carried"])
    learner = jaxae.gradient(model.loss, optax.sgd(0.1))
    state, metrics = learner.step(learner.init(params, KEY), KEY, {"x": x})
    assert not np.array_equal(
        state.params["carried"]["code"]["codebook"], first["code"]["codebook"]
    )
    assert {"perplexity", "dead_fraction"} < set(metrics)


def test_a_book_that_descends_is_learned_and_carries_nothing():
    x = RNG.normal(size=(8, 5)).astype(np.float32)
    model = jaxae.vq_vae(5, 4, num_embeddings=3, decay=None)
    params = model.init(KEY, {"x": x})
    assert "carried" not in params
    assert params["code"]["codebook"].shape == (3, 4)
    learner = jaxae.gradient(model.loss, optax.sgd(0.1))
    state, _ = learner.step(learner.init(params, KEY), KEY, {"x": x})
    assert not np.array_equal(state.params["code"]["codebook"], params["code"]["codebook"])


def test_prior_codes_are_embeddings_at_even_odds_for_each_vector():
    x = RNG.normal(size=(8, 5)).astype(np.float32)
    model = jaxae.vq_vae(5, 4, num_embeddings=3, embedding_dim=2)
    params = model.init(KEY, {"x": x})
    z = np.asarray(model.latent.prior(params, KEY, 3_000))
    assert z.shape == (3_000, 4)
    book = book_of({"carried": params["carried"]["code"]})
    near, index = quantised(book, z)
    np.testing.assert_allclose(z, near, rtol=1e-6)
    pairs = np.bincount(index.reshape(-1, 2) @ [3, 1], minlength=9) / 3_000
    assert np.abs(pairs - 1 / 9).max() < 4.5 * np.sqrt(1 / 9 * 8 / 9 / 3_000)
    assert model.sample(params, KEY, 7).shape == (7, 5)


def test_a_quantised_code_has_no_posterior():
    code, h = code_of(), RNG.normal(size=(5, 6))
    with pytest.raises(ValueError, match=r"posterior.*codes\.Gaussian"):
        code.apply(start(code, h), jnp.asarray(h), method="posterior")


def test_a_length_of_vectors_that_does_not_divide_the_code_is_refused():
    batch = {"x": np.zeros((2, 8), np.float32)}
    with pytest.raises(ValueError, match=r"6.*embedding_dim=4.*divide"):
        jaxae.vq_vae(8, 6, embedding_dim=4).init(KEY, batch)


@pytest.mark.parametrize(
    "options",
    [
        {"num_embeddings": 0},
        {"embedding_dim": 0},
        {"embedding_dim": -2},
        {"commitment": -0.1},
        {"decay": 1.0},
        {"decay": 0.0},
        {"restart_after": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        jaxae.vq_vae(8, 4, **options).init(KEY, {"x": np.zeros((2, 8), np.float32)})
