"""Squared Jacobian norms by every route, against the dense Jacobian of `jax.jacfwd`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.models.jacobians import (
    METHODS,
    explain,
    mean_squared_jacobian_norm,
    squared_jacobian_norm,
)
from jaxae.models.networks import ACTIVATIONS

ONE_LAYER = ("jacfwd", "jacrev", "closed_form", "gram_jacfwd", "gram_jacrev", "chain")
DEEP = ("jacfwd", "jacrev", "gram_jacfwd", "gram_jacrev", "chain")


def dense(encode, params, batch, other=None):
    """‖J(x)‖², or ‖J(x) - J(other)‖², with all of J; x are floats."""

    def jacobian(x, row):
        z = lambda x: encode(params, {**{k: a[None] for k, a in row.items()}, "x": x[None]})  # noqa: E731
        return jax.jacfwd(z)(x)

    rest = {name: jnp.asarray(a) for name, a in batch.items() if name != "x"}
    j = jax.vmap(jacobian)(batch["x"], rest)
    j = j if other is None else j - jax.vmap(jacobian)(other, rest)
    return jnp.sum(j.reshape(len(j), -1) ** 2, axis=1)


def problem(shape, widths, dtype=np.float32, n=3, seed=0, **options):
    """A model, its parameters (biases too are random) and a batch."""
    *hidden, latent_dim = widths
    given = {"activation": "tanh", "latent_activation": "sigmoid", "param_dtype": dtype} | options
    model = jaxae.deep(shape, latent_dim, hidden_dims=hidden, **given)
    rng = np.random.default_rng(seed)
    batch = {"x": rng.normal(size=(n, *shape)).astype(dtype)}
    params = {"encoder": jax.eval_shape(model.init, jax.random.key(0), batch)["encoder"]}
    fill = lambda a: (rng.normal(size=a.shape) / np.sqrt(len(a.shape))).astype(dtype)  # noqa: E731
    return model.encode, jax.tree.map(fill, params), batch


def assert_close(found, wanted, rtol):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def assert_routes_agree(encode, params, batch, methods, rtol, *, other=None, exact=None):
    """Values for each example, and the gradient of their weighted sum, for all methods at once."""
    exact = exact or batch
    weights = np.linspace(1.0, 2.0, len(batch["x"])).astype(exact["x"].dtype)

    def weighted(norm, params):
        norms = norm(params)
        return jnp.sum(weights * norms), norms

    @jax.jit
    def all_routes(params):
        both = lambda norm: jax.grad(lambda p: weighted(norm, p), has_aux=True)(params)  # noqa: E731
        wanted = both(lambda p: dense(encode, p, exact, other))
        return wanted, {
            method: both(
                lambda p, m=method: squared_jacobian_norm(encode, p, batch, other, method=m)
            )
            for method in methods
        }

    (wanted_gradient, wanted), found = all_routes(params)
    assert wanted.shape == (len(batch["x"]),)
    for gradient, norms in found.values():
        np.testing.assert_allclose(norms, wanted, rtol=rtol)
        assert_close(gradient, wanted_gradient, rtol)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_routes_equal_jacfwd_for_every_activation(activation):
    given = problem((5,), (4, 3), activation=activation, latent_activation=activation)
    assert_routes_agree(*given, ("jacrev", "gram_jacrev", "chain"), 1e-5)


# In turn: one layer; the first kernel directly; its Gram matrix; a chain multiplied out from
# the code; one multiplied out from the input, without the Gram matrix.
NETS = [((6,), (4,)), ((2, 1, 1), (6, 4)), ((2, 4), (5, 4, 3)), ((8,), (6, 5, 5, 2))]
NETS.append(((2,), (4, 6, 6, 7)))


@pytest.mark.parametrize(("shape", "widths"), NETS)
def test_all_routes_equal_jacfwd_in_double_precision(x64, shape, widths):
    use_bias = len(widths) % 2 == 0
    encode, params, batch = problem(shape, widths, np.float64, use_bias=use_bias)
    batch["y"] = np.arange(3)
    methods = ONE_LAYER if len(widths) == 1 else DEEP
    costs = explain(encode, params, batch).operations
    assert set(costs) == {*methods, "hutchinson"}
    assert_routes_agree(encode, params, batch, methods, 1e-10)


def test_a_chain_costs_what_its_cheapest_products_do():
    """Products of the 2nd to 4th kernels; then with the Gram matrix, or with the 1st kernel."""
    from_code = 3 * (2 * 5 * 5 + 2 * 6 * 5) + 2 * 2 * 6**2
    from_input = 3 * (4 * 6 * 6 + 4 * 6 * 7) + 3 * 7 * 4 * 2
    for (shape, widths), operations in zip(NETS[3:], (from_code, from_input), strict=True):
        assert explain(*problem(shape, widths)).operations["chain"] == operations


@pytest.mark.parametrize("masked", [(3,), (3, 2), (3, 2, 4)])
def test_what_a_mask_hides_has_no_part_in_the_norm(masked):
    encode, params, batch = problem((2, 4), (4, 3))
    mask = np.random.default_rng(1).random(masked) < 0.6
    mask[0] = True
    seen = np.broadcast_to(mask.reshape(masked + (1,) * (3 - len(masked))), (3, 2, 4))
    clean = {"x": batch["x"], "mask": mask.astype(np.float32)}
    hidden = {**clean, "x": np.where(seen, batch["x"], np.nan)}
    assert_routes_agree(encode, params, hidden, ("jacrev", "chain"), 1e-5, exact=clean)
    assert explain(encode, params, hidden).method == "chain"
    with pytest.raises(ValueError, match=r"'gram_jacrev' does not suit.*'chain'"):
        squared_jacobian_norm(encode, params, hidden, method="gram_jacrev")


def test_pixels_are_floats_from_0_to_1():
    encode, params, _ = problem((2, 3), (4, 3))
    pixels = np.random.default_rng(2).integers(0, 256, (3, 2, 3), np.uint8)
    exact = {"x": np.float32(pixels) / 255}
    assert_routes_agree(encode, params, {"x": pixels}, DEEP, 1e-5, exact=exact)


def test_a_batch_may_be_the_array_itself_and_parameters_plain_numbers():
    x = np.random.default_rng(3).normal(size=(4, 2)).astype(np.float32)
    encode = lambda p, batch: p["scale"] * jnp.square(batch["x"])  # noqa: E731
    wanted = np.sum((2 * 0.5 * x) ** 2, axis=1)
    np.testing.assert_allclose(squared_jacobian_norm(encode, {"scale": 0.5}, x), wanted, rtol=1e-6)
    found = jax.grad(lambda s: mean_squared_jacobian_norm(encode, {"scale": s}, x))(0.5)
    np.testing.assert_allclose(found, 2 * wanted.mean() / 0.5, rtol=1e-5)


@pytest.mark.parametrize(("shape", "widths"), [NETS[0], NETS[2]])
def test_the_difference_of_two_jacobians_is_that_of_the_dense_ones(x64, shape, widths):
    encode, params, batch = problem(shape, widths, np.float64)
    other = batch["x"] + 0.5 * np.random.default_rng(4).normal(size=batch["x"].shape)
    methods = ONE_LAYER if len(widths) == 1 else DEEP
    assert_routes_agree(encode, params, batch, methods, 1e-10, other=other)


@pytest.mark.parametrize("widths", [(3,), (4, 3)])
def test_linear_encoders_have_the_same_jacobian_everywhere(widths):
    options = {"activation": "identity", "latent_activation": "identity"}
    encode, params, batch = problem((6,), widths, **options)
    norms = jax.jit(squared_jacobian_norm, static_argnums=0, static_argnames="method")
    for method in ("auto", "jacrev", "gram_jacrev"):
        found = norms(encode, params, batch, batch["x"] + 1, method=method)
        np.testing.assert_allclose(found, 0.0, atol=1e-10)


@pytest.mark.parametrize(("d", "widths"), [(64, (50, 40, 40, 20)), (40, (20, 50, 50, 60))])
def test_explain_ranks_methods_as_counted_floating_point_operations_do(d, widths):
    """Two to a multiply-add; jacfwd's first products serve all examples and are fewer."""
    n = 300
    encode, params, batch = problem((d,), widths, n=n)
    plan, counted = explain(encode, params, batch), {}
    for method in DEEP:
        total = lambda p, m=method: jnp.sum(  # noqa: E731
            squared_jacobian_norm(encode, p, batch, method=m, memory_limit=10**10)
        )
        lowered = jax.jit(jax.grad(total)).lower(params)
        counted[method] = lowered.cost_analysis()["flops"] / (2 * n)
    assert plan.method == "chain" == min(counted, key=counted.get)
    assert counted["jacfwd"] < plan.operations["jacfwd"]
    rest = [method for method in DEEP if method != "jacfwd"]
    assert sorted(rest, key=counted.get) == sorted(rest, key=plan.operations.get)
    for method in rest:
        assert 0.9 < counted[method] / plan.operations[method] < 1.3


def test_explain_says_what_it_reckons_and_computes_nothing():
    encode, params, batch = problem((6,), (4,))
    text = str(explain(encode, params, batch))
    assert text.startswith("closed_form (exact), 3 examples at a time in about 0 MiB")
    assert text.index("closed_form 12") < text.index("chain 72") < text.index("jacrev")
    calls = []

    def spied(params, batch):
        z = encode(params, batch)
        return jax.pure_callback(lambda z: calls.append(1) or z, z, z)

    assert set(explain(spied, params, batch).operations) == {*METHODS} - {
        *("auto", "closed_form", "chain")
    }
    assert not calls
    structs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    assert explain(encode, structs, batch) == explain(encode, params, batch)
    pixels = np.zeros((3, 6), np.uint8)
    traced = jax.make_jaxpr(lambda p, x: explain(encode, p, x) and 0)(params, pixels)
    assert not traced.eqns


@pytest.mark.parametrize(("probes", "other"), [(1, False), (4, True)])
def test_hutchinsons_estimate_is_unbiased(probes, other):
    encode, params, batch = problem((6,), (5, 4))
    far = batch["x"] + 1 if other else None

    def estimate(key):
        options = {"method": "hutchinson", "key": key, "probes": probes}
        return squared_jacobian_norm(encode, params, batch, far, **options)

    found = np.float64(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 4000)))
    wanted = dense(encode, params, batch, far)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (error > 1e-4 * wanted).all()
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - wanted), 4 * error)
    assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.1  # each example has its own probes


def test_hutchinsons_estimate_is_exact_for_a_code_of_one_unit():
    encode, params, batch = problem((6,), (5, 1))
    options = {"method": "hutchinson", "key": jax.random.key(0), "probes": 2}
    found = jax.jit(lambda p: squared_jacobian_norm(encode, p, batch, **options))(params)
    np.testing.assert_allclose(found, dense(encode, params, batch), rtol=1e-5)
    plan = explain(encode, params, batch, method="hutchinson", probes=2)
    assert not plan.exact
    assert str(plan).startswith("hutchinson (an unbiased estimate)")
    assert explain(encode, params, batch).exact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "jacobi"}, r"method is one of \('auto', .*'hutchinson'\); got 'jacobi'"),
        ({"method": "closed_form"}, r"'closed_form' does not suit.*'gram_jacrev'.* and 'auto' do"),
        ({"method": "hutchinson"}, "give it a key"),
        ({"probes": 0}, "probes must lie in"),
        ({"memory_limit": 0}, "memory_limit must lie in"),
        ({"memory_limit": 40}, r"memory_limit=40 bytes.*hutchinson"),
        ({"memory_limit": 40, "method": "jacrev"}, r"'jacrev' takes about .* memory_limit=40"),
        ({"other": np.ones((3, 7))}, r"other has x's shape, \(3, 6\); got \(3, 7\)"),
        ({"x": np.ones((0, 6))}, "no examples"),
        ({"x": {"y": np.ones((3, 6))}}, 'that has "x"'),
    ],
)
def test_what_cannot_be_computed_is_refused(options, message):
    encode, params, batch = problem((6,), (5, 4))
    given = {"x": batch} | options
    for function in (squared_jacobian_norm, mean_squared_jacobian_norm):
        with pytest.raises(ValueError, match=message):
            function(encode, params, **given)
