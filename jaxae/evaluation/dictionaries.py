"""What the units of a dictionary stand for: known atoms, and examples that excite them."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Array, Autoencoder, Batch, Params, map_batches, num_examples
from jaxae.evaluation.arrays import features
from jaxae.evaluation.sparsity import flat, num_units, scan_batches

COSINES_AT_ONCE = 2**24


def mean_max_cosine(atoms: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """The mean over known atoms of the largest cosine with a learned one (MMCS).

        1/m sum_j max_i cos(known_j, atoms_i)   (Sharkey et al., 2022)

    1 where each known atom has a learned one of its direction; the sign counts, the
    length does not. Learned atoms of length 0 have cosine 0. It says nothing of learned
    atoms that match none: swap the arguments for that. More atoms and fewer dimensions
    raise it, so read it beside that of random atoms of the same shape.

    Args:
        atoms: Learned, `(units, dim)`, such as the kernel of a linear decoder.
        known: `(m, dim)`, none of length 0.

    Returns:
        From -1 to 1.

    Raises:
        ValueError: Either is no finite matrix, they differ in `dim`, or a known atom has
            length 0.

    >>> round(mean_max_cosine([[0.0, 5.0], [3.0, 3.0]], [[0.0, 1.0], [1.0, 0.0]]), 4)
    0.8536
    """
    learned, truth = features("atoms", atoms), features("known", known)
    if np.ndim(atoms) != 2 or np.ndim(known) != 2 or learned.shape[1] != truth.shape[1]:
        raise ValueError(
            f"atoms and known must be (units, dim) and (m, dim) with the same dim; got "
            f"{np.shape(atoms)} and {np.shape(known)}. Transpose what holds atoms as columns."
        )
    learned, truth = _directions(learned), _directions(truth)
    if zero := int((~truth.any(1)).sum()):
        raise ValueError(
            f"known atoms must have a direction; {zero} of {len(truth)} have length 0. Drop them."
        )
    best = np.asarray(_largest_cosines(COSINES_AT_ONCE, learned, truth), np.float64)
    return float(np.clip(best, -1.0, 1.0).mean())


def top_examples(
    model: Autoencoder,
    params: Params,
    data: Batch,
    units: Sequence[int] | Array,
    n: int = 9,
    batch_size: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """The examples that excite each of some units most, and how much.

    Args:
        model: Its `encode` is used.
        params: Of the model.
        data: `x` is `(examples, ...)`.
        units: Indices of codes, `(k,)`.
        n: Examples for each unit.
        batch_size: Rows at a time; their codes and `(k, n)` bests are in memory.

    Returns:
        Indices of rows of `data` and their codes, both `(k, n)`, the largest code first
        and of equal ones the first row. A code of 0 says that the unit does not fire.

    Raises:
        ValueError: `units` are no indices of codes, or `n` is not from 1 to the number
            of examples.

    >>> def encode(params, batch): return batch["x"]
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> data = {"x": jnp.array([[1.0, 0.0], [3.0, 0.5], [2.0, 0.25]])}
    >>> indices, activations = top_examples(model, None, data, [0, 1], n=2)
    >>> indices.tolist(), activations.tolist()
    ([[1, 2], [1, 2]], [[3.0, 2.0], [0.5, 0.25]])
    """
    examples, total, chosen = num_examples(data), num_units(model, params, data), np.asarray(units)
    if not 1 <= n <= examples:
        raise ValueError(f"n must lie in [1, {examples}], the number of examples; got {n}.")
    fits = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu"
    if not (fits and chosen.min() >= 0 and chosen.max() < total):
        raise ValueError(
            f"units must be integers from 0 to {total - 1} on one axis, such as [0, 1]; "
            f"got {units}."
        )
    indices, activations = _top(model.encode, n, batch_size, params, dict(data), chosen)
    return np.asarray(indices), np.asarray(activations)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _top(
    encode: Callable[[Params, Batch], Array],
    n: int,
    batch_size: int,
    params: Params,
    data: Batch,
    units: Array,
) -> tuple[Array, Array]:
    def step(
        best: tuple[Array, Array], batch: Batch, rows: Array, fresh: Array
    ) -> tuple[tuple[Array, Array], None]:
        z = jnp.where(fresh[:, None], flat(encode(params, batch))[:, units], -jnp.inf).T
        indices = jnp.concatenate([best[0], jnp.broadcast_to(rows.astype(jnp.int32), z.shape)], 1)
        values, order = jax.lax.top_k(jnp.concatenate([best[1], z], 1), n)
        return (jnp.take_along_axis(indices, order, 1), values), None

    shape = len(units), n
    start = jnp.zeros(shape, jnp.int32), jnp.full(shape, -jnp.inf)
    return scan_batches(step, start, data, batch_size)[0]


@functools.partial(jax.jit, static_argnums=0)
def _largest_cosines(at_once: int, atoms: Array, known: Array) -> jax.Array:
    """The largest inner product of each known atom with any atom, `(m,)`, in chunks."""

    def largest(batch: Batch) -> Array:
        return jnp.matmul(batch["x"], atoms.T, precision="highest").max(1)

    return map_batches(largest, {"x": known}, max(1, at_once // len(atoms)))


def _directions(a: np.ndarray) -> np.ndarray:
    """Rows of length 1, or 0 where they were 0; scaled first, lest squares underflow."""
    largest = np.abs(a).max(1, keepdims=True)
    a = a / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(a, axis=1, keepdims=True)
    return a / np.where(length > 0, length, 1)
