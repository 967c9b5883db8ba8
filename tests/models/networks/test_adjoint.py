from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import signal

from jaxae.models.networks.adjoint import Window, convolve, convolve_back, pool, unpool

RNG = np.random.default_rng(3)
CASES = {
    "odd, stride 2": ((7, 8), (3, 3), (2, 2), (1, 1)),
    "even kernel": ((6, 9), (4, 2), (2, 3), (1, 1)),
    "dilated": ((9, 5), (3, 2), (1, 1), (2, 3)),
    "dilated and strided": ((9, 10), (3, 2), (2, 3), (2, 1)),
    "strides beyond the kernel": ((11, 7), (2, 1), (4, 3), (1, 1)),
    "kernel beyond the maps": ((3, 2), (7, 5), (1, 2), (1, 1)),
    "plain": ((5, 6), (3, 5), (1, 1), (1, 1)),
    "signal": ((13,), (5,), (3,), (1,)),
    "volume": ((4, 3, 5), (3, 2, 3), (2, 1, 2), (1, 1, 1)),
}
every_case = pytest.mark.parametrize("case", CASES)


def drawn(case, dtype, batch=2, channels=3, features=4):
    """Maps, a kernel, the convolution's shape of maps, the sizes and the window."""
    sizes, *rest = CASES[case]
    window = Window(*rest)
    x = RNG.normal(size=(batch, *sizes, channels)).astype(dtype)
    kernel = RNG.normal(size=(*window.size, channels, features)).astype(dtype)
    y = RNG.normal(size=jax.eval_shape(partial(convolve, window=window), x, kernel).shape)
    return x, kernel, y.astype(dtype), sizes, window


@every_case
def test_a_convolution_is_that_of_scipy(case, by_scipy, x64):
    x, kernel, _, _, window = drawn(case, np.float64)
    expected = by_scipy(x, kernel, window.strides, window.dilation)
    np.testing.assert_allclose(convolve(x, kernel, window), expected, rtol=1e-11, atol=1e-11)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_the_way_back_is_the_adjoint(case, dtype, tolerance, x64):
    x, kernel, y, sizes, window = drawn(case, dtype)
    there = np.sum(np.float64(convolve(x, kernel, window)) * y)
    back = np.sum(x * np.float64(convolve_back(y, kernel, window, sizes)))
    size = np.linalg.norm(x) * np.linalg.norm(y) * np.linalg.norm(kernel)
    assert abs(there - back) < tolerance * size


@pytest.mark.parametrize("k", [3, 4, 5])
@pytest.mark.parametrize(("n", "step"), [(9, 2), (8, 2), (10, 3)])
def test_the_way_back_is_scipys_convolution_of_entries_set_apart(n, step, k, x64):
    window = Window((k, k), (step, step), (1, 1))
    kernel, out = RNG.normal(size=(k, k, 3, 4)), -(-n // step)
    y = RNG.normal(size=(2, out, out, 4))
    apart = np.zeros((2, n + 2 * k, n + 2 * k, 4))
    apart[:, : out * step : step, : out * step : step] = y
    turned = np.swapaxes(kernel, 2, 3)
    whole = [
        [
            sum(signal.convolve2d(row[..., f], turned[:, :, f, c]) for f in range(4))
            for c in range(3)
        ]
        for row in apart
    ]
    total = max((out - 1) * step + k - n, 0)
    first = slice(total // 2, total // 2 + n)
    expected = np.moveaxis(np.asarray(whole), 1, -1)[:, first, first]
    back = convolve_back(y, kernel, window, (n, n))
    np.testing.assert_allclose(back, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", ["odd, stride 2", "dilated"])
def test_derivatives_of_both_directions_are_those_of_finite_differences(case, x64):
    x, kernel, y, sizes, window = drawn(case, np.float64, channels=2, features=2)
    there = lambda x, kernel: jnp.tanh(convolve(x, kernel, window))  # noqa: E731
    back = lambda y, kernel: jnp.tanh(convolve_back(y, kernel, window, sizes))  # noqa: E731
    check_grads(jax.jit(there), (x, kernel), order=2)
    check_grads(jax.jit(back), (y, kernel), order=2)


def test_a_batch_of_kernels_is_as_one_kernel_after_the_other():
    x, _, y, sizes, window = drawn("odd, stride 2", np.float32)
    kernels = RNG.normal(size=(3, *window.size, 3, 4)).astype(np.float32)

    def gradients(kernel):
        there = lambda k: jnp.sum(jnp.sin(convolve(x, k, window)))  # noqa: E731
        back = lambda k: jnp.sum(jnp.sin(convolve_back(y, k, window, sizes)))  # noqa: E731
        return jax.grad(there)(kernel), jax.grad(back)(kernel)

    together = jax.jit(jax.vmap(gradients))(kernels)
    alone = [jax.jit(gradients)(kernel) for kernel in kernels]
    for i in range(2):
        one = np.stack([a[i] for a in alone])
        np.testing.assert_allclose(together[i], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", ["max", "mean"])
@pytest.mark.parametrize(("sizes", "blocks"), [((8, 6), (2, 3)), ((7, 5), (2, 3)), ((9,), (4,))])
def test_pools_are_those_of_blocks_cut_by_hand(sizes, blocks, how):
    x = RNG.normal(size=(2, *sizes, 3)).astype(np.float32)
    reduce = getattr(np, how)
    given = np.asarray(pool(x, blocks, how))
    for at in np.ndindex(given.shape[1:-1]):
        block = tuple(slice(i * b, (i + 1) * b) for i, b in zip(at, blocks, strict=True))
        cut = x[:, *block].reshape(2, -1, 3)
        np.testing.assert_allclose(given[:, *at], reduce(cut, axis=1), rtol=1e-5, atol=1e-6)
    assert given.shape[1:-1] == tuple(-(-n // b) for n, b in zip(sizes, blocks, strict=True))


def test_going_back_through_a_pool_is_the_adjoint_of_sums_over_blocks():
    x, y = RNG.normal(size=(2, 7, 5, 3)), RNG.normal(size=(2, 4, 2, 3))
    spread = np.asarray(unpool(y, (2, 3), (7, 5)), np.float64)
    sums = np.zeros_like(y)
    for i, j in np.ndindex(7, 5):
        sums[:, i // 2, j // 3] += x[:, i, j]
    np.testing.assert_allclose(np.sum(sums * y), np.sum(x * spread), rtol=1e-5)
    np.testing.assert_allclose(pool(spread, (2, 3), "mean"), y, rtol=1e-5)
