"""What both ways to compress ask of a model: its types and shapes, and whether it is the one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Params
from jaxae.deploy.coding import containers
from jaxae.deploy.coding.containers import Container, CorruptFileError

Shape = tuple[int, ...]


def hash_of(params: Params, kind: str, shape: Shape, levels: int) -> bytes:
    """The hash of params as a file of that kind, of rows of `shape`, names its model."""
    return containers.model_hash(params, f"{kind} {tuple(shape)} {levels}")


def doubled(params: Params) -> Params:
    """The params in float64."""

    def cast(leaf: Any) -> Any:
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, jnp.float64) if floats else leaf

    with jax.enable_x64(True):
        return jax.tree.map(cast, params)


def shapes_of(function: Any, params: Params, *given: Any) -> Any:
    """Shapes of what `function` gives; a `ValueError` where the model can not take `given`."""
    try:
        return jax.eval_shape(function, params, *given)
    except Exception as error:
        shapes = jax.tree.map(jnp.shape, given)
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"The model can not take {shapes}: {why}") from error


def digest(values: np.ndarray) -> float:
    """A number from -1 to 1 that tells values apart and changes little with their last bits."""
    flat = np.asarray(values, np.float64).ravel()
    return float(np.cos(np.arange(flat.size)) @ flat / max(np.abs(flat).sum(), 1e-9))


def check_probe(probe: list[float], container: Container) -> None:
    """Raises `CorruptFileError` unless the model computes what that of the file did."""
    if not np.allclose(probe, container.settings["probe"], rtol=0, atol=1e-6):
        raise CorruptFileError(
            "The params are those that wrote the file, but the model computes other values of "
            "them. Build it with the options it had, such as its activation."
        )
