"""Recurrent networks, against a plain loop over steps in NumPy, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

import jaxae
from jaxae.models.networks.recurrent_pairs import recurrent

KEY = jax.random.key(0)
RNG = np.random.default_rng(1)
TIME, CHANNELS = 5, 2
X = RNG.normal(size=(4, TIME, CHANNELS)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 1]])
BATCH = {"x": X, "mask": MASK}


def build(variant=jaxae.deep, batch=BATCH, latent_dim=3, **options):
    options = {"hidden_dims": (4,), "networks": recurrent, **options}
    model = variant((TIME, CHANNELS), latent_dim, **options)
    params = model.init(KEY, batch)
    leaves, tree = jax.tree.flatten(params)
    # away from biases of 0 and orthogonal kernels
    moved = [a + 0.3 * RNG.normal(size=a.shape).astype(a.dtype) for a in leaves]
    return model, jax.tree.unflatten(tree, moved)


def affine(p, x):
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p.get("bias", 0.0), np.float64)


def stepped(p, cell, from_x, carry):
    """One step of one row."""
    state = carry[0] @ np.asarray(p["state"]["kernel"], np.float64)
    if cell == "gru":
        (a, b, c), (d, e, f) = np.split(from_x, 3), np.split(state, 3)
        r, u = expit(a + d), expit(b + e)
        new = np.tanh(c + r * (f + np.asarray(p["state"]["bias"], np.float64)))
        return ((1 - u) * new + u * carry[0],)
    i, f, g, o = np.split(from_x + state, 4)
    memory = expit(f) * carry[1] + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(memory), memory


def run(p, cell, from_x, present, carry, reverse):
    """The outputs of one row at its present steps, zeros elsewhere, and the last state."""
    out = np.zeros((len(present), len(carry[0])))
    steps = [t for t in range(len(present)) if present[t]]
    for t in reversed(steps) if reverse else steps:
        carry = stepped(p, cell, from_x[t], carry)
        out[t] = carry[0]
    return out, carry[0]


def encode(p, cell, x, present, layers, bidirectional):
    """The code of one row."""
    for i in range(layers):
        ends = []
        for name, reverse in (("", False), ("_reverse", True))[: 1 + bidirectional]:
            layer = p[f"layer_{i}{name}"]
            n = layer["state"]["kernel"].shape[0]
            zeros = (np.zeros(n),) * (2 if cell == "lstm" else 1)
            ends.append(run(layer, cell, affine(layer["input"], x), present, zeros, reverse))
        x = np.concatenate([out for out, _ in ends], axis=1)
    return affine(p["code"], np.concatenate([last for _, last in ends]))


def decode(p, cell, z, present, layers, backwards, previous=None, write=None):
    """What the decoder gives one row at its present steps, zeros elsewhere."""
    carried = 2 if cell == "lstm" else 1
    widths = [p[f"layers_{i}"]["state"]["kernel"].shape[0] for i in range(layers)]
    starts = iter(np.split(np.tanh(affine(p["start"], z)), np.cumsum(np.repeat(widths, carried))))
    carries = [tuple(next(starts) for _ in range(carried)) for _ in widths]
    channels = p["output"]["kernel"].shape[1]
    out, before = np.zeros((len(present), channels)), np.zeros(CHANNELS)
    steps = [t for t in range(len(present)) if present[t]]
    for t in reversed(steps) if backwards else steps:
        h = affine(p["layers_0"]["input"], z)
        if "previous" in p:
            h = h + affine(p["previous"], before)
        for i in range(layers):
            h = h if i == 0 else affine(p[f"layers_{i}"]["input"], h)
            carries[i] = stepped(p[f"layers_{i}"], cell, h, carries[i])
            h = carries[i][0]
        out[t] = affine(p["output"], h)
        before = previous[t] if previous is not None else write(out[t]) if write else before
    return out


@pytest.mark.parametrize(
    ("cell", "hidden_dims", "bidirectional", "backwards"),
    [("gru", (4,), False, True), ("gru", (4, 3), True, False), ("lstm", (4, 3), True, True)],
)
def test_codes_and_reconstructions_are_those_of_a_loop(cell, hidden_dims, bidirectional, backwards):
    how = {"cell": cell, "bidirectional": bidirectional, "backwards": backwards}
    model, params = build(hidden_dims=hidden_dims, **how)
    z = model.encode(params, BATCH)
    x_hat = model.decode(params, z, model.context(BATCH))
    layers = len(hidden_dims)
    for row in range(len(X)):
        there = MASK[row] != 0
        code = encode(params["encoder"], cell, X[row], there, layers, bidirectional)
        np.testing.assert_allclose(z[row], code, atol=2e-5)
        expected = decode(params["decoder"], cell, code, there, layers, backwards)
        np.testing.assert_allclose(x_hat[row][there], expected[there], atol=5e-5)


def test_the_forget_gate_of_an_lstm_starts_open_and_kernels_for_the_state_are_orthogonal():
    model = jaxae.deep((TIME, CHANNELS), 3, networks=recurrent, hidden_dims=(4,), cell="lstm")
    layer = model.init(KEY, BATCH)["encoder"]["layer_0"]
    np.testing.assert_array_equal(layer["input"]["bias"], [0] * 4 + [1] * 4 + [0] * 8)
    for gate in np.split(np.asarray(layer["state"]["kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(4), atol=1e-6)


def padded():
    """BATCH with absent steps, of large numbers, in front, between and behind."""
    cuts = (X[:, :0], X[:, :2], X[:, 2:]), (MASK[:, :0], MASK[:, :2], MASK[:, 2:])
    junk = np.full((len(X), 2, CHANNELS), 1e3, np.float32), np.zeros((len(X), 2), int)
    x, mask = (
        np.concatenate([a for cut in parts for a in (cut, filler)], axis=1)
        for parts, filler in zip(cuts, junk, strict=True)
    )
    return {"x": x, "mask": mask}


@pytest.fixture(scope="module", params=["plain", "forced"])
def loop(request):
    """A model with all that has a direction, its parameters, and its jitted gradient."""
    how = {"hidden_dims": (4, 3), "bidirectional": True, "cell": "lstm"}
    if request.param == "forced":
        how = {"hidden_dims": (4,), "cell": "gru", "teacher_forcing": True, "backwards": False}
    model, params = build(**how)
    return model, params, jax.jit(jax.value_and_grad(lambda p, b: model.loss(p, KEY, b)[0]))


def test_padding_anywhere_changes_no_loss_code_or_gradient(loop):
    model, params, gradient = loop
    other = padded()
    assert other["mask"].tolist()[0] == [0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(
        model.encode(params, other), model.encode(params, BATCH), rtol=1e-6, atol=1e-6
    )
    (loss, grads), (expected, wanted) = gradient(params, other), gradient(params, BATCH)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, wanted)


def test_a_batch_of_mixed_lengths_equals_its_sequences_one_by_one(loop):
    _, params, gradient = loop
    losses, grads = zip(
        *(gradient(params, {"x": x[None, there]}) for x, there in zip(X, MASK != 0, strict=True)),
        strict=True,
    )
    loss, wanted = gradient(params, BATCH)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    mean = jax.tree.map(lambda *a: np.mean(a, axis=0), *grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mean, wanted)


def test_a_step_is_present_where_any_of_its_channels_is(loop):
    model, params, _ = loop
    whole = np.repeat(MASK[..., None], CHANNELS, axis=2)
    some = whole.copy()
    some[0, 1, 0] = 0
    x = np.where(some, X, 0).astype(np.float32)
    np.testing.assert_array_equal(
        model.encode(params, {"x": X, "mask": some}),
        model.encode(params, {"x": x, "mask": MASK}),
    )
    np.testing.assert_array_equal(model.context({"x": X, "mask": some})["mask"], MASK != 0)
    np.testing.assert_array_equal(
        model.encode(params, {"x": X}), model.encode(params, {"x": X, "mask": np.ones_like(whole)})
    )


@pytest.mark.parametrize("backwards", [True, False])
def test_the_forced_loss_is_that_of_each_step_given_those_before_and_the_code(backwards):
    model, params = build(teacher_forcing=True, backwards=backwards)
    nats = 0.0
    for x, present in zip(X, MASK != 0, strict=True):
        code = encode(params["encoder"], "gru", x, present, 1, False)
        out = decode(params["decoder"], "gru", code, present, 1, backwards, previous=x)
        squares = (x - out)[present] ** 2
        nats += 0.5 * (squares + np.log(2 * np.pi)).sum() / len(X)
    np.testing.assert_allclose(jax.jit(model.loss)(params, KEY, BATCH)[0], nats, rtol=1e-5)


def test_in_use_a_forced_decoder_is_given_what_it_wrote_and_sees_no_x():
    hidden_dims = (4, 3)
    model, params = build(
        teacher_forcing=True, feedback="tanh", hidden_dims=hidden_dims, cell="lstm"
    )
    z, given = model.encode(params, BATCH), model.context(BATCH)
    assert set(given) == {"mask"}
    x_hat = model.decode(params, z, given)
    for row in range(len(X)):
        there = MASK[row] != 0
        expected = decode(
            params["decoder"], "lstm", z[row], there, len(hidden_dims), True, write=np.tanh
        )
        np.testing.assert_allclose(x_hat[row][there], expected[there], atol=5e-5)


def test_noise_is_for_the_encoder_and_not_for_what_a_forced_decoder_is_given():
    """All steps hidden, the code is that of nothing, and the steps before are still known."""
    hidden, params = build(teacher_forcing=True, corrupt=jaxae.corruptions.hiding(1.0))
    plain, _ = build(teacher_forcing=True)
    z = plain.encode(params, {**BATCH, "mask": np.zeros_like(MASK)})
    nats = 0.0
    for i, (x, there) in enumerate(zip(X, MASK != 0, strict=True)):
        out = decode(params["decoder"], "gru", z[i], there, 1, True, previous=x)
        nats += 0.5 * ((x - out)[there] ** 2 + np.log(2 * np.pi)).sum() / len(X)
    np.testing.assert_allclose(jax.jit(hidden.loss)(params, KEY, BATCH)[0], nats, rtol=1e-5)


def test_the_jacobian_of_a_recurrent_encoder_is_exact():
    model, params = build(bidirectional=True, hidden_dims=(3,), latent_dim=2)

    def check(params, x, rtol):
        def code(x, mask):
            return model.encode(params, {"x": x[None], "mask": mask[None]})[0]

        jacobian = jax.jit(jax.vmap(jax.jacfwd(code)))(x, jnp.asarray(MASK))
        expected = np.sum(np.asarray(jacobian, np.float64) ** 2, axis=(1, 2, 3))
        norm = jax.jit(lambda x: jaxae.squared_jacobian_norm(model.encode, params, x))
        np.testing.assert_allclose(norm({"x": x, "mask": MASK}), expected, rtol=rtol)
        assert (expected[1:] > 0.01).all()

    check(params, X, 1e-5)
    with jax.enable_x64(True):
        check(jax.tree.map(np.float64, params), X.astype(np.float64), 1e-10)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        (jaxae.contractive, {"corrupt": jaxae.corruptions.masking(0.2), "cell": "lstm"}),
        (jaxae.vae, {"teacher_forcing": True, "likelihood": jaxae.likelihoods.gaussian()}),
    ],
)
def test_variants_train_on_recurrent_networks(variant, options):
    model = variant((TIME, CHANNELS), 2, networks=recurrent, hidden_dims=(3,), **options)
    learner = jaxae.gradient(model.loss, optax.adam(0.03))
    state, key = jaxae.start(model, learner, BATCH, KEY)
    fit = jax.jit(lambda s, d, k: jaxae.fit(learner, s, d, k, epochs=100, batch_size=4))
    history = np.asarray(fit(state, BATCH, key)[1]["loss"])
    assert np.isfinite(history).all()
    assert history[-10:].mean() < history[:10].mean() - 0.5


def test_samples_have_all_steps_and_depend_on_the_key():
    model, params = build(jaxae.vae, likelihood=jaxae.likelihoods.gaussian(0.1))
    x = model.sample(params, KEY, 6)
    assert x.shape == (6, TIME, CHANNELS)
    assert not np.allclose(x, model.sample(params, jax.random.key(1), 6))


def test_forced_samples_of_a_categorical_feed_back_probabilities():
    x = np.eye(CHANNELS, dtype=np.float32)[RNG.integers(0, CHANNELS, size=(4, TIME))]
    likelihood = jaxae.likelihoods.categorical()
    how = {"teacher_forcing": True, "feedback": jax.nn.softmax, "likelihood": likelihood}
    model, params = build(jaxae.vae, {"x": x}, **how)
    drawn = np.asarray(model.sample(params, KEY, 6))
    assert drawn.shape == (6, TIME, CHANNELS)
    np.testing.assert_array_equal(drawn.sum(axis=2), 1)
    z = model.latent.prior(params, KEY, 2)

    def softmax(a):
        return np.exp(a - a.max()) / np.exp(a - a.max()).sum()

    for row, probabilities in zip(z, model.decode(params, z), strict=True):
        steps = np.ones(TIME, bool)
        out = decode(params["decoder"], "gru", row, steps, 1, True, write=softmax)
        np.testing.assert_allclose(probabilities, [softmax(a) for a in out], atol=2e-5)


def test_classes_reach_each_step_of_the_encoder_and_the_code_of_the_decoder():
    model = jaxae.conditional(
        jaxae.vae((TIME, CHANNELS), 2, networks=recurrent, hidden_dims=(4,),
                  likelihood=jaxae.likelihoods.gaussian(0.1)), 3
    )  # fmt: skip
    y = np.array([0, 1, 2, 0])
    batch = {**BATCH, "y": y}
    params = model.init(KEY, batch)
    assert params["encoder"]["layer_0"]["input"]["kernel"].shape == (CHANNELS + 3, 12)
    assert params["decoder"]["start"]["kernel"].shape == (2 + 3, 4)
    z = model.encode(params, batch)
    assert not np.allclose(z, model.encode(params, {**batch, "y": (y + 1) % 3}))
    x_hat = model.decode(params, z, model.context(batch))
    for i, there in enumerate(MASK != 0):
        joined = np.concatenate([z[i], np.eye(3)[y[i]]])
        expected = decode(params["decoder"], "gru", joined, there, 1, True)
        np.testing.assert_allclose(x_hat[i][there], expected[there], atol=2e-5)
    assert model.decode(params, z, y).shape == X.shape
    assert model.sample(params, KEY, 4).shape == (4, TIME, CHANNELS)
    assert np.isfinite(jax.jit(model.loss)(params, KEY, batch)[0])


def test_shorter_batches_and_types():
    model, params = build(dtype=jnp.bfloat16)
    short = {"x": X[:, :2]}
    z = model.encode(params, short)
    assert z.dtype == jnp.bfloat16
    assert params["encoder"]["layer_0"]["state"]["kernel"].dtype == jnp.float32
    assert model.decode(params, z, model.context(short)).shape == (4, 2, CHANNELS)
    assert model.decode(params, z).shape == (4, TIME, CHANNELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "tied"}, "no transpose"),
        ({"hidden_dims": ()}, r"hidden_dims=\(64,\)"),
        ({"hidden_dims": (4, 0)}, "positive integers"),
        ({"cell": "rnn"}, r"\['gru', 'lstm'\]"),
        ({"activation": "tanhh"}, "activation"),
        ({"kernel_init": "he"}, "kernel_init"),
        ({"feedback": "tanh"}, "teacher_forcing"),
        ({"teacher_forcing": True, "feedback": lambda out: out[..., :1]}, r"2 wide.*\(1,\)"),
        (
            {"teacher_forcing": True, "likelihood": jaxae.likelihoods.gaussian("per_entry")},
            r"out\[..., :2\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize("shape", [5, (5,), (5, 2, 1)])
def test_shapes_that_are_no_sequences_are_refused(shape):
    with pytest.raises(ValueError, match="time, channels"):
        recurrent(shape, 3)


def test_data_of_other_channels_and_masks_of_other_steps_are_refused():
    model, params = build()
    with pytest.raises(ValueError, match=r"\(batch, time, 2\)"):
        model.encode(params, {"x": X[..., :1]})
    with pytest.raises(ValueError, match="mask has shape"):
        model.context({"x": X, "mask": MASK[:, :3]})
