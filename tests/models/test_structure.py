"""What a traced encoder is made of, which routes suit it, and what they are reckoned to cost."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.models.jacobians import METHODS, explain, squared_jacobian_norm
from jaxae.models.structure import NoStructureError, after_first_layer, chain, count

ANY = {"jacfwd", "jacrev", "hutchinson"}
GRAM = ANY | {"gram_jacfwd", "gram_jacrev"}
CHAIN = GRAM | {"chain"}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6)).astype(np.float32)
W, SQUARE, V = (RNG.normal(size=s).astype(np.float32) for s in ((6, 5), (5, 5), (5, 4)))
PARAMS = {"w": W, "square": SQUARE, "v": V}


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (2, 2), strides=2)(x.reshape(-1, 4, 4, 1)))
        return nn.Dense(4)(nn.tanh(nn.Conv(2, (2, 2))(x)).reshape(len(x), -1))


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.GRUCell(5))(x)[:, -1]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.tanh(nn.LayerNorm()(nn.Dense(7)(x))))


class Remembered(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.remat(nn.Dense)(4)(nn.tanh(nn.Dense(7)(x)))


def top_k(z, k=2):
    least = jax.lax.top_k(z, k)[0][:, -1:]
    return jnp.where(z >= least, z, 0.0)


def hidden(p, batch):
    return jnp.tanh(batch["x"] @ p["w"])


def printed(p, batch):
    z = hidden(p, batch)
    jax.debug.callback(lambda x: None, batch["x"])
    return z


FUNCTIONS = {
    "one layer": (lambda p, b: hidden(p, b), CHAIN | {"closed_form"}),
    "two layers": (lambda p, b: jax.nn.silu(hidden(p, b) @ p["v"]), CHAIN),
    "scaled input": (lambda p, b: jnp.tanh(jnp.sin(b["x"]) @ p["w"]), ANY | {"chain"}),
    "gated by itself": (lambda p, b: hidden(p, b) * (b["x"] @ p["w"]), ANY),
    "two functions of a layer": (
        lambda p, b: (lambda a: jnp.tanh(a) * jnp.where(a > 0, a, 0.1 * a))(b["x"] @ p["w"]),
        CHAIN | {"closed_form"},
    ),
    "straight through": (
        lambda p, b: (lambda h: h + jax.lax.stop_gradient(jnp.round(h) - h))(hidden(p, b)),
        CHAIN | {"closed_form"},
    ),
    "skip of the input": (lambda p, b: hidden(p, b) @ p["square"] + b["x"][:, :5], ANY),
    "skip of a layer": (lambda p, b: (lambda h: h + jnp.tanh(h @ p["square"]))(hidden(p, b)), GRAM),
    "top k": (lambda p, b: top_k(hidden(p, b) @ p["v"]), GRAM),
    "softmax": (lambda p, b: jax.nn.softmax(b["x"] @ p["w"]), GRAM),
    "side by side": (
        lambda p, b: jnp.concatenate([hidden(p, b), jax.nn.relu(b["x"] @ p["w"])], axis=1),
        ANY,
    ),
    "kernel on the left": (lambda p, b: jnp.tanh((p["w"].T @ b["x"].T).T), ANY),
    "complex": (lambda p, b: jnp.abs(b["x"] @ (1j * p["w"] + p["w"] ** 2)), ANY),
    "no layer": (lambda p, b: b["x"] ** 2, ANY),
    "constant": (lambda p, b: jnp.zeros_like(b["x"]), ANY),
    "seen on the way": (printed, ANY),
    "several axes": (lambda p, b: (hidden(p, b) @ p["v"]).reshape(-1, 2, 2), CHAIN),
    "swapped axes": (
        lambda p, b: jnp.swapaxes(hidden(p, b).reshape(-1, 5, 1), 1, 2).reshape(-1, 5) @ p["v"],
        CHAIN,
    ),
    "shuffled": (
        lambda p, b: jnp.swapaxes(b["x"].reshape(-1, 2, 3), 1, 2).reshape(-1, 6) @ p["w"],
        ANY,
    ),
    "summed products": (lambda p, b: jnp.cumsum(hidden(p, b), axis=1) @ p["v"], GRAM),
}
MODULES = {
    "convolutional": (Convolutional(), (4, 4), ANY),
    "recurrent": (Recurrent(), (4, 2), ANY),
    "normalised": (Normalised(), (6,), GRAM),
    "remembered": (Remembered(), (6,), GRAM),
}


def dense(encode, params, batch):
    def jacobian(x, row):
        row = {name: a[None] for name, a in row.items()}
        return jax.jacfwd(lambda x: encode(params, {**row, "x": x[None]}))(x)

    rest = {name: jnp.asarray(a) for name, a in batch.items() if name != "x"}
    j = jax.vmap(jacobian)(batch["x"], rest)
    return jnp.sum(j.reshape(len(j), -1) ** 2, axis=1)


def assert_routes(encode, params, batch, suitable):
    """Those that suit agree with jacfwd, in the gradient too; the rest are refused."""
    plan = explain(encode, params, batch)
    assert set(plan.operations) == suitable
    assert plan.method in suitable - {"hutchinson"}
    for method in {*METHODS} - suitable - {"auto"}:
        with pytest.raises(ValueError, match=f"'{method}' does not suit this encoder.*'jacrev'"):
            squared_jacobian_norm(encode, params, batch, method=method)

    @jax.jit
    def both(params):
        routes = [lambda p: dense(encode, p, batch)]
        for method in [*sorted(suitable - {"hutchinson", "jacfwd"}), "auto"]:
            routes.append(lambda p, m=method: squared_jacobian_norm(encode, p, batch, method=m))
        weighted = lambda p, f: (lambda n: (jnp.sum(n * jnp.arange(1.0, 4.0)), n))(f(p))  # noqa: E731
        return [jax.grad(weighted, has_aux=True)(params, f) for f in routes]

    (gradient, wanted), *found = both(params)
    for by_params, norms in found:
        np.testing.assert_allclose(norms, wanted, rtol=1e-5, atol=1e-7)
        for a, b in zip(jax.tree.leaves(by_params), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_routes_suit_by_how_x_enters_and_what_follows(name):
    encode, suitable = FUNCTIONS[name]
    assert_routes(encode, PARAMS, {"x": X}, suitable)


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_the_routes_that_suit_them(name):
    module, shape, suitable = MODULES[name]
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    params = jax.jit(module.init)(jax.random.key(0), x)
    assert_routes(lambda p, batch: module.apply(p, batch["x"]), params, {"x": x}, suitable)


def test_a_context_beside_x_leaves_the_general_routes_and_counts_as_given():
    model = jaxae.deep(6, 3, hidden_dims=(4,), activation="tanh")
    batch = {"x": X, "context": np.float32([[1.0], [-1.0], [2.0]])}
    params = {"encoder": model.init(jax.random.key(0), batch)["encoder"]}
    assert_routes(model.encode, params, batch, ANY)


def test_a_context_that_enters_after_the_first_layer_leaves_all_routes():
    def encode(p, batch):
        return jnp.tanh((hidden(p, batch) + batch["context"]) * batch["context"]) @ p["v"]

    batch = {"x": X, "context": np.float32([[1.0], [-1.0], [2.0]]), "y": np.arange(3)}
    assert_routes(encode, PARAMS, batch, CHAIN)


def test_a_kernel_that_differs_between_examples_is_no_link_of_a_chain():
    def encode(p, batch):
        return jnp.tanh(batch["x"] @ (p["w"] * batch["context"][0]))

    batch = {"x": X, "context": np.float32([1.0, -1.0, 2.0])}
    assert_routes(encode, PARAMS, batch, GRAM)
    wanted = dense(encode, PARAMS, {"x": X[2:], "context": batch["context"][2:]})
    np.testing.assert_allclose(squared_jacobian_norm(encode, PARAMS, batch)[2:], wanted, rtol=1e-5)


def test_a_chain_multiplies_out_to_the_jacobian():
    encode = lambda w, v, x: jax.nn.sigmoid(jnp.tanh(x @ w) @ v)  # noqa: E731
    closed = jax.make_jaxpr(encode)(W, V, X[:1])
    first, second = (found := chain(closed, [W, V, X[:1]])).layers
    assert first.slope is None
    j = found.slope[:, None] * (second.kernel.T @ (second.slope[:, None] * first.kernel.T))
    h = np.tanh(np.float64(X[0]) @ W)
    z = 1 / (1 + np.exp(-h @ V))
    wanted = (z * (1 - z))[:, None] * (V.T @ ((1 - h**2)[:, None] * W.T))
    np.testing.assert_allclose(j, wanted, rtol=1e-5, atol=1e-6)


def test_one_unit_that_is_many_entries_is_no_elementwise_function():
    spread = lambda x: jnp.broadcast_to(jnp.tanh(x @ W[:, :1]).reshape(()), (1, 4))  # noqa: E731
    with pytest.raises(NoStructureError, match="broadcast_in_dim is not elementwise"):
        chain(jax.make_jaxpr(spread)(X[:1]), [X[:1]])


def test_an_encoder_is_the_first_layer_and_what_follows():
    encode = lambda w, v, x: jnp.tanh(x.reshape(1, 6) @ w + 1.0) @ v  # noqa: E731
    x = X[:1].reshape(1, 2, 3)
    kernel, a, rest = after_first_layer(jax.make_jaxpr(encode)(W, V, x), [W, V, x])
    np.testing.assert_array_equal(kernel, W)
    np.testing.assert_allclose(a, X[:1] @ W, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rest(a + 1), np.tanh(X[:1] @ W + 2.0) @ V, rtol=1e-5, atol=1e-6)
    with pytest.raises(NoStructureError, match="no affine layer"):
        after_first_layer(jax.make_jaxpr(lambda x: x)(x), [x])


def test_count_is_that_by_hand():
    x = jnp.ones((3, 4))

    def counted(function, *args):
        return count(jax.make_jaxpr(function)(*args))

    assert counted(lambda x: jnp.tanh(x), x) == (12, 12)
    assert counted(lambda x: x @ jnp.ones((4, 5)), x) == (3 * 4 * 5 + 20, 15 + 20)
    assert counted(lambda x, w: jnp.tanh(x @ w), x, jnp.ones((4, 5))) == (60 + 15, 30)
    for wrap in (jax.jit, jax.checkpoint):
        assert counted(lambda x, w, wrap=wrap: wrap(jnp.dot)(x, w), x, jnp.ones((4, 5))) == (60, 15)
    turns = lambda x: jax.lax.scan(lambda h, _: (jnp.tanh(h), None), x, length=7)[0]  # noqa: E731
    assert counted(turns, x) == (7 * 12, 7 * 12)
    unknown = lambda x: jax.lax.while_loop(lambda h: h[0, 0] > 0, jnp.tanh, x)  # noqa: E731
    assert counted(unknown, x)[0] == 12
    image, kernel = jnp.ones((2, 9, 9, 3)), jnp.ones((2, 2, 3, 5))  # NHWC, HWIO
    dims = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "padding": "VALID"}
    convolve = lambda a, k: jax.lax.conv_general_dilated(a, k, (1, 1), **dims)  # noqa: E731
    assert counted(convolve, image, kernel) == (2 * 8 * 8 * 5 * (2 * 2 * 3), 2 * 8 * 8 * 5)
