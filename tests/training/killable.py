"""A process to kill: trains a small denoising autoencoder on digits with `jaxae.run`.

    python killable.py DATA.npy FOLDER EPOCHS CHECKPOINT_SECONDS PAUSE [resume]

Each epoch takes at least PAUSE seconds. Prints why the run ended and writes what it returned
to FOLDER.npz.
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation


def training(x):
    train, held_out = {"x": x[:300]}, {"x": x[300:400]}
    model = jaxae.denoising(64, 8, hidden_dims=(16,), noise_level=0.3)
    learner = jaxae.gradient(model.loss, optax.adam(0.03))
    init_key, state_key, fit_key, loss_key = jax.random.split(jax.random.key(0), 4)
    state = learner.init(model.init(init_key, train), state_key)
    advance = jaxae.over_arrays(
        learner,
        train,
        fit_key,
        batch_size=50,
        evaluate=evaluation.validation(model, loss_key),
        validation=held_out,
    )
    return advance, state


def main(data, folder, epochs, checkpoint_seconds, pause, resume=""):
    advance, state = training(np.load(data))

    def unhurried(state, epoch):
        time.sleep(float(pause))
        return advance(state, epoch)

    result = jaxae.run(
        unhurried,
        state,
        folder,
        epochs=int(epochs),
        examples=300,
        config={"seed": 0},
        monitor="validation_loss",
        resume=bool(resume),
        checkpoint_seconds=float(checkpoint_seconds),
    )
    arrays = jax.tree.leaves((result.state, result.best, result.best_epoch))
    np.savez(Path(folder).with_suffix(".npz"), *arrays)
    print(result.stopped)


if __name__ == "__main__":
    main(*sys.argv[1:])
