"""What the row on online updates times, each in a process of its own; as workers.py does.

A worker's work is `COUNT` updates, one vector each. `python online_workers.py NAME`
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

COUNT = 1_000
NETS = {"64-32-64": (64, 32), "784-128-784": (784, 128)}
RATES = {"SGD": 0.01, "Adam": 1e-3}


def vectors(width: int) -> Any:
    """The stream: vectors with entries in [0, 1], float32."""
    import numpy as np

    return np.random.default_rng(0).random((COUNT, width), np.float32)


def online(net: str, optimiser: str) -> Callable[[], Any]:
    """`partial_fit`, one vector at a time from the host, a call each."""
    import jax
    import optax

    import jaxae
    from jaxae.training.online import partial_fit

    width, hidden = NETS[net]
    tx = {"SGD": optax.sgd, "Adam": optax.adam}[optimiser](RATES[optimiser])
    model = jaxae.undercomplete(width, hidden, activation="relu")
    learner = jaxae.gradient(model.loss, tx)
    rows = vectors(width)
    state, key = jaxae.start(model, learner, {"x": rows}, jax.random.key(0))
    update, now = partial_fit(learner), {"state": state}

    def work() -> None:
        state = now["state"]
        for x in rows:
            state, _ = update.one(state, key, {"x": x})
        now["state"] = jax.block_until_ready(state)

    return work


def sklearn(net: str, optimiser: str) -> Callable[[], Any]:
    """`MLPRegressor.partial_fit` of x on x, one vector at a time."""
    from sklearn.neural_network import MLPRegressor

    width, hidden = NETS[net]
    rows = vectors(width)
    model = MLPRegressor(
        hidden_layer_sizes=(hidden,),
        solver=optimiser.lower(),
        alpha=0.0,
        batch_size=1,
        learning_rate_init=RATES[optimiser],
        momentum=0.0,
        nesterovs_momentum=False,
        random_state=0,
    )

    def work() -> None:
        for i in range(COUNT):
            model.partial_fit(rows[i : i + 1], rows[i : i + 1])

    return work


def torch(net: str, optimiser: str) -> Callable[[], Any]:
    """Eager PyTorch, one vector at a time, Adam fused."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    width, hidden = NETS[net]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((width, hidden, width)):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    kinds: dict[str, Any] = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
    tx = kinds[optimiser](model.parameters(), lr=RATES[optimiser], fused=True)
    rows = torch.from_numpy(vectors(width))

    def work() -> None:
        for x in rows:
            tx.zero_grad(set_to_none=True)
            (0.5 * (model(x) - x).square().sum()).backward()
            tx.step()

    return work


OURS, SKLEARN, TORCH = "jaxae", "scikit-learn", "PyTorch eager"
WHO = {OURS: online, SKLEARN: sklearn, TORCH: torch}
WORKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    f"{who}, {net}, {optimiser}": partial(work, net, optimiser)
    for net in NETS
    for optimiser in RATES
    for who, work in WHO.items()
}

if __name__ == "__main__":
    from workers import serve

    serve(sys.argv[1], WORKERS, times=1)
