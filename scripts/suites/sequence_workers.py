"""What the rows on sequences time, each in a process of its own; as workers.py does.

`python sequence_workers.py NAME`
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

ROWS, BATCH, RATE, CODES = 1000, 50, 1e-3, 32
SIZES = {"short": (29, 12, 64), "long": (100, 8, 128)}
"""Steps, channels and units."""


def waves(time: int, channels: int) -> Any:
    """Sequences `(ROWS, time, channels)` of sines."""
    import numpy as np

    rng = np.random.default_rng(0)
    shift, speed = rng.uniform(0, 6, (2, ROWS, 1, channels))
    return np.sin(shift + 0.1 * (1 + speed) * np.arange(time)[:, None]).astype(np.float32)


def recurrent_epoch(size: str) -> Callable[[], Any]:
    """One epoch of `fit` of a GRU autoencoder."""
    import jax
    import optax

    import jaxae
    from jaxae.models.networks.recurrent_pairs import recurrent

    time, channels, units = SIZES[size]
    model = jaxae.deep((time, channels), CODES, networks=recurrent, hidden_dims=(units,))
    learner = jaxae.gradient(model.loss, optax.adam(RATE))
    data = {"x": jax.numpy.asarray(waves(time, channels))}
    state, key = jaxae.start(model, learner, data, jax.random.key(0))
    epoch = jax.jit(partial(jaxae.fit, learner, epochs=1, batch_size=BATCH))
    return lambda: jax.block_until_ready(epoch(state, data, key))


def torch_epoch(size: str) -> Callable[[], Any]:
    """The same in PyTorch, with `nn.GRU` and fused Adam; the padding-free case, without masks."""
    import torch
    from torch import nn

    time, channels, units = SIZES[size]
    torch.manual_seed(0)
    reader = nn.GRU(channels, units, batch_first=True)
    writer = nn.GRU(CODES, units, batch_first=True)
    code, start, output = (
        nn.Linear(units, CODES),
        nn.Linear(CODES, units),
        nn.Linear(units, channels),
    )
    parts = nn.ModuleList([reader, writer, code, start, output])
    optimizer = torch.optim.Adam(parts.parameters(), lr=RATE, fused=True)
    data = torch.from_numpy(waves(time, channels))

    def loss(x: torch.Tensor) -> torch.Tensor:
        z = code(reader(x)[1][0])
        h, _ = writer(z[:, None].expand(-1, time, -1), torch.tanh(start(z))[None])
        return 0.5 * (output(h).flip(1) - x).square().sum((1, 2)).mean()

    def epoch() -> None:
        for index in torch.randperm(ROWS).view(-1, BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(data[index]).backward()
            optimizer.step()

    return epoch


WORKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    f"{who}, {size}": partial(work, size)
    for who, work in (("jaxae, GRU", recurrent_epoch), ("PyTorch, nn.GRU", torch_epoch))
    for size in SIZES
}

if __name__ == "__main__":
    from workers import serve

    serve(sys.argv[1], WORKERS, times=1)
