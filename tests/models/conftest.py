"""The networks once more, in plain NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * expit(x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
}


def mlp(params, x, activation, final="identity"):
    """Dense layers in their order, `activation` between them and `final` after the last."""
    x = np.reshape(x, (len(x), -1))
    for i in range(len(params)):
        layer = params[f"layer_{i}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer.get("bias", 0.0))
        x = ACTIVATIONS[final if i == len(params) - 1 else activation](x)
    return x


@pytest.fixture
def by_hand():
    return SimpleNamespace(activations=ACTIVATIONS, mlp=mlp)
