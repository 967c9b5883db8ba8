"""What the speed rows time, each in a process of its own: `python workers.py NAME`.

A worker prepares, warms up, prints the seconds of its first call as a line of JSON, and
then, for each line that it reads, does its work three times, so that what the other
processes left in the caches matters little, and prints the mean seconds that it took.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

WIDTHS = (784, 300, 150, 300, 784)
ROWS, BATCH, RATE, TIMES = 20_000, 150, 1e-3, 3
RBM_ROWS = 5_000


def images() -> Any:
    """The first 20,000 training images of MNIST, as bytes."""
    import jaxae

    return jaxae.load("mnist", f"train[:{ROWS}]")["x"]


def jaxae_epoch(noise_level: float | None = None, noise: str = "masking") -> Callable[[], Any]:
    """One epoch of `fit` over 20,000 images: order, batches, step and Adam."""
    import jax
    import optax

    import jaxae

    options: dict[str, Any] = {"hidden_dims": (300,), "latent_activation": "elu"}
    if noise_level is not None:
        options["corrupt"] = getattr(jaxae.corruptions, noise)(noise_level)
    model = jaxae.deep((28, 28, 1), 150, **options)
    learner = jaxae.gradient(model.loss, optax.adam(RATE))
    data = {"x": jax.numpy.asarray(images())}
    state = learner.init(model.init(jax.random.key(0), data), jax.random.key(1))
    epoch = jax.jit(partial(jaxae.fit, learner, epochs=1, batch_size=BATCH))
    return lambda: jax.block_until_ready(epoch(state, data, jax.random.key(2)))


def products(widths: Sequence[int], rows: int) -> tuple[Callable[..., Any], list[Any]]:
    """A step of the matrix products of dense layers, to be scanned, and kernels of these widths.

    Forward, and both backward ones, but the one that would give the gradient of the input.
    """
    import jax

    shapes = list(pairwise(widths))
    *keys, x_key = jax.random.split(jax.random.key(0), len(widths))
    kernels = [0.01 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]
    x = 1e-3 * jax.random.normal(x_key, (rows, widths[0]))

    def step(kernels: list[jax.Array], _: None) -> tuple[list[jax.Array], None]:
        outputs = [x]
        for kernel in kernels:
            outputs.append(outputs[-1] @ kernel)
        back, products = outputs.pop(), []
        for kernel, h in reversed(list(zip(kernels, outputs, strict=True))):
            products.append(h.T @ back)
            back = back @ kernel.T if h is not x else back
        return products[::-1], None

    return step, kernels


def bare_products() -> Callable[[], Any]:
    """The matrix products of that epoch alone."""
    import jax

    step, kernels = products(WIDTHS, BATCH)

    @jax.jit
    def epoch(kernels: list[jax.Array]) -> list[jax.Array]:
        return jax.lax.scan(step, kernels, length=ROWS // BATCH)[0]

    return lambda: jax.block_until_ready(epoch(kernels))


def torch_epoch(compiled: bool) -> Callable[[], Any]:
    """The same epoch in PyTorch, eager or compiled, with fused Adam."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(WIDTHS)):
        layers += [nn.Linear(fan_in, fan_out)] + ([nn.ELU()] if i < len(WIDTHS) - 2 else [])
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    data = torch.from_numpy(images().reshape(ROWS, -1).astype("float32") / 255)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (net(x) - x).square().sum(1).mean()

    loss = torch.compile(loss) if compiled else loss

    def epoch() -> None:
        for index in torch.randperm(ROWS)[: ROWS // BATCH * BATCH].view(-1, BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(data[index]).backward()
            optimizer.step()

    return epoch


def binary_images() -> Any:
    """5,000 images with pixels 0 or 1."""
    return (images()[:RBM_ROWS].reshape(RBM_ROWS, -1) > 127).astype("float32")


def rbm_epoch(units: int, batch_size: int) -> Callable[[], Any]:
    """One epoch of `fit` of CD-1 by plain gradient descent, as scikit-learn's is."""
    import jax
    import optax

    import jaxae

    data = {"x": jax.numpy.asarray(binary_images())}
    model = jaxae.rbm(data["x"].shape[1:], units)
    learner = jaxae.gradient(model.loss, optax.sgd(0.05))
    state = learner.init(model.init(jax.random.key(0), data), jax.random.key(1))
    epoch = jax.jit(partial(jaxae.fit, learner, epochs=1, batch_size=batch_size))
    return lambda: jax.block_until_ready(epoch(state, data, jax.random.key(2)))


def rbm_products(units: int, batch_size: int) -> Callable[[], Any]:
    """The five matrix products of that epoch alone: up, down, up, and the two of the gradient."""
    import jax

    kernel = 0.01 * jax.random.normal(jax.random.key(0), (WIDTHS[0], units))
    x = 1e-3 * jax.random.normal(jax.random.key(1), (batch_size, WIDTHS[0]))

    def step(kernel: jax.Array, _: None) -> tuple[jax.Array, None]:
        h = x @ kernel
        down = h @ kernel.T
        return x.T @ h - down.T @ (down @ kernel), None

    @jax.jit
    def epoch(kernel: jax.Array) -> jax.Array:
        return jax.lax.scan(step, kernel, length=RBM_ROWS // batch_size)[0]

    return lambda: jax.block_until_ready(epoch(kernel))


def sklearn_rbm(units: int, batch_size: int) -> Callable[[], Any]:
    """The same epoch in scikit-learn, whose contrastive divergence is persistent."""
    from sklearn.neural_network import BernoulliRBM

    x = binary_images()
    rbm = BernoulliRBM(units, learning_rate=0.05, batch_size=batch_size, n_iter=1, random_state=0)
    return lambda: rbm.fit(x)


RBM_WORKERS = {"rbm": rbm_epoch, "products": rbm_products, "sklearn": sklearn_rbm}
RBM_CASES = ((500, 10), (500, 100), (64, 10), (256, 10))

WORKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    "jaxae": jaxae_epoch,
    "jaxae, masking 0.3": partial(jaxae_epoch, 0.3, "masking"),
    "jaxae, Gaussian 0.5": partial(jaxae_epoch, 0.5, "gaussian"),
    "bare products": bare_products,
    "PyTorch eager, fused Adam": partial(torch_epoch, compiled=False),
    "PyTorch compiled, fused Adam": partial(torch_epoch, compiled=True),
    **{
        f"{who}, {units} units, batch {size}": partial(work, units, size)
        for who, work in RBM_WORKERS.items()
        for units, size in RBM_CASES
    },
}


def serve(
    name: str, workers: Mapping[str, Callable[[], Callable[[], Any]]] = WORKERS, times: int = TIMES
) -> None:
    """Times the worker of that name, for each line of standard input."""
    start = time.perf_counter()
    work = workers[name]()
    work()
    print(json.dumps({"first": time.perf_counter() - start}), flush=True)
    work()
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(times):
            work()
        print(json.dumps((time.perf_counter() - start) / times), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
