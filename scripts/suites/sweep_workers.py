"""What the rows on sweeps time, each in a process of its own.

`python sweep_workers.py NAME` serves one of WORKERS, as workers.py does, once for each line
that it reads. `python sweep_workers.py compile CASE WHAT` prints the seconds by which the first
call of a sweep, or of one member alone, outlasts the second.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

RATE = 1e-3
NOISE_LEVELS, MOST_NOISE = 16, 0.6
TORCH_MEMBERS = 4


class Case(NamedTuple):
    """A sweep: members of `widths` and back, as many seeds for each of 16 noise levels."""

    widths: tuple[int, ...]
    rows: int
    batch: int
    epochs: int
    seeds: int = 4
    levels: int = NOISE_LEVELS

    @property
    def members(self) -> int:
        """How many are trained."""
        return self.levels * self.seeds

    @property
    def steps(self) -> int:
        """Steps of a member."""
        return self.epochs * (self.rows // self.batch)

    @property
    def layers(self) -> tuple[int, ...]:
        """All widths, from the input to the reconstruction."""
        return (*self.widths, *self.widths[-2::-1])


DIGITS = Case((64, 128, 32), 1437, 64, 50)
IMAGES = Case((784, 1000, 500), 2000, 100, 1, seeds=1, levels=8)
CASES = {
    "digits": DIGITS,
    "digits, quick": DIGITS._replace(epochs=2, seeds=1),
    "images": IMAGES,
    "images, quick": IMAGES._replace(rows=200, levels=2),
}


def inputs(case: Case) -> Any:
    """The rows of a case as floats: scikit-learn's digits, or images of MNIST."""
    import jaxae

    name = "digits" if case.widths[0] == 64 else "mnist"
    x = jaxae.load(name, "train")["x"][: case.rows].reshape(case.rows, -1)
    return x.astype("float32") / (255 if x.dtype == "uint8" else 1)


def training(case: Case) -> tuple[Callable[..., Any], Any, Any, Any]:
    """`train` of one member, and its arguments: the data, keys and noise levels of all."""
    import jax
    import numpy as np
    import optax

    import jaxae

    shape, *hidden, code = case.widths

    def train(data: Any, key: Any, noise_level: Any) -> Any:
        model = jaxae.denoising(
            shape, code, hidden_dims=hidden, activation="relu", noise_level=noise_level
        )
        learner = jaxae.gradient(model.loss, optax.adam(RATE))
        state, key = jaxae.start(model, learner, data, key)
        fit = partial(jaxae.fit, learner, epochs=case.epochs, batch_size=case.batch)
        return fit(state, data, key)[0].params

    levels = np.linspace(0, MOST_NOISE, case.levels)
    points = jaxae.grid(noise_level=levels.astype(np.float32), seed=range(case.seeds))
    keys = jax.vmap(jax.random.key)(points["seed"])
    return train, {"x": jax.numpy.asarray(inputs(case))}, keys, points["noise_level"]


def whole_sweep(case: Case, devices: int, chunk: int | None = None) -> Callable[[], Any]:
    """All members as one program over so many host devices."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    import jaxae

    train, *arguments = training(case)
    sweep = jaxae.swept(train, chunk=chunk)
    return lambda: jax.block_until_ready(sweep(*arguments))


def solo_runs(case: Case, members: int | None = None) -> Callable[[], Any]:
    """One member after the other, by a program that is compiled once."""
    import jax

    train, data, keys, levels = training(case)
    solo, pairs = jax.jit(train), list(zip(keys, levels, strict=True))[:members]
    return lambda: [jax.block_until_ready(solo(data, *pair)) for pair in pairs]


def bare_products(case: Case, devices: int) -> Callable[[], Any]:
    """The matrix products alone of all steps."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from workers import products

    step, kernels = products(case.layers, case.batch)
    length = case.steps * case.members // devices
    run = jax.pmap(
        lambda _, kernels: jax.lax.scan(step, kernels, length=length)[0], in_axes=(0, None)
    )
    return lambda: jax.block_until_ready(run(jax.numpy.arange(devices), kernels))


def torch_runs(case: Case) -> Callable[[], Any]:
    """Four members in PyTorch, eager, with fused Adam, on one thread or two, as is faster."""
    import torch

    data, levels = torch.from_numpy(inputs(case)), torch.linspace(0, MOST_NOISE, TORCH_MEMBERS)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        few = case._replace(epochs=min(case.epochs, 3))
        torch_member(few, data, 0.3)
        start = time.perf_counter()
        torch_member(few, data, 0.3)
        return time.perf_counter() - start

    torch.set_num_threads(min((1, 2), key=seconds))
    return lambda: [torch_member(case, data, float(level)) for level in levels]


def torch_member(case: Case, data: Any, noise_level: float) -> Any:
    """One training as `training` has it."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(case.layers), 1):
        linear = i in (len(case.widths) - 1, len(case.layers) - 1)
        layers += [nn.Linear(fan_in, fan_out), *([] if linear else [nn.ReLU()])]
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    for _ in range(case.epochs):
        order = torch.randperm(case.rows)[: case.rows // case.batch * case.batch]
        for index in order.view(-1, case.batch):
            x = data[index]
            noisy = x * (torch.rand_like(x) >= noise_level)
            optimizer.zero_grad(set_to_none=True)
            (0.5 * (net(noisy) - x).square().sum(1).mean()).backward()
            optimizer.step()
    return net


def compilation(case: Case, what: str) -> float:
    """Seconds of a first call less those of a second, of a "sweep" or of one "member".

    Of two epochs, as the program of fifty differs from theirs in a number alone.
    """
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    case = case._replace(epochs=2)
    work = whole_sweep(case, 1) if what == "sweep" else solo_runs(case, 1)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds[0] - seconds[1]


SWEEP_2, SWEEP_1 = "jaxae.sweep, 2 devices", "jaxae.sweep, 1 device"
SOLO, TORCH = "jaxae, a loop of solo runs", "PyTorch eager, a loop, fused Adam"
BARE_2, BARE_1 = "bare products, 2 devices", "bare products, 1 device"
PEERS: dict[str, Callable[[Case], Callable[[], Any]]] = {
    SWEEP_2: partial(whole_sweep, devices=2),
    SWEEP_1: partial(whole_sweep, devices=1),
    SOLO: solo_runs,
    TORCH: torch_runs,
    BARE_2: partial(bare_products, devices=2),
    BARE_1: partial(bare_products, devices=1),
}
WORKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    f"{name}: {who}": partial(work, case)
    for name, case in CASES.items()
    for who, work in PEERS.items()
}

if __name__ == "__main__":
    if sys.argv[1] == "compile":
        print(json.dumps(compilation(CASES[sys.argv[2]], sys.argv[3])))
    else:
        from workers import serve

        serve(sys.argv[1], WORKERS, times=1)
