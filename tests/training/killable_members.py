"""A process to kill, as `killable.py`, that trains a sweep: its members, one of which diverges."""

import sys

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation


def member(point):
    model = jaxae.denoising(64, 8, noise_level=point["noise_level"])
    return model, jaxae.gradient(model.loss, optax.sgd(point["rate"]))


def training(x):
    points = {"noise_level": np.array([0.1, 0.3, 0.3]), "rate": np.array([0.01, 0.05, 10.0])}
    state, advance = jaxae.over_members(
        member,
        {"x": x[:300]},
        points,
        jax.random.split(jax.random.key(0), 3),
        batch_size=50,
        evaluate=lambda model: evaluation.validation(model, jax.random.key(1)),
        validation={"x": x[300:400]},
    )
    return advance, state


if __name__ == "__main__":
    import killable  # beside this file, where it is looked for when this one is run

    killable.training = training
    killable.main(*sys.argv[1:])
