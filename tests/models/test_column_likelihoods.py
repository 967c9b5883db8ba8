"""Likelihoods of rows of a table: densities against SciPy, sums by enumeration, draws, masks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxae
from jaxae.models.column_likelihoods import per_column
from jaxae.models.tabular import table

KINDS = ("categorical", "numeric", "binary", "categorical", "numeric", "categorical")
WIDTHS = (3, 1, 1, 2, 1, 1)
CLASSES, NUMERIC, BINARY = [(0, 3), (5, 7), (8, 9)], [3, 7], 4
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def rows(n, seed=0):
    """Natural parameters, and rows of a table."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 9))
    x[:, BINARY] = rng.integers(0, 2, n)
    for start, end in CLASSES:
        x[:, start:end] = np.eye(end - start)[rng.integers(0, end - start, n)]
    return 3 * rng.normal(size=(n, 9)), x


def scipys(out, x, scales):
    """The log-probability of each column, by SciPy."""
    columns = [(x[:, a:b] * special.log_softmax(out[:, a:b], axis=1)).sum(1) for a, b in CLASSES]
    columns += [
        stats.norm.logpdf(x[:, j], out[:, j], s) for j, s in zip(NUMERIC, scales, strict=True)
    ]
    return [*columns, stats.bernoulli.logpmf(x[:, BINARY], special.expit(out[:, BINARY]))]


def test_entries_of_a_block_add_up_to_scipys_log_probability_of_the_column(x64):
    likelihood = per_column(KINDS, WIDTHS)
    out, x = rows(20)
    raw = np.array([-0.7, 0.4])
    natural = likelihood.head.apply({"params": {"log_scale": raw}}, jnp.asarray(out))
    log_prob = np.asarray(likelihood.log_prob(natural, jnp.asarray(x)))
    assert log_prob.shape == x.shape
    blocks = [log_prob[:, a:b].sum(1) for a, b in CLASSES]
    blocks += [log_prob[:, j] for j in (*NUMERIC, BINARY)]
    for ours, theirs in zip(blocks, scipys(out, x, np.exp(raw) + 0.01), strict=True):
        np.testing.assert_allclose(ours, theirs, **EXACT)


def test_a_scale_for_each_cell_and_a_fixed_one_are_the_normal_densities_of_scipy(x64):
    out, x = rows(20)
    wide = np.random.default_rng(1).normal(size=(20, 9))
    cells = per_column(KINDS, WIDTHS, scale="per_cell")
    assert cells.outputs == 2
    natural = cells.head.apply({}, jnp.asarray(np.c_[out, wide]))
    scales = (np.exp(wide) + 0.01)[:, NUMERIC].T
    total = np.asarray(cells.log_prob(natural, jnp.asarray(x))).sum(1)
    np.testing.assert_allclose(total, sum(scipys(out, x, scales)), **EXACT)
    np.testing.assert_array_equal(cells.mean(natural)[:, NUMERIC], out[:, NUMERIC])
    fixed = per_column(KINDS, WIDTHS, scale=0.3)
    assert fixed.head is None
    total = np.asarray(fixed.log_prob(jnp.asarray(out), jnp.asarray(x))).sum(1)
    np.testing.assert_allclose(total, sum(scipys(out, x, (0.3, 0.3))), **EXACT)
    traced = jax.jit(lambda s: per_column(KINDS, WIDTHS, scale=s).log_prob(jnp.asarray(out), x))
    np.testing.assert_allclose(traced(0.3).sum(1), total, **EXACT)


def test_all_rows_of_categories_together_have_probability_one(x64):
    likelihood = per_column(("categorical", "binary", "categorical"), (3, 1, 4), scale=1.0)
    out = jnp.asarray(5 * np.random.default_rng(2).normal(size=8))
    every = [
        np.r_[np.eye(3)[i], j, np.eye(4)[k]]
        for i, j, k in itertools.product(range(3), range(2), range(4))
    ]
    x = jnp.asarray(np.array(every))
    log_prob = likelihood.log_prob(jnp.broadcast_to(out, x.shape), x)
    np.testing.assert_allclose(np.exp(log_prob.sum(1)).sum(), 1.0, rtol=1e-12)
    expected = np.exp(log_prob.sum(1)) @ x
    np.testing.assert_allclose(likelihood.mean(out[None])[0], expected, rtol=1e-12)


def test_blocks_of_far_apart_logits_stay_exact_in_float32():
    likelihood = per_column(("categorical", "categorical"), (2, 3), scale=1.0)
    out = np.array([[5000.0, 4999.0, -3000.0, -3001.0, -9000.0]], np.float32)
    log_prob = likelihood.log_prob(jnp.asarray(out), jnp.ones((1, 5)))
    expected = np.r_[special.log_softmax(out[0, :2]), special.log_softmax(out[0, 2:])]
    np.testing.assert_allclose(log_prob[0], expected, rtol=1e-6)
    gradient = jax.grad(lambda o: likelihood.log_prob(o, jnp.eye(5)[:1]).sum())(jnp.asarray(out))
    np.testing.assert_allclose(
        gradient[0, :2], np.r_[1, 0] - special.softmax(out[0, :2]), atol=1e-6
    )


def test_draws_have_the_means_and_the_deviations_that_the_parameters_say():
    likelihood = per_column(KINDS, WIDTHS)
    out, _ = rows(1)
    out, n = jnp.asarray(np.tile(out / 3, (20_000, 1)), jnp.float32), 20_000
    natural = likelihood.head.apply({"params": {"log_scale": jnp.log(jnp.array([0.5, 2.0]))}}, out)
    x = np.asarray(likelihood.sample(jax.random.key(0), natural), float)
    mean, scales = np.asarray(likelihood.mean(natural)[0]), np.array([0.51, 2.01])
    error = np.sqrt((mean * (1 - mean)).clip(0) / n)
    error[NUMERIC] = scales / np.sqrt(n)
    assert (np.abs(x.mean(0) - mean) <= 4.5 * error + 1e-12).all()
    np.testing.assert_allclose(x[:, NUMERIC].std(0), scales, rtol=0.03)
    for start, end in CLASSES:
        np.testing.assert_array_equal(np.sort(x[:, start:end], axis=1)[:, -1], 1)
        np.testing.assert_array_equal(x[:, start:end].sum(1), 1)
    pairs = np.corrcoef(x[:, [3, 4, 7]].T)
    assert np.abs(pairs[np.triu_indices(3, 1)]).max() < 0.04


def test_rows_side_by_side_have_the_densities_of_each(x64):
    likelihood = per_column(KINDS, WIDTHS)
    out, x = rows(6)
    scale = jnp.zeros(2)
    each = likelihood.log_prob((jnp.asarray(out), scale), jnp.asarray(x))
    joined = likelihood.log_prob((jnp.asarray(out.reshape(2, 27)), scale), x.reshape(2, 27))
    np.testing.assert_allclose(joined.reshape(6, 9), each, **EXACT)
    steps = likelihood.mean((jnp.asarray(out.reshape(2, 3, 9)), scale))
    np.testing.assert_allclose(steps.reshape(6, 9), likelihood.mean((jnp.asarray(out), scale)))


@pytest.mark.parametrize("kinds", [("numeric",) * 2, ("binary",) * 2, ("categorical",)])
def test_tables_of_one_kind_equal_the_plain_likelihood(kinds, x64):
    out, x = jnp.asarray([[0.3, -1.2]]), jnp.asarray([[0.0, 1.0]])
    plain = {
        "numeric": jaxae.likelihoods.gaussian(2.0),
        "binary": jaxae.likelihoods.bernoulli(),
        "categorical": jaxae.likelihoods.categorical(),
    }[kinds[0]]
    ours = per_column(kinds, (2,) if kinds == ("categorical",) else None, scale=2.0)
    np.testing.assert_allclose(ours.log_prob(out, x).sum(), plain.log_prob(out, x).sum(), **EXACT)
    np.testing.assert_allclose(ours.mean(out), plain.mean(out), **EXACT)


@pytest.mark.parametrize(
    ("kinds", "widths", "scale", "message"),
    [
        ((), (), 1.0, "kinds are one or more"),
        (("ordinal",), (1,), 1.0, "got \\['ordinal'\\]"),
        (("numeric",), (2,), 1.0, "1 but for categorical"),
        (("numeric", "binary"), (1,), 1.0, "widths has a number for each"),
        (("categorical",), (0,), 1.0, "widths has"),
        (("numeric",), (1,), "shared", "per_column"),
        (("numeric",), (1,), 0.0, "scale must lie"),
        (("numeric",), (1,), np.nan, "scale must lie"),
    ],
)
def test_nonsense_is_refused(kinds, widths, scale, message):
    with pytest.raises(ValueError, match=message):
        per_column(kinds, widths, scale=scale)


class Schema:
    kinds, widths = KINDS, WIDTHS


@pytest.mark.parametrize("scale", ["per_column", "per_cell"])
def test_hidden_cells_count_in_the_loss_and_masked_ones_change_nothing(scale):
    model = table(Schema(), 2, hidden_dims=(4,), noise_level=0.5, scale=scale)
    _, x = rows(6)
    mask = np.ones((6, 9), np.float32)
    mask[0, 0:3], mask[1, 4], mask[2, 7] = 0, 0, 0
    params = model.init(jax.random.key(0), {"x": x, "mask": mask})
    other = np.where(mask > 0, x, 77.0)
    both = [model.loss(params, jax.random.key(1), {"x": a, "mask": mask})[0] for a in (x, other)]
    np.testing.assert_allclose(*both, rtol=1e-6)
    assert float(both[0]) != float(model.loss(params, jax.random.key(1), {"x": x})[0])
    gradient = jax.grad(lambda a: model.loss(params, jax.random.key(1), {"x": a, "mask": mask})[0])
    moved = np.asarray(gradient(jnp.asarray(x))) != 0
    assert moved[mask > 0].mean() > 0.7  # hidden or not, what is observed counts
    assert not moved[mask == 0].any()


def test_a_loss_is_the_sum_of_scipys_log_probabilities_of_the_observed_columns(x64):
    model = table(Schema(), 2, noise_level=0.0, scale=0.5)
    _, x = rows(6)
    mask = np.ones((6, 9))
    mask[0, 0:3], mask[1, 4] = 0, 0
    batch = {"x": jnp.asarray(x), "mask": jnp.asarray(mask)}
    params = model.init(jax.random.key(0), batch)
    # the natural parameters by hand: a decoder of one layer
    layer = params["decoder"]["layer_0"]
    out = np.asarray(model.encode(params, batch) @ layer["kernel"] + layer["bias"])
    columns = scipys(out, x, (0.5, 0.5))
    columns[0][0], columns[-1][1] = 0, 0
    loss = model.loss(params, jax.random.key(0), batch)[0]
    np.testing.assert_allclose(loss, -np.mean(sum(columns)), rtol=1e-6)


def test_other_variants_take_the_same_parts():
    _, x = rows(5)
    for variant, parts in ((jaxae.vae, {}), (jaxae.contractive, {"decoder": "mirrored"})):
        model = table(Schema(), 2, variant=variant, **parts)
        params = model.init(jax.random.key(0), {"x": x})
        assert np.isfinite(model.loss(params, jax.random.key(1), {"x": x})[0])
        assert model.decode(params, model.encode(params, {"x": x})).shape == x.shape
