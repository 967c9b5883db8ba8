"""One of two processes of one device each that train a small denoising autoencoder together.

    python process_worker.py PORT PROCESS TASK FOLDER

TASK names a function below. The functions that take a mesh are for the tests' own process, too.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.training import parallel, processes

X = np.random.default_rng(0).integers(0, 256, (48, 16), np.uint8)
HELD_OUT = {"x": np.random.default_rng(1).integers(0, 256, (7, 16), np.uint8)}
EPOCHS = 6
PEER_TIMEOUT = 8


def start(mesh):
    """The learner, on a mesh or, without one, on one device, and its first state."""
    model = jaxae.denoising(16, 4, hidden_dims=(8,), noise_level=0.3)
    learner = jaxae.gradient(model.loss, optax.adam(0.01))
    if mesh is not None:
        learner = parallel.data_parallel(learner, mesh)
    params = jax.jit(model.init)(jax.random.key(1), {"x": X})
    return model, learner, learner.init(params, jax.random.key(2))


def fitted(mesh, data):
    """The parameters after some epochs of `fit`."""
    _, learner, state = start(mesh)
    fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=3, batch_size=8))
    return fit(state, data, jax.random.key(3))[0].params


def trained(mesh, folder, event=None, at=None, **options):
    """A run in which each process reads its rows of each batch; `event()` comes in epoch `at`."""
    model, learner, state = start(mesh)
    judge = evaluation.validation(model, jax.random.key(4))

    def batches(epoch):
        if event is not None and epoch == at:
            event()
        for batch in jaxae.batches({"x": X}, 8, epoch=epoch):
            if mesh is not None:
                own = parallel.own_rows(8, mesh)
                batch = parallel.global_batch({name: a[own] for name, a in batch.items()}, mesh)
            yield batch

    def evaluate(params):
        return judge(params, HELD_OUT)

    advance = jaxae.over_batches(learner, batches, jax.random.key(5), evaluate=evaluate)
    options = {"epochs": EPOCHS, "examples": 48, "monitor": "validation_loss", **options}
    return jaxae.run(advance, state, folder, config={"seed": 0}, **options)


def arrays(result):
    """The last and the best parameters of a run, by name."""
    leaves = jax.tree.leaves((result.state.params, result.best, result.best_epoch))
    return {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}


def swept(folder):
    """A run of five members, which two processes share."""

    def member(point):
        model = jaxae.denoising(16, 4, noise_level=point["noise_level"])
        return model, jaxae.gradient(model.loss, optax.adam(0.01))

    points = jaxae.grid(noise_level=[0.0, 0.1, 0.2, 0.3, 0.4])
    keys = jax.random.split(jax.random.key(8), 5)
    state, advance = jaxae.over_members(member, {"x": X}, points, keys, batch_size=8)
    return jaxae.run(advance, state, folder, epochs=2, examples=240, config={"members": 5})


def together(folder):
    """Training by `fit` on whole and shared data, and a run that a signal to one process ends."""
    mesh = parallel.devices_mesh()
    own = {"x": X[parallel.own_rows(48, mesh)]}
    data = {
        "replicated": parallel.replicated({"x": X}, mesh),
        "shared": parallel.global_batch(own, mesh),
    }
    for name, each in data.items():
        leaves = jax.tree.leaves(fitted(mesh, each))
        np.savez(folder / f"{name}-{jax.process_index()}.npz", *map(np.asarray, leaves))
    mine = jax.process_index() == 1
    event = functools.partial(signal.raise_signal, signal.SIGTERM) if mine else None
    result = trained(mesh, folder / "run", event, 2)
    np.savez(folder / f"run-{jax.process_index()}.npz", **arrays(result))
    np.savez(folder / f"swept-{jax.process_index()}.npz", **arrays(swept(folder / "swept")))
    facts = {
        "stopped": result.stopped,
        "rows": [{**row, "seconds": 0} for row in result.rows],
        "devices": [len(jax.local_devices()), len(jax.devices())],
        "own": len(own["x"]),
        "anyone": [processes.anyone(mine), processes.anyone(False)],
        "first": processes.from_first(lambda: f"of process {jax.process_index()}"),
    }
    try:
        trained(mesh, folder / "run")
    except ValueError as error:
        facts["refused"] = str(error)
    tree = {"key": jax.random.key(7), "jax": jax.numpy.ones(3), "spread": data["shared"]["x"]}
    placed = parallel.replicated(tree, mesh)
    facts["key"] = jax.random.key_data(placed["key"]).tolist()
    facts["whole"] = np.array_equal(placed["spread"], X)
    facts["devices of each"] = [len(a.sharding.device_set) for a in placed.values()]
    try:
        parallel.replicated(np.full(3, jax.process_index()), mesh)
    except AssertionError:
        facts["different values"] = "refused"
    (folder / f"facts-{jax.process_index()}.json").write_text(json.dumps(facts))


def killed(folder):
    """Goes on with a run until the second process is killed."""
    event = None
    if jax.process_index() == 1:
        event = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
    trained(parallel.devices_mesh(), folder / "run", event, 4, resume=True, checkpoint_seconds=0)


def raising(folder):
    """Waits for the other process, of which the second raises."""
    for i in range(10**9):
        processes.anyone(False)
        if i == 3 and jax.process_index() == 1:
            (folder / "gone").touch()
            raise OSError("the disk is full")


def silent(folder):
    """Waits for the other process, of which the second stops for ever."""
    for i in range(10**9):
        processes.anyone(False)
        if i == 3 and jax.process_index() == 1:
            (folder / "gone").touch()
            os.kill(os.getpid(), signal.SIGSTOP)


def main(port, process, task, folder):
    processes.connect_processes(f"127.0.0.1:{port}", 2, int(process), peer_timeout=PEER_TIMEOUT)
    globals()[task](Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
