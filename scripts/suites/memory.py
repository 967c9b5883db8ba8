"""Trains on a file of so many bytes and prints the peak memory over the interpreter's own.

python memory.py fit|stream BYTES
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax

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


def resident(peak: bool = False) -> float:
    """The resident set of this process, or its greatest so far, in MiB."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main(how: str, path: Path) -> dict[str, float]:
    """Trains for an epoch; the peak over what the interpreter and an empty JAX hold."""
    model = jaxae.deep(WIDTH, 64)
    learner = jaxae.gradient(model.loss, optax.adam(1e-3))
    init = {"x": np.zeros((1, WIDTH), np.uint8)}
    state = learner.init(model.init(jax.random.key(0), init), jax.random.key(1))
    before = resident()
    if how == "fit":
        train, _ = jaxae.split(jaxae.load(path), 0.05)
        key = jax.random.key(2)
        state, _ = jaxae.over_arrays(learner, train, key, batch_size=BATCH)(state, 0)
        jax.block_until_ready(state)
        return {"peak": resident(peak=True) - before, "growth": 0.0}
    data, sizes = jaxae.load(path), []
    batches = jaxae.batches(data, BATCH, buffer_size=20_000)
    for _ in jaxae.stream(learner, state, jax.random.key(2), batches):
        sizes.append(resident())
    tenth = max(1, len(sizes) // 10)
    growth = float(np.median(sizes[-tenth:]) - np.median(sizes[tenth : 2 * tenth]))
    return {"peak": max(sizes) - before, "growth": growth}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.npy")
        write_size = int(sys.argv[2])
        write(file, write_size)
        print(json.dumps(main(sys.argv[1], file)))
