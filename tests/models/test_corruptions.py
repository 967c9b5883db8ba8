import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxae import corruptions

ALL = (
    corruptions.masking,
    corruptions.gaussian,
    corruptions.salt_and_pepper,
    corruptions.dropout,
    corruptions.hiding,
)
REPLACING = (
    corruptions.masking,
    corruptions.salt_and_pepper,
    corruptions.dropout,
    corruptions.hiding,
)
KEY = jax.random.key(7)

every = pytest.mark.parametrize("corruption", ALL)
replacing = pytest.mark.parametrize("corruption", REPLACING)


def grey(shape=(40, 50), dtype=jnp.float32):
    """Values strictly between 0 and 1, so that a replaced entry shows."""
    return jax.random.uniform(jax.random.key(0), shape, jnp.float32, 0.2, 0.8).astype(dtype)


def hits(corruption, noisy, x):
    """Which entries were replaced; dropout scales the others."""
    return noisy == 0 if corruption is corruptions.dropout else noisy != x


def assert_binomial(count, n, p):
    """`count` of `n` lies where a binomial of probability p falls all but once in 10^6 times."""
    low, high = stats.binom.interval(1 - 1e-6, n, p)
    assert low <= count <= high


@every
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 5, 1)])
def test_shape_and_dtype_are_kept(corruption, dtype, shape, x64):
    noisy = jax.eval_shape(corruption(0.5), KEY, jnp.ones(shape, dtype))
    assert noisy.dtype == dtype
    assert noisy.shape == shape


@every
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
def test_level_zero_is_the_identity(corruption, dtype):
    x = grey(dtype=dtype)
    np.testing.assert_array_equal(corruption(0.0)(KEY, x), x)


def test_none_is_the_identity():
    assert corruptions.none(KEY, x := grey()) is x


@replacing
@pytest.mark.parametrize("level", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_level_is_the_rate_of_corrupted_entries(corruption, level, dtype):
    x = grey((300, 300), dtype)
    count = int(hits(corruption, corruption(level)(KEY, x), x).sum())
    assert_binomial(count, x.size, level)


@pytest.mark.parametrize("corruption", [corruptions.masking, corruptions.salt_and_pepper])
def test_level_one_leaves_no_entry(corruption):
    x = grey()
    assert (corruption(1.0)(KEY, x) != x).all()


def test_masking_zeroes_and_keeps_the_rest():
    x = grey()
    noisy = corruptions.masking(0.5)(KEY, x)
    np.testing.assert_array_equal(noisy, jnp.where(noisy == 0, 0, x))


@pytest.mark.parametrize("level", [0.1, 2.5])
def test_gaussian_adds_normal_noise_of_that_standard_deviation(level, x64):
    x = grey((200, 200), jnp.float64)
    noise = np.ravel(corruptions.gaussian(level)(KEY, x) - x) / level
    assert stats.kstest(noise, "norm").pvalue > 1e-4
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    low, high = stats.chi2.interval(1 - 1e-6, noise.size)
    assert low < np.sum(noise**2) < high


def test_gaussian_noise_does_not_depend_on_x(x64):
    x = grey(dtype=jnp.float64)
    corrupt = corruptions.gaussian(0.7)
    np.testing.assert_allclose(corrupt(KEY, x) - x, corrupt(KEY, 0 * x), rtol=0, atol=1e-14)


def test_salt_and_pepper_are_equally_many():
    x = grey((300, 300))
    noisy = corruptions.salt_and_pepper(0.4)(KEY, x)
    salt, pepper = int((noisy == 1).sum()), int((noisy == 0).sum())
    assert salt + pepper == (noisy != x).sum()
    assert_binomial(salt, salt + pepper, 0.5)


def test_salt_and_pepper_take_the_extremes_given():
    noisy = corruptions.salt_and_pepper(1.0, low=-1.0, high=3.0)(KEY, grey())
    assert set(np.unique(noisy)) == {-1.0, 3.0}


def test_dropout_keeps_the_mean_and_scales_the_rest():
    x = grey((300, 300))
    noisy = np.asarray(corruptions.dropout(0.4)(KEY, x))
    kept = noisy != 0
    np.testing.assert_allclose(noisy[kept], np.asarray(x)[kept] / 0.6, rtol=1e-6)
    standard_error = np.std(noisy - x) / np.sqrt(x.size)
    assert abs(np.mean(noisy - x)) < 5 * standard_error


@every
def test_a_key_gives_one_noise_and_another_key_another(corruption):
    x, corrupt = grey(), corruption(0.5)
    np.testing.assert_array_equal(corrupt(KEY, x), corrupt(KEY, x))
    assert (corrupt(KEY, x) != corrupt(jax.random.key(8), x)).any()


@replacing
def test_entries_are_corrupted_independently(corruption):
    """Of pairs of neighbours, along either axis, level^2 are corrupted together."""
    x = grey((300, 300))
    hit = np.asarray(hits(corruption, corruption(0.3)(KEY, x), x))
    rows, columns = hit[::2] & hit[1::2], hit[:, ::2] & hit[:, 1::2]
    assert_binomial(rows.sum(), rows.size, 0.09)
    assert_binomial(columns.sum(), columns.size, 0.09)


@every
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_traced_level_compiles_once_and_equals_the_concrete_one(corruption, dtype):
    x = grey(dtype=dtype)
    traces = 0

    @jax.jit
    def swept(level):
        nonlocal traces
        traces += 1
        return corruption(level)(KEY, x)

    levels = (0.15, 0.45, 0.55, 0.9)
    concrete = jax.jit(lambda key, x: [corruption(level)(key, x) for level in levels])(KEY, x)
    for level, expected in zip(levels, concrete, strict=True):
        found = swept(np.float32(level))
        if corruption is not corruptions.gaussian:
            np.testing.assert_array_equal(found, expected, err_msg=f"at {level}")
            continue
        close = 4 * float(jnp.finfo(dtype).eps)  # x + level * noise, rounded once or twice
        pair = (np.asarray(a, np.float64) for a in (found, expected))
        np.testing.assert_allclose(*pair, close, close, err_msg=f"at {level}")
    assert traces == 1


@every
@pytest.mark.parametrize("level", [-0.1, np.nan])
def test_levels_below_zero_and_nan_are_refused(corruption, level):
    with pytest.raises(ValueError, match="noise_level"):
        corruption(level)


@replacing
def test_probabilities_above_one_are_refused(corruption):
    with pytest.raises(ValueError, match="noise_level"):
        corruption(1.1)


def test_dropping_everything_is_refused():
    with pytest.raises(ValueError, match="noise_level"):
        corruptions.dropout(1.0)
