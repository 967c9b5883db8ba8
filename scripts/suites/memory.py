"""Trains on files of so many bytes and prints peaks of resident memory.

python memory.py fit|stream BYTES: over the interpreter's own, of one file
python memory.py shards BYTES: a dictionary on many files
python memory.py jacobian: a contractive step
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import resident

import jaxae

WIDTH, BATCH = 784, 500


def write(path: Path, size: int) -> None:
    """Writes a file of random bytes, in pieces."""
    rows = size // WIDTH
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, WIDTH)}
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, 10_000):
            file.write(rng.bytes((min(rows, start + 10_000) - start) * WIDTH))


def main(how: str, path: Path) -> dict[str, float]:
    """Trains for an epoch; the peak over what the interpreter and an empty JAX hold."""
    model = jaxae.deep(WIDTH, 64)
    learner = jaxae.gradient(model.loss, optax.adam(1e-3))
    init = {"x": np.zeros((1, WIDTH), np.uint8)}
    state = learner.init(model.init(jax.random.key(0), init), jax.random.key(1))
    before = resident.now()
    if how == "fit":
        train, _ = jaxae.split(jaxae.load(path), 0.05)
        key = jax.random.key(2)
        state, _ = jaxae.over_arrays(learner, train, key, batch_size=BATCH)(state, 0)
        jax.block_until_ready(state)
        return {"peak": resident.peak() - before, "growth": 0.0}
    data, sizes = jaxae.load(path), []
    batches = jaxae.batches(data, BATCH, buffer_size=20_000)
    for _ in jaxae.stream(learner, state, jax.random.key(2), batches):
        sizes.append(resident.now())
    tenth = max(1, len(sizes) // 10)
    growth = float(np.median(sizes[-tenth:]) - np.median(sizes[tenth : 2 * tenth]))
    return {"peak": max(sizes) - before, "growth": growth}


def shards(folder: Path, size: int) -> dict[str, float]:
    """One epoch of a top-k dictionary over files of float32 activations."""
    files, dim = 40, 512
    rows = size // (4 * dim * files)
    rng = np.random.default_rng(0)
    for i in range(files):
        np.save(folder / f"part-{i:02d}.npy", rng.standard_normal((rows, dim), np.float32))
    data = jaxae.open_shards(folder)
    model = jaxae.top_k(dim, 2048, k=32)
    learner = jaxae.gradient(model.loss, jaxae.unit_norm(optax.adam(1e-3)))
    state, key = jaxae.start(model, learner, {"x": data[:1]}, jax.random.key(0))
    batches = jaxae.batches({"x": data}, 4096, buffer_size=65_536)
    start = time.perf_counter()
    for _ in jaxae.stream(learner, state, key, batches):
        pass
    seconds = time.perf_counter() - start
    return {"peak": resident.peak(), "rate": len(data) / seconds}


def jacobian() -> dict[str, float]:
    """The gradient of a contractive loss, 784-1000-1000-500, batch 100."""
    options: Any = {"hidden_dims": (1000, 1000), "decoder": "mirrored"}
    model = jaxae.contractive(784, 500, **options)
    batch = {"x": jax.random.uniform(jax.random.key(0), (100, 784))}
    params = model.init(jax.random.key(1), batch)
    before = resident.peak()
    gradient = jax.jit(jax.grad(lambda p: model.loss(p, jax.random.key(2), batch)[0]))
    jax.block_until_ready(gradient(params))
    return {"peak": resident.peak(), "before": before}


def run(how: str, *size: str) -> dict[str, float]:
    """One of the measurements, on files that go away."""
    if how == "jacobian":
        return jacobian()
    with tempfile.TemporaryDirectory() as folder:
        if how == "shards":
            return shards(Path(folder), int(size[0]))
        file = Path(folder, "x.npy")
        write(file, int(size[0]))
        return main(how, file)


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
