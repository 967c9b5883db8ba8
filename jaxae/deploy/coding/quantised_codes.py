"""Lossy compression: codes rounded to a grid, with the frequencies of each dimension."""

import functools
import math

import jax
import numpy as np

from jaxae.base import Autoencoder, Params, check_range, map_batches
from jaxae.deploy.coding import containers
from jaxae.deploy.coding.checking import Shape, check_probe, digest, doubled, hash_of, shapes_of
from jaxae.deploy.coding.containers import Container, library


def compress(
    model: Autoencoder, params: Params, x: np.ndarray, step: float, batch_size: int
) -> bytes:
    """The file with `encode(x)` in steps of `step`."""
    check_range("step", step, 0.0, open_low=True, high=1e9)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("x has NaN or infinite entries; drop or impute them.")
    shapes_of(model.encode, params, {"x": jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)})
    encode = jax.jit(lambda p, b: map_batches(functools.partial(model.encode, p), b, batch_size))
    z = np.asarray(encode(params, {"x": x}), np.float64)
    if not np.abs(z / step).max() < 2**31:
        raise ValueError(f"Codes of up to {np.abs(z).max()} are too large for steps of {step}.")
    side, words = push_columns(np.rint(z / step).astype(np.int64).reshape(len(z), -1))
    settings = {"step": step, "z": z.shape[1:], "probe": _probe(model, params, z.shape[1:])}
    head = ("codes", hash_of(params, "codes", x.shape[1:], 0), x.shape, 0, settings)
    return containers.pack(Container(*head, side, words))


def decompress(
    model: Autoencoder, params: Params, container: Container, batch_size: int
) -> np.ndarray:
    """The reconstruction from a file's codes."""
    containers.check_model(container, hash_of(params, "codes", container.shape[1:], 0))
    shape = tuple(container.settings["z"])
    check_probe(_probe(model, params, shape), container)
    codes = pop_columns(container.side, container.payload, container.shape[0], math.prod(shape))
    z = (codes * container.settings["step"]).astype(np.float32).reshape(-1, *shape)
    decode = jax.jit(lambda p, b: map_batches(lambda c: model.decode(p, c["x"]), b, batch_size))
    return np.asarray(decode(params, {"x": z}))


def _probe(model: Autoencoder, params: Params, shape: Shape) -> list[float]:
    z = np.cos(np.arange(math.prod(shape))).reshape(1, *shape)
    doubles = doubled(params)
    with jax.enable_x64(True):
        return [digest(np.asarray(jax.jit(model.decode)(doubles, z)))]


def push_columns(codes: np.ndarray) -> tuple[bytes, bytes]:
    """Tables of each column's values and counts, and the words of all its symbols."""
    constriction, numbers = library(), list[np.ndarray]()
    coder = constriction.stack.AnsCoder()
    for column in codes.T:
        values, symbols, counts = np.unique(column, return_inverse=True, return_counts=True)
        first = 2 * abs(values[0]) + (values[0] < 0)
        numbers += [np.array([len(values), first]), np.diff(values), counts]
        if len(values) > 1:
            table = constriction.model.Categorical(counts.astype(np.float64), perfect=False)
            coder.encode_reverse(symbols.astype(np.int32), table)
    side = containers.varints(np.concatenate(numbers))
    return side, coder.get_compressed().astype("<u4").tobytes()


def pop_columns(side: bytes, payload: bytes, rows: int, columns: int) -> np.ndarray:
    """The codes `(rows, columns)` that `push_columns` took, int64."""
    constriction, numbers = library(), containers.read_varints(side)
    coder = constriction.stack.AnsCoder(np.frombuffer(payload, "<u4").astype(np.uint32))
    tables, at = [], 0
    for _ in range(columns):
        size, first = numbers[at : at + 2]
        start = (first >> 1) * (-1 if first & 1 else 1)
        values = np.cumsum(np.append(start, numbers[at + 2 : at + size + 1]))
        tables.append((values, numbers[at + size + 1 : at + 2 * size + 1].astype(np.float64)))
        at += 2 * size + 1
    codes = np.zeros((rows, columns), np.int64)
    for i, (values, counts) in reversed(list(enumerate(tables))):
        if len(values) == 1:
            codes[:, i] = values[0]
            continue
        table = constriction.model.Categorical(counts, perfect=False)
        codes[:, i] = values[coder.decode(table, rows)]
    return codes
