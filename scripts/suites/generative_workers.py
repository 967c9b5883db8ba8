"""What the rows on generative models time, each in a process of its own; as workers.py does.

`python generative_workers.py NAME`
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

HIDDEN, CODES, BATCH, RATE = (500, 500), 20, 100, 1e-3
NET, NET_CODES, ROWS, SAMPLES = (200, 200), 50, 100, 5000


def vae_epoch() -> Callable[[], Any]:
    """One epoch of `fit` of a VAE 784-500-500-20 over 20,000 grey images."""
    import jax
    import optax
    from workers import images

    import jaxae

    model = jaxae.vae((28, 28, 1), CODES, hidden_dims=HIDDEN, activation="relu")
    learner = jaxae.gradient(model.loss, optax.adam(RATE))
    data = {"x": jax.numpy.asarray(images())}
    state, key = jaxae.start(model, learner, data, jax.random.key(0))
    epoch = jax.jit(partial(jaxae.fit, learner, epochs=1, batch_size=BATCH))
    return lambda: jax.block_until_ready(epoch(state, data, key))


def torch_vae_epoch(compiled: bool) -> Callable[[], Any]:
    """The same epoch in PyTorch, eager or compiled, with fused Adam."""
    import torch
    from torch import nn
    from torch.nn import functional
    from workers import images

    torch.manual_seed(0)

    def dense(widths: tuple[int, ...]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            layers += [nn.Linear(fan_in, fan_out)] + ([nn.ReLU()] if i < len(widths) - 2 else [])
        return nn.Sequential(*layers)

    encoder, decoder = dense((784, *HIDDEN, 2 * CODES)), dense((CODES, *HIDDEN, 784))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)
    data = torch.from_numpy(images().reshape(-1, 784).astype("float32") / 255)

    def loss(x: torch.Tensor) -> torch.Tensor:
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        error = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="none")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        return error.sum(1).mean() + kl.sum(1).mean()

    loss = torch.compile(loss) if compiled else loss

    def epoch() -> None:
        for index in torch.randperm(len(data)).view(-1, BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(data[index]).backward()
            optimizer.step()

    return epoch


def likelihood() -> Callable[[], Any]:
    """`nll` of 100 binary images by 5,000 draws, 784-200-200-50 tanh."""
    import jax
    from workers import images

    import jaxae
    from jaxae import evaluation

    model = jaxae.vae((28, 28, 1), NET_CODES, hidden_dims=NET, activation="tanh")
    data = {"x": (images()[:ROWS] > 127).astype("float32")}
    params = model.init(jax.random.key(0), data)
    measure = jax.jit(evaluation.nll(model, SAMPLES))
    return lambda: jax.block_until_ready(measure(params, jax.random.key(1), data))


def decoder_products() -> Callable[[], Any]:
    """The matrix products of it alone: the decoder's, of all draws, 2,000 at a time."""
    import jax

    widths, rows = (NET_CODES, *NET, 784), 2000
    keys = jax.random.split(jax.random.key(0), len(widths))
    shapes = list(pairwise(widths))
    kernels = [0.1 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False)]
    z = jax.random.normal(keys[-1], (rows, NET_CODES))

    @jax.jit
    def run(kernels: list[jax.Array], z: jax.Array) -> jax.Array:
        def turn(z: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            h = z
            for kernel in kernels:
                h = h @ kernel
            return z + 1e-6 * h[:, :NET_CODES], h[0, 0]

        return jax.lax.scan(turn, z, length=ROWS * SAMPLES // rows)[0]

    return lambda: jax.block_until_ready(run(kernels, z))


VAE, NLL, PRODUCTS = "jaxae, VAE", "jaxae, NLL", "matrix products of the decoder"
TORCH_VAE = {
    "PyTorch eager, fused Adam, VAE": partial(torch_vae_epoch, compiled=False),
    "PyTorch compiled, fused Adam, VAE": partial(torch_vae_epoch, compiled=True),
}
WORKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    VAE: vae_epoch,
    **TORCH_VAE,
    NLL: likelihood,
    PRODUCTS: decoder_products,
}

if __name__ == "__main__":
    from workers import serve

    serve(sys.argv[1], WORKERS, times=1)
