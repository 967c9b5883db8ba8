import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.models.carrying import carried, carry, report, running_mean

KEY = jax.random.key(0)
VALUES = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)


class Mean(nn.Module):
    decay: float
    update: bool = True

    @nn.compact
    def __call__(self, value):
        report(self, "twice", 1.0)
        report(self, "twice", jnp.sum(value))
        return running_mean(self, "mean", value, self.decay, update=self.update)


class Counter(nn.Module):
    @nn.compact
    def __call__(self):
        count = carried(self, "count", (2,))
        carry(self, count, lambda n: n + 1)
        return count.value


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_a_step_weighs_one_over_n_and_no_less_than_one_minus_decay(decay):
    variables, expected = Mean(decay).init(KEY, VALUES[0]), np.zeros(3)
    np.testing.assert_array_equal(variables["carried"]["mean"], np.zeros(3))
    for n, value in enumerate(VALUES, 1):
        expected = expected + max(1 / n, 1 - decay) * (value - expected)
        given, changed = Mean(decay).apply(variables, value, mutable=["carried", "metrics"])
        np.testing.assert_allclose(given, expected, rtol=1e-5)
        np.testing.assert_array_equal(given, changed["carried"]["mean"])
        assert changed["carried"]["mean_steps"] == n
        variables = {"carried": changed["carried"]}
    if decay == 1.0:
        np.testing.assert_allclose(given, VALUES.mean(axis=0), rtol=1e-5)


def test_without_an_update_the_mean_so_far_is_read_and_nothing_changes():
    variables = {"carried": {"mean": jnp.arange(3.0), "mean_steps": jnp.float32(4)}}
    given, changed = Mean(0.9, update=False).apply(variables, VALUES[0], mutable=["carried"])
    np.testing.assert_array_equal(given, np.arange(3.0))
    jax.tree.map(np.testing.assert_array_equal, changed, variables)


def test_nothing_is_carried_at_initialisation_or_where_the_collection_is_fixed():
    variables = Counter().init(KEY)
    np.testing.assert_array_equal(variables["carried"]["count"], np.zeros(2))
    np.testing.assert_array_equal(Counter().apply(variables), np.zeros(2))
    changed = Counter().apply(variables, mutable=["carried"])[1]
    np.testing.assert_array_equal(changed["carried"]["count"], np.ones(2))


def test_what_is_carried_keeps_its_dtype_in_double_precision(x64):
    changed = Mean(0.5).apply(
        Mean(0.5).init(KEY, VALUES[0]), np.float64(VALUES[1]), mutable=["carried"]
    )[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {np.dtype(np.float32)}


def test_the_last_report_of_a_name_stands():
    changed = Mean(0.5).apply(Mean(0.5).init(KEY, VALUES[0]), VALUES[1], mutable=True)[1]
    np.testing.assert_allclose(changed["metrics"]["twice"], VALUES[1].sum(), rtol=1e-6)
