"""Means in chunks, and that of Jacobian norms, against plain means and dense Jacobians."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

import jaxae
from jaxae.models.chunks import mean_over
from jaxae.models.jacobians import explain, mean_squared_jacobian_norm, squared_jacobian_norm


def encode(params, batch):
    for kernel, bias in params:
        batch = {"x": jnp.tanh(batch["x"] @ kernel + bias)}
    return batch["x"]


def dense_mean(params, x):
    j = jax.vmap(jax.jacfwd(lambda x: encode(params, {"x": x})))(x)
    return jnp.mean(jnp.sum(j**2, axis=(1, 2)))


def layers(widths, dtype=np.float64, seed=0, stacked=()):
    rng = np.random.default_rng(seed)
    shapes = [((d, k), (k,)) for d, k in itertools.pairwise(widths)]
    return [tuple(rng.normal(size=stacked + s).astype(dtype) for s in pair) for pair in shapes]


def rows(n, d):
    return np.random.default_rng(1).normal(size=(n, d))


def assert_close(found, wanted, rtol=1e-10):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


COLUMNS = {
    "floats": np.linspace(-1.0, 1.0, 14).reshape(7, 2),
    "integers": np.arange(7) - 3,
    "keys": jax.random.split(jax.random.key(0), 7),
}


def row_value(shared, row):
    noise = jax.random.normal(row["keys"])
    return jnp.sin(shared["w"] @ row["floats"]) * shared["power"] ** row["integers"] + noise


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 100])
def test_a_mean_in_chunks_is_the_plain_mean_and_has_its_derivatives(x64, chunk):
    shared = {"w": np.array([0.3, -2.0]), "power": 1.5, "unused": np.arange(3)}
    floats = {"w": shared["w"], "power": shared["power"], "rows": COLUMNS["floats"]}

    def chunked(floats):
        columns = {**COLUMNS, "floats": floats["rows"]}
        own = {**shared, "w": floats["w"], "power": floats["power"]}
        return mean_over(row_value, own, columns, chunk=chunk)

    def plain(floats):
        values = []
        for i in range(7):
            row = {name: column[i] for name, column in COLUMNS.items()}
            values.append(row_value(floats, {**row, "floats": floats["rows"][i]}))
        return sum(values) / 7

    assert_close(jax.jit(jax.value_and_grad(chunked))(floats), jax.value_and_grad(plain)(floats))
    tangents = jax.tree.map(lambda a: np.cos(np.arange(np.size(a))).reshape(np.shape(a)), floats)
    assert_close(
        jax.jit(lambda t: jax.jvp(chunked, (floats,), (t,)))(tangents),
        jax.jvp(plain, (floats,), (tangents,)),
    )


def test_complex_numbers_have_jaxs_gradient():
    shared = np.array([1 + 2j, -1j], np.complex64)
    columns = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]], np.float32)
    value = lambda w, row: jnp.abs(w @ row) ** 2  # noqa: E731
    found = jax.grad(lambda w: mean_over(value, w, columns, chunk=2))(shared)
    wanted = jax.grad(lambda w: jnp.mean(jnp.abs(columns @ w) ** 2))(shared)
    assert_close(found, wanted, 1e-6)


def test_a_wider_parameter_leaves_the_value_its_own_dtype(x64):
    params, x = layers((6, 3)), np.float32(rows(5, 6))

    def narrow(params, batch):
        return encode(jax.tree.map(jnp.float32, params), batch)

    mean = lambda p: mean_squared_jacobian_norm(narrow, p, x, method="jacrev")  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(mean))(params)
    assert value.dtype == np.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype("float64")}
    wanted = jax.grad(lambda p: dense_mean(p, np.float64(x)))(params)
    assert_close(gradient, wanted, 1e-5)


# A limit for one example, one that does not divide eleven, and one for all.
@pytest.mark.parametrize("chunk", [1, 4, 11])
@pytest.mark.parametrize("method", ["chain", "gram_jacrev", "jacfwd"])
def test_norms_in_chunks_have_the_mean_and_gradient_of_the_dense_ones(x64, method, chunk):
    params, x = layers((6, 5, 4)), rows(11, 6)
    one = explain(encode, params, x[:1], method=method).bytes
    limit = {"method": method, "memory_limit": one * chunk}
    assert explain(encode, params, x, **limit).chunk == chunk

    @jax.jit
    def both(params):
        mean = lambda p: mean_squared_jacobian_norm(encode, p, x, **limit)  # noqa: E731
        each = lambda p: squared_jacobian_norm(encode, p, x, **limit).mean()  # noqa: E731
        return [jax.value_and_grad(f)(params) for f in (mean, each)]

    wanted = jax.value_and_grad(dense_mean)(params, x)
    for found in both(params):
        assert_close(found, wanted)


@pytest.mark.parametrize("method", ["chain", "gram_jacfwd"])
def test_a_sweep_is_a_vmap_over_parameters_and_over_data(x64, method):
    params, x = layers((6, 5, 4), stacked=(3,)), np.stack([rows(5, 6) + i for i in range(3)])
    labels = np.zeros((3, 5), int)

    def mean(params, x, y):
        batch, options = {"x": x, "y": y}, {"method": method, "memory_limit": 10_000}
        return mean_squared_jacobian_norm(encode, params, batch, **options)

    found = jax.jit(jax.vmap(jax.value_and_grad(mean)))(params, x, labels)
    assert_close(found, jax.vmap(jax.value_and_grad(dense_mean))(params, x))


def test_parameters_that_an_encoder_closes_over_are_differentiated(x64):
    params, x = layers((6, 5, 4)), rows(5, 6)

    def mean(params, method):
        closed = lambda _, batch: encode(params, batch)  # noqa: E731
        return mean_squared_jacobian_norm(closed, None, x, method=method, memory_limit=10_000)

    for method in ("chain", "jacrev"):
        found = jax.jit(jax.grad(mean), static_argnums=1)(params, method)
        assert_close(found, jax.grad(dense_mean)(params, x))


@pytest.mark.parametrize("widths", [(3, 2), (3, 3, 2)])
def test_forward_mode_and_second_derivatives_are_those_of_the_dense_norm(x64, widths):
    params, x = layers(widths), rows(5, 3)
    directions = layers(widths, seed=2)
    flat, restore = jax.flatten_util.ravel_pytree(params)
    towards, _ = jax.flatten_util.ravel_pytree(directions)
    wanted = lambda flat: dense_mean(restore(flat), x)  # noqa: E731
    hessian = jax.jit(jax.hessian(wanted))(flat)
    slope = jax.jvp(wanted, (flat,), (towards,))
    assert np.abs(hessian).max() > 0.1

    @jax.jit
    def derivatives(flat):
        found = {}
        for method in ("auto", "gram_jacrev"):
            options = {"method": method, "memory_limit": 3000}
            mean = lambda f, o=options: mean_squared_jacobian_norm(encode, restore(f), x, **o)  # noqa: E731
            found[method] = jax.jvp(mean, (flat,), (towards,)), jax.hessian(mean)(flat)
        return found

    for found in derivatives(flat).values():
        assert_close(found, (slope, hessian))


def test_the_gradient_with_respect_to_the_inputs_is_that_of_the_dense_norm(x64):
    params, x = layers((4, 5, 3)), rows(5, 4)
    mean = lambda x: mean_squared_jacobian_norm(encode, params, x, memory_limit=3000)  # noqa: E731
    assert_close(jax.jit(jax.grad(mean))(x), jax.grad(dense_mean, argnums=1)(params, x))


def sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (out.aval.size for out in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from sizes(inner)


@pytest.mark.parametrize("of", [squared_jacobian_norm, mean_squared_jacobian_norm])
def test_no_tensor_of_batch_by_code_by_input_is_built(of):
    model = jaxae.deep(784, 500, hidden_dims=(1000, 1000), activation="sigmoid")
    batch = {"x": jnp.zeros((100, 784))}
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    gradient = jax.jit(jax.grad(lambda p: of(model.encode, p, batch).mean()))
    traced = gradient.trace(params)
    assert max(sizes(traced.jaxpr.jaxpr)) < 100 * 500 * 784
    memory = traced.lower().compile().memory_analysis()
    assert memory.temp_size_in_bytes < 1e9
