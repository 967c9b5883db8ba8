"""Speed of the exact contractive penalty: peers in turn, in one process."""

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxae
from suites.rows import Outcome, Row

BATCH, PIXELS = 100, 784
PROTOCOL = (
    "gradients with respect to the parameters, batch 100, float32, sigmoid units, one process, "
    "peers in turn; median [quartiles]"
)
Work = Callable[[], Any]


def in_turn(peers: dict[str, tuple[Work, int]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each peer in each round; each is given how often it runs in a round."""
    for work, _ in peers.values():
        work(), work()
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, (work, times) in peers.items():
            start = time.perf_counter()
            for _ in range(times):
                work()
            seconds[name].append((time.perf_counter() - start) / times)
    return seconds


def one_layer(quick: bool) -> Outcome:
    """784-300: the step with the penalty against the plain step, and the penalty alone."""
    widths = (PIXELS, 300)
    peers = {**_steps(widths), "penalty": (_penalty(widths, "auto"), 20)}
    peers["vmap(jacfwd)"] = _penalty(widths, "jacfwd"), 1
    torch = {f"PyTorch vmap({how})": (_torch(widths, how), 1) for how in _torch_ways()}
    seconds = in_turn({**peers, **torch}, 2 if quick else 15)
    ratio = {"with penalty / plain step": _ratios(seconds, "step with penalty", "plain step")}
    for name in ("vmap(jacfwd)", *torch):
        ratio[f"{name} / penalty"] = _ratios(seconds, name, "penalty")
    slower = [float(np.median(ratio[f"{name} / penalty"])) for name in ("vmap(jacfwd)", *torch)]
    holds = float(np.median(ratio["with penalty / plain step"])) <= 1.5 and min(slower) >= 300
    return _outcome(
        seconds,
        ratio,
        "at most 1.5 × the plain step; at least 300 × faster than vmap(jacfwd) and PyTorch",
        holds if torch else None,
    )


def two_layers(quick: bool) -> Outcome:
    """784-300-100: the penalty against its two necessary products and the plain routes."""
    widths = (PIXELS, 300, 100)
    peers: dict[str, tuple[Work, int]] = {
        **_steps(widths),
        "penalty": (_penalty(widths, "auto"), 5),
        "products": (_products(widths), 5),
        "vmap(jacfwd)": (_penalty(widths, "jacfwd"), 1),
        "vmap(jacrev)": (_penalty(widths, "jacrev"), 1),
    }
    seconds = in_turn(peers, 2 if quick else 15)
    ratio = {"penalty / products": _ratios(seconds, "penalty", "products")} | {
        f"{name} / penalty": _ratios(seconds, name, "penalty")
        for name in ("vmap(jacfwd)", "vmap(jacrev)")
    }
    median = {name: float(np.median(values)) for name, values in ratio.items()}
    return _outcome(
        seconds,
        ratio,
        "at most 2 × the products A·G and AᵀA; at least 10 × faster than vmap(jacfwd), 4 × than "
        "vmap(jacrev)",
        median["penalty / products"] <= 2
        and median["vmap(jacfwd) / penalty"] >= 10
        and median["vmap(jacrev) / penalty"] >= 4,
    )


def deep(quick: bool) -> Outcome:
    """784-1000-500-250-30: that it runs, beside the plain step."""
    seconds = in_turn(_steps((PIXELS, 1000, 500, 250, 30)), 2 if quick else 15)
    ratio = _ratios(seconds, "step with penalty", "plain step")
    return _outcome(seconds, {"with penalty / plain step": ratio}, "", None)


def _outcome(
    seconds: dict[str, list[float]], ratios: dict[str, list[float]], bar: str, holds: bool | None
) -> Outcome:
    measured = {f"{name}: s": values for name, values in seconds.items()} | ratios
    reference = "the plain step of the same network; the plain routes"
    return Outcome(measured, reference, bar=bar, holds=holds, protocol=PROTOCOL)


def _ratios(seconds: dict[str, list[float]], top: str, bottom: str) -> list[float]:
    return [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)]


def _batch() -> dict[str, jax.Array]:
    return {"x": jnp.asarray(jaxae.load("mnist", f"train[:{BATCH}]")["x"].reshape(BATCH, -1))}


def _model(widths: tuple[int, ...], weight: float | None) -> jaxae.Autoencoder:
    penalties = [] if weight is None else [jaxae.penalties.contractive(weight)]
    return jaxae.tied(
        widths[0],
        widths[-1],
        hidden_dims=widths[1:-1],
        activation="sigmoid",
        latent_activation="sigmoid",
        penalties=penalties,
    )


def _steps(widths: tuple[int, ...]) -> dict[str, tuple[Work, int]]:
    """The gradient of the loss, without and with the penalty."""
    batch, key = _batch(), jax.random.key(0)

    def work(weight: float | None) -> Work:
        model = _model(widths, weight)
        params = model.init(key, batch)
        grad = jax.jit(jax.grad(model.loss, has_aux=True))
        return lambda: jax.block_until_ready(grad(params, key, batch))

    return {"plain step": (work(None), 20), "step with penalty": (work(0.1), 5)}


def _penalty(widths: tuple[int, ...], method: str) -> Work:
    batch, model = _batch(), _model(widths, None)
    params = model.init(jax.random.key(0), batch)

    def by_hand(params: Any, batch: Any) -> jax.Array:
        def encode(x: jax.Array) -> jax.Array:
            return model.encode(params, {"x": x[None]})[0]

        jacobian = jax.vmap(getattr(jax, method)(encode))(jaxae.as_float(batch["x"]))
        return jnp.mean(jnp.sum(jacobian**2, axis=(1, 2)))

    ours = partial(jaxae.mean_squared_jacobian_norm, model.encode)
    grad = jax.jit(jax.grad(ours if method == "auto" else by_hand))
    return lambda: jax.block_until_ready(grad(params, batch))


def _products(widths: tuple[int, ...]) -> Work:
    """A·G and AᵀA, for the Jacobians A of all examples by the first layer's output."""
    _, width, code = widths
    rows_key, gram_key = jax.random.split(jax.random.key(0))
    rows = jax.random.normal(rows_key, (BATCH * code, width))
    gram = jax.random.normal(gram_key, (width, width))
    both = jax.jit(lambda rows, gram: (rows @ gram, rows.T @ rows))
    return lambda: jax.block_until_ready(both(rows, gram))


def _torch_ways() -> tuple[str, ...]:
    return ("jacrev", "jacfwd") if find_spec("torch") else ()


def _torch(widths: tuple[int, ...], how: str) -> Work:
    """The gradient of the same penalty by torch.func."""
    import torch

    torch.manual_seed(0)
    x = torch.from_numpy(np.asarray(jaxae.as_float(_batch()["x"])).copy())
    params = []
    for fan_in, fan_out in pairwise(widths):
        params += [torch.randn(fan_out, fan_in) / fan_in**0.5, torch.zeros(fan_out)]

    def encode(params: Any, x: Any) -> Any:
        for weight, bias in zip(params[::2], params[1::2], strict=True):
            x = torch.sigmoid(weight @ x + bias)
        return x

    jacobian = torch.func.vmap(getattr(torch.func, how)(encode, argnums=1), in_dims=(None, 0))
    grad = torch.func.grad(lambda params: jacobian(params, x).square().sum((1, 2)).mean())
    return lambda: grad(params)


ROWS = (
    Row("jacobian-one-layer", "Contractive penalty, 784-300", one_layer, spread="pairs"),
    Row("jacobian-two-layers", "Contractive penalty, 784-300-100", two_layers, spread="pairs"),
    Row("jacobian-deep", "Contractive penalty, 784-1000-500-250-30", deep, spread="pairs"),
)
