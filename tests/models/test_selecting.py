import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.models.selecting import chosen, keep_largest

RNG = np.random.default_rng(0)
H = RNG.integers(-3, 4, size=(2, 5, 7)).astype(np.float32)  # many ties, many negative


def by_sorting(h, k):
    """A stable sort leaves equal entries in their order."""
    first = np.argsort(-h, axis=-1, kind="stable")[..., :k]
    marks = np.zeros(h.shape, bool)
    np.put_along_axis(marks, first, True, axis=-1)
    return marks


@pytest.mark.parametrize("k", [0, 1, 3, 6, 7])
def test_exactly_k_are_chosen_of_equal_entries_the_first(k):
    given = chosen(jnp.asarray(H), k)
    np.testing.assert_array_equal(given, by_sorting(H, k))
    assert (given.sum(axis=-1) == k).all()
    np.testing.assert_array_equal(keep_largest(jnp.asarray(H), k), H * by_sorting(H, k))


@pytest.mark.parametrize("most", [None, 5, 99])
def test_a_traced_k_equals_the_concrete_one(most):
    traced = jax.jit(lambda k: chosen(jnp.asarray(H), k, most))
    for k in range(6):
        np.testing.assert_array_equal(traced(k), by_sorting(H, k))


def test_k_may_be_mapped_with_the_entries_or_without():
    ks = jnp.asarray([0, 2, 7])
    given = jax.vmap(chosen, in_axes=(None, 0))(jnp.asarray(H), ks)
    np.testing.assert_array_equal(given, [by_sorting(H, k) for k in ks])
    rows = jax.vmap(chosen)(jnp.asarray(H[0, :3]), ks)
    np.testing.assert_array_equal(rows, [by_sorting(h, k) for h, k in zip(H[0], ks, strict=False)])


def test_the_gradient_goes_to_what_is_kept_alone():
    weights = RNG.normal(size=H.shape).astype(np.float32)
    gradient = jax.grad(lambda h: jnp.sum(weights * keep_largest(h, 3)))(jnp.asarray(H))
    np.testing.assert_array_equal(gradient, weights * by_sorting(H, 3))


@pytest.mark.parametrize("k", [-1, 8, 2.5, np.inf, np.nan])
def test_no_other_numbers_can_be_chosen(k):
    with pytest.raises(ValueError, match=r"whole number in \[0, 7\]"):
        chosen(jnp.asarray(H), k)
