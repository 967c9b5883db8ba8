"""Time and memory of sweeps of one width, in a process of its own.

python sweep_costs.py WIDTH DEVICES MEMBERS:BATCH ...
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

EPOCHS, STEPS, TIMES = 2, 8, 2


def layers(width: int) -> tuple[int, ...]:
    """The widths of a member of which the hidden layers are `width` wide."""
    return (width, width, width // 2, width, width)


def flops(widths: tuple[int, ...], batch: int) -> int:
    """Of the matrix products of a step: forward, kernel and (but of the first) input gradients."""
    products = [a * b for a, b in pairwise(widths)]
    return 2 * batch * (3 * sum(products) - products[0])


def traffic(widths: tuple[int, ...], batch: int) -> int:
    """Bytes that a step reads and writes at least.

    For each parameter: forward, backward, gradient written and read, Adam's two moments and
    the parameter itself read and written; for each activation: written, and read twice.
    """
    params = sum((a + 1) * b for a, b in pairwise(widths))
    return 4 * (10 * params + 3 * batch * sum(widths))


def training(widths: tuple[int, ...], batch: int, epochs: int = EPOCHS) -> Callable[..., Any]:
    """`train(data, key, noise_level) -> params` of one member."""
    import optax

    import jaxae

    shape, *hidden = widths[: len(widths) // 2 + 1]

    def train(data: Any, key: Any, noise_level: Any) -> Any:
        model = jaxae.denoising(
            shape, hidden[-1], hidden_dims=hidden[:-1], activation="relu", noise_level=noise_level
        )
        learner = jaxae.gradient(model.loss, optax.adam(1e-3))
        state, key = jaxae.start(model, learner, data, key)
        fit = partial(jaxae.fit, learner, epochs=epochs, batch_size=batch)
        return fit(state, data, key)[0].params

    return train


def measure(width: int, devices: int, members: int, batch: int) -> dict[str, float]:
    """Seconds of an epoch of all members, and their memory in MiB: predicted, and found."""
    import jax
    import resident

    import jaxae
    from jaxae.training.layout import plan
    from jaxae.training.memory import nbytes

    train = training(layers(width), batch)
    data = {"x": jax.random.uniform(jax.random.key(0), (STEPS * batch, width))}
    args = jax.random.split(jax.random.key(1), members), jax.numpy.linspace(0, 0.6, members)
    layout = plan(train, data, *args)
    sweep = jaxae.swept(train)
    jax.block_until_ready(sweep(data, *args))
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        jax.block_until_ready(sweep(data, *args))
        seconds.append((time.perf_counter() - start) / EPOCHS)
    found = {
        "width": width,
        "devices": len(layout.devices),
        "members": members,
        "batch": batch,
        "each": layout.chunks * layout.chunk,
        "seconds": min(seconds),
        "predicted": len(layout.devices) * layout.bytes / 2**20,
        "peak": resident.peak(),
    }
    if devices == 1:
        size = layout.chunk

        @jax.jit
        def mapped(data: Any, args: Any) -> Any:
            return jax.lax.map(lambda a: train(data, *a), args, batch_size=size)

        held: Any = mapped.lower(data, args).compile().memory_analysis()
        sizes = held.argument_size_in_bytes, held.output_size_in_bytes, held.temp_size_in_bytes
        found["xla"] = sum(sizes) / 2**20
        found["data"] = nbytes(data) / 2**20
    return found


if __name__ == "__main__":
    import jax

    jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
    pairs = [tuple(map(int, pair.split(":"))) for pair in sys.argv[3:]]
    print(json.dumps([measure(int(sys.argv[1]), int(sys.argv[2]), *pair) for pair in pairs]))
