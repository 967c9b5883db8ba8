"""Convolutional autoencoders of images beside dense ones and PCA, at equal code size."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxae
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Params
from jaxae.models.networks.convnets import convolutional
from suites.rows import Outcome, Row
from suites.training import choose, train


class Plan(NamedTuple):
    """Of both nets: the size of the code, the options of each, and how they train.

    Chosen for each by validation after 1/part of the epochs are the peak rate, the noise on
    what the encoder sees, and the decay of weights.
    """

    codes: int
    nets: Mapping[str, Mapping[str, Any]]
    epochs: int
    batch_size: int
    rates: Sequence[float]
    noises: Sequence[float] = (0.0,)
    decays: Sequence[float] = (0.0,)
    part: int = 3


def net(shape: Any, plan: Plan, name: str, noise: float = 0.0) -> Autoencoder:
    """The net of that name around a linear code, under squared error."""
    corrupt = jaxae.corruptions.gaussian(noise) if noise else jaxae.corruptions.none
    options = {"activation": "relu", "corrupt": corrupt, **plan.nets[name]}
    return jaxae.deep(shape, plan.codes, **options)


def trained(
    plan: Plan,
    name: str,
    rows: Batch,
    how: tuple[float, float, float],
    epochs: int,
    seeds: Sequence[int],
) -> list[Params]:
    """The parameters after one cycle of that rate, under that noise and decay, from each seed."""
    rate, noise, decay = how
    steps = epochs * (len(rows["x"]) // plan.batch_size)
    tx = optax.adamw(optax.cosine_onecycle_schedule(max(2, steps), rate), weight_decay=decay)
    model = net(rows["x"].shape[1:], plan, name, noise)
    return train(model, tx, rows, epochs=epochs, batch_size=plan.batch_size, seeds=seeds)


def compare(
    plan: Plan, rows: Batch, test: Batch, held_out: float, seeds: Sequence[int]
) -> tuple[dict[str, list[float]], str]:
    """Test errors of each net, its rate chosen on held-out rows, and the choices in words."""
    few, held = ({"x": part["x"]} for part in jaxae.split(rows, held_out, seed=0))
    measured: dict[str, list[float]] = {}
    chosen = {}
    for name in plan.nets:
        judge = jax.jit(evaluation.reconstruction(net(rows["x"].shape[1:], plan, name)))

        def validate(how: Any, name: str = name, judge: Any = judge) -> float:
            (params,) = trained(plan, name, few, how, max(1, plan.epochs // plan.part), [0])
            return float(judge(params, held)["squared_error"])

        options = itertools.product(plan.rates, plan.noises, plan.decays)
        chosen[name] = choose(options, validate)
        found = trained(plan, name, rows, chosen[name], plan.epochs, seeds)
        measured[f"{name}: test squared error"] = [
            float(judge(params, test)["squared_error"]) for params in found
        ]
    words = "; ".join(
        f"{name}: {_words(options)}, chosen {', '.join(f'{value:g}' for value in chosen[name])}"
        for name, options in plan.nets.items()
    )
    return measured, (
        f"codes of {plan.codes}, linear; squared error; {words}; equal epochs: {plan.epochs} each, "
        f"Adam with decoupled decay, one cycle, batch {plan.batch_size}; peak rate, Gaussian noise "
        f"on the encoder's input and decay chosen on {100 * held_out:.0f} % held-out rows after "
        f"1/{plan.part} of the epochs among {tuple(plan.rates)}, {tuple(plan.noises)} and "
        f"{tuple(plan.decays)}; then trained on all training rows; squared error summed over "
        "pixels, mean over test images"
    )


def outcome(
    plan: Plan, rows: Batch, test: Batch, held_out: float, seeds: Sequence[int], data: str
) -> Outcome:
    """The row, with PCA of as many codes and the mean beside it."""
    rows, test = {"x": rows["x"]}, {"x": test["x"]}
    measured, words = compare(plan, rows, test, held_out, seeds)
    pca = evaluation.pca_baseline(rows, test, plan.codes)["squared_error"]
    mean = evaluation.mean_baseline(rows, test)["squared_error"]
    ours, dense = (float(np.mean(measured[f"{n}: test squared error"])) for n in plan.nets)
    return Outcome(
        measured,
        reference=f"PCA-{plan.codes} {pca:.3f}, mean {mean:.2f} (same rows)",
        bar="convolutional: below the dense net, and at most half of PCA's error",
        holds=ours < dense and ours <= 0.5 * pca,
        protocol=f"{data}; {words}",
    )


def digits(quick: bool) -> Outcome:
    """8 x 8 digits, codes of an eighth of as many numbers as pixels."""
    nets: dict[str, dict[str, Any]] = {
        "convolutional": {"networks": convolutional, "hidden_dims": (32, 64), "dense_dims": (256,)},
        "dense": {"hidden_dims": (256, 128)},
    }
    noises = (0.1,) if quick else (0.0, 0.1, 0.2)
    plan = Plan(8, nets, 2 if quick else 300, 50, rates=(3e-3,), noises=noises, part=1)
    return _on_digits(plan, quick)


def digits_of_32(quick: bool) -> Outcome:
    """8 x 8 digits, codes of half as many numbers as pixels: what counts is not to overfit."""
    nets: dict[str, dict[str, Any]] = {
        "convolutional": {"networks": convolutional, "hidden_dims": (128,), "activation": "gelu"},
        "dense": {"hidden_dims": (1024,), "activation": "gelu"},
    }
    decays = (0.4,) if quick else (0.1, 0.2, 0.4, 0.8, 1.6)
    plan = Plan(32, nets, 2 if quick else 1000, 50, rates=(2e-3,), decays=decays, part=1)
    by_hand = "widths, activation and rate by hand on the held-out rows, seed 0"
    return _on_digits(plan, quick, by_hand)


def _on_digits(plan: Plan, quick: bool, by_hand: str = "") -> Outcome:
    rows, test = jaxae.load("digits", "train"), jaxae.load("digits", "test")
    sizes = f"digits, {len(rows['x'])} / {len(test['x'])} rows"
    sizes += f"; {by_hand}" if by_hand else ""
    return outcome(plan, rows, test, 0.2, range(1, 2 if quick else 6), sizes)


def mnist(quick: bool) -> Outcome:
    """MNIST, codes of 32."""
    nets: dict[str, dict[str, Any]] = {
        "convolutional": {"networks": convolutional, "hidden_dims": (16, 32), "dense_dims": (256,)},
        "dense": {"hidden_dims": (512, 256)},
    }
    plan = Plan(32, nets, 1 if quick else 10, 100, (3e-3,) if quick else (1.5e-3, 3e-3))
    rows, test = jaxae.load("mnist", "train"), jaxae.load("mnist", "test")
    return outcome(plan, rows, test, 1 / 12, range(1, 2 if quick else 4), "MNIST 60,000 / 10,000")


def _words(options: Mapping[str, Any]) -> str:
    widths = "-".join(map(str, options["hidden_dims"]))
    kind = f"{options.get('activation', 'relu')}, mirrored"
    if "networks" not in options:
        return f"dense {widths}, {kind}"
    dense = "-".join(map(str, options.get("dense_dims", ()))) or "none"
    return f"3 x 3 kernels, strides 2, {widths} channels, dense {dense}, {kind}"


ROWS = (
    Row("digits-conv", "Convolutional against dense, digits, 8 codes", digits),
    Row("digits-conv-32", "Convolutional against dense, digits, 32 codes", digits_of_32),
    Row("mnist-conv", "Convolutional against dense, MNIST, 32 codes", mnist),
)
