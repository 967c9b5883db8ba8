"""Memory, compilations and import time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from suites.rows import Outcome, Row


def compile_once(quick: bool) -> Outcome:
    """Traces of the training step over epochs, noise levels and learning rates."""
    del quick
    import jax
    import optax

    import jaxae

    data = {"x": jaxae.load("digits", "train")["x"]}
    traces: list[int] = []

    def start(noise_level: Any, learning_rate: Any) -> tuple[Any, Any]:
        model = jaxae.denoising((8, 8, 1), 16, noise_level=noise_level)
        return model, jaxae.gradient(model.loss, optax.adam(learning_rate))

    @jax.jit
    def epoch(state: Any, data: Any, number: Any, noise_level: Any, learning_rate: Any) -> Any:
        traces.append(1)
        learner, key = start(noise_level, learning_rate)[1], jax.random.key(2)
        fit = jaxae.fit(learner, state, data, key, epochs=1, batch_size=64, first_epoch=number)
        return fit[0]

    model, learner = start(0.1, 1e-3)
    state = learner.init(model.init(jax.random.key(0), data), jax.random.key(1))
    for number, (noise, rate) in enumerate([(0.1, 1e-3), (0.1, 1e-3), (0.4, 1e-3), (0.4, 1e-2)]):
        state = epoch(state, data, number, noise, rate)
    return Outcome(
        {"traces": [float(len(traces))]},
        reference="4 calls: a second epoch, another noise level, another learning rate",
        bar="one trace",
        holds=len(traces) == 1,
        protocol="digits, denoising 64-16-64, every hyperparameter an argument of one program",
    )


def import_time(quick: bool) -> Outcome:
    """What `import jaxae` adds to importing JAX, Linen and optax."""
    code = (
        "import time, sys; import jax, flax.linen, optax; t = time.perf_counter(); import jaxae; "
        "print(time.perf_counter() - t, *(m in sys.modules for m in "
        "('tensorflow_datasets', 'orbax', 'matplotlib', 'sklearn')))"
    )
    lines = [_python("-c", code).split() for _ in range(2 if quick else 7)]
    seconds = [float(line[0]) for line in lines]
    heavy = any("True" in line for line in lines)
    return Outcome(
        {"seconds": seconds},
        reference="`import jax, flax.linen, optax` before it, not counted",
        bar="at most 0.3 s; loads neither TFDS, Orbax, matplotlib nor scikit-learn",
        holds=float(np.median(seconds)) <= 0.3 and not heavy,
        protocol="fresh interpreters",
    )


def memory(quick: bool) -> Outcome:
    """Peak memory of training on N bytes, and of streaming over a file."""
    size = (50 if quick else 1000) * 2**20
    script = str(Path(__file__).with_name("memory.py"))
    held, streamed = (
        json.loads(_python(script, how, str(size)).splitlines()[-1]) for how in ("fit", "stream")
    )
    allowed = 1.5 * size / 2**20 + 500
    return Outcome(
        {
            "fit: peak over the interpreter's, MiB": [held["peak"]],
            "stream: peak over the interpreter's, MiB": [streamed["peak"]],
            "stream: growth from the first to the last tenth, MiB": [streamed["growth"]],
        },
        reference=f"the data: {size / 2**20:.0f} MiB of bytes in an .npy file",
        bar=f"fit under 1.5 N + 500 MB = {allowed:.0f} MiB; stream under 500 MiB and flat",
        holds=held["peak"] < allowed and streamed["peak"] < 500 and streamed["growth"] < 50,
        protocol="load, split 5 %, one epoch of 784-64-784, batch 500; peak resident set",
    )


def shards(quick: bool) -> Outcome:
    """A dictionary trained on files that are larger than memory may be."""
    size = 10**8 if quick else 10_240_000_000
    script = str(Path(__file__).with_name("memory.py"))
    found = json.loads(_python(script, "shards", str(size)).splitlines()[-1])
    return Outcome(
        {
            "peak resident set of the process, MiB": [found["peak"]],
            "examples per second": [found["rate"]],
        },
        reference=f"{size / 1e9:.2f} GB of float32 activations in 40 .npy files",
        bar="10 GB of shards train in 2 GB of memory",
        holds=found["peak"] < 2e9 / 2**20,
        protocol="`open_shards`, `batches` with a buffer of 65,536 rows, one epoch of `stream`: "
        "top-k, 512 dimensions, 2,048 atoms, k 32, batch 4,096, Adam with unit norm",
    )


def jacobian_memory(quick: bool) -> Outcome:
    """The exact contractive penalty of a deep encoder."""
    del quick
    script = str(Path(__file__).with_name("memory.py"))
    found = json.loads(_python(script, "jacobian").splitlines()[-1])
    tensor = 4 * 100 * 500 * 784 / 2**20
    return Outcome(
        {
            "peak resident set of the process, MiB": [found["peak"]],
            "of it before the gradient, MiB": [found["before"]],
        },
        reference=f"the Jacobians of the batch alone are {tensor:.0f} MiB",
        bar="at most 1 GB",
        holds=found["peak"] < 1e9 / 2**20,
        protocol="784-1000-1000-500 sigmoid, batch 100, the gradient of the loss with its "
        "penalty by the route that `auto` takes, compilation included",
    )


def _python(*arguments: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[:1]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


ROWS = (
    Row("compile-once", "Compilations", compile_once),
    Row("import", "Import time", import_time, spread="pairs"),
    Row("memory", "Memory of training", memory),
    Row("shards", "Memory of training on shards", shards),
    Row("jacobian-memory", "Memory of an exact Jacobian penalty", jacobian_memory),
)
