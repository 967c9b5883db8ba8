"""Compression of data with a model: lossless by bits back, lossy by quantised codes."""

import bz2
import functools
import gzip
import io
import lzma
import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Autoencoder, Latent, Params, check_range, map_batches
from jaxae.deploy import bits_back, containers
from jaxae.deploy.containers import Container, CorruptFileError, library

Shape = tuple[int, ...]


def compress(
    model: Autoencoder,
    params: Params,
    x: npt.ArrayLike,
    *,
    method: str = "bits-back",
    step: float = 0.1,
    batch_size: int = 256,
) -> bytes:
    """Compresses `x` to the bytes of a file that `decompress` reads.

    Args:
        model: for "bits-back" with `latent`, a standard normal prior and a likelihood over
            levels; for "codes" any.
        params: of the model. The file can be read with the same model and params only.
        x: `(rows, *shape)`; for "bits-back" integers from 0 to levels - 1, of which the
            model sees level / (levels - 1): 0 and 1 of a Bernoulli likelihood, bytes of one
            with 256 levels. For "codes" what the model takes.
        method: "bits-back" is lossless, of the negative ELBO's length (Townsend et al.,
            2019); "codes" keeps `encode(x)` rounded to multiples of `step`, coded with the
            frequencies of each dimension.
        step: of "codes"; a smaller one costs more bits and distorts less.
        batch_size: rows that are evaluated, and for "bits-back" coded, at a time.

    Raises:
        ValueError: `x` is empty, of another shape or beyond the levels; the model lacks what
            the method needs or gives NaN; unknown method.
        ImportError: constriction is missing.
    """
    x = np.asarray(x)
    check_range("batch_size", batch_size, 1)
    if method not in containers.KINDS:
        raise ValueError(f"method={method!r}; allowed are {sorted(containers.KINDS)}.")
    if x.ndim < 2 or not x.size:
        raise ValueError(f"x has rows of entries, (rows, *shape), and at least one; got {x.shape}.")
    library()
    if method == "codes":
        return _compress_codes(model, params, x, step, batch_size)
    return _compress_bits_back(model, params, x, batch_size)


def decompress(
    model: Autoencoder, params: Params, data: bytes, *, batch_size: int | None = None
) -> np.ndarray:
    """What `compress` was given, or for "codes" its reconstruction, `(rows, *shape)`.

    Levels are uint8, beyond 256 of them uint16. Neither `batch_size`, 256 unless given,
    nor the number of threads changes a bit of them.

    Raises:
        CorruptFileError: the bytes are damaged, no such file or of another model; a
            `ValueError`. Nothing of them was decoded then.
        ImportError: constriction is missing.
    """
    check_range("batch_size", 1 if batch_size is None else batch_size, 1)
    container = containers.unpack(data)
    library()
    read = _decompress_codes if container.kind == "codes" else _decompress_bits_back
    return read(model, params, container, batch_size or 256)


class _Sizes(NamedTuple):
    """Shapes of a row and of its code, and the levels of an entry, 0 where it has none."""

    x: Shape
    z: Shape
    levels: int


def _hash(params: Params, kind: str, shape: Shape, levels: int) -> bytes:
    return containers.model_hash(params, f"{kind} {tuple(shape)} {levels}")


def _double(params: Params) -> Params:
    def cast(leaf: Any) -> Any:
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, jnp.float64) if floats else leaf

    with jax.enable_x64(True):
        return jax.tree.map(cast, params)


def _shape(function: Any, params: Params, *given: Any) -> Any:
    try:
        return jax.eval_shape(function, params, *given)
    except Exception as error:
        shapes = jax.tree.map(jnp.shape, given)
        raise ValueError(f"The model can not take {shapes}: {error}") from error


def _latent(model: Autoencoder) -> Latent:
    if model.latent is None:
        raise ValueError('This model has no latent, which bits-back needs. Use method="codes".')
    return model.latent


def _sizes(model: Autoencoder, params: Params, shape: Shape) -> _Sizes:
    latent = _latent(model)
    with jax.enable_x64(True):
        row = {"x": jax.ShapeDtypeStruct((1, *shape), jnp.float64)}
        z = _shape(latent.posterior, params, row)[0].shape[1:]
        masses = _shape(latent.masses, params, jax.ShapeDtypeStruct((1, *z), jnp.float64))
    *entries, levels = masses.shape[1:]
    if tuple(entries) != shape or not 2 <= levels <= 4096:
        raise ValueError(
            f"Rows of x have shape {shape}; the model codes {tuple(entries)} of {levels} levels, "
            "of which there can be 2 to 4096."
        )
    return _Sizes(shape, z, levels)


def _compress_bits_back(
    model: Autoencoder, params: Params, x: np.ndarray, batch_size: int
) -> bytes:
    doubles = _double(params)
    sizes = _sizes(model, doubles, x.shape[1:])
    if x.dtype.kind not in "bui" or x.min() < 0 or x.max() >= sizes.levels:
        raise ValueError(
            f"x must be integers from 0 to {sizes.levels - 1}, the likelihood's levels; got "
            f"{x.dtype} from {x.min()} to {x.max()}. Round it, or use method='codes'."
        )
    x = x.astype(_dtype(sizes.levels))
    rows = x.reshape(len(x), -1)
    _check_noise(model, doubles, sizes, rows[:4])
    nets = bits_back.networks(_latent(model), doubles, sizes[:2], sizes.levels, batch_size)
    coded = bits_back.encode(nets, rows, batch_size)
    settings = {"data": zlib.crc32(x.tobytes()), "probe": _probe(model, doubles, sizes)}
    counts = [len(coded.groups), *coded.groups, *np.diff(coded.escapes, prepend=0)]
    model_hash = _hash(params, "bits-back", *sizes[::2])
    head = ("bits-back", model_hash, x.shape, sizes.levels, settings)
    side = containers.varints(counts)
    return containers.pack(Container(*head, side, coded.words.astype("<u4").tobytes()))


def _decompress_bits_back(
    model: Autoencoder, params: Params, container: Container, batch_size: int
) -> np.ndarray:
    shape, levels = container.shape[1:], container.levels
    containers.check_model(container, _hash(params, "bits-back", shape, levels))
    doubles = _double(params)
    sizes = _sizes(model, doubles, shape)
    if sizes.levels != levels:
        raise CorruptFileError(f"The file has {levels} levels, the model {sizes.levels}.")
    _check_probe(_probe(model, doubles, sizes), container)
    nets = bits_back.networks(_latent(model), doubles, sizes[:2], levels, batch_size)
    count, *numbers = containers.read_varints(container.side)
    groups, escapes = np.array(numbers[:count]), np.cumsum(numbers[count:], dtype=np.int64)
    words = np.frombuffer(container.payload, "<u4").astype(np.uint32)
    x = bits_back.decode(nets, bits_back.Coded(groups, escapes, words)).astype(_dtype(levels))
    if zlib.crc32(x.tobytes()) != container.settings["data"]:
        raise CorruptFileError(containers.DIFFERS)
    return x.reshape(container.shape)


def _dtype(levels: int) -> Any:
    return np.dtype("u1" if levels <= 256 else "<u2")


def _outputs(model: Autoencoder, params: Params, sizes: _Sizes, x: Any, bins: Any) -> Any:
    functions = bits_back.values(_latent(model), sizes.x, sizes.levels)
    with jax.enable_x64(True):
        pairs = zip(functions, (x, bins.reshape(-1, *sizes.z)), strict=True)
        return [np.asarray(function(params, given)) for function, given in pairs]


def _check_noise(model: Autoencoder, params: Params, sizes: _Sizes, x: np.ndarray) -> None:
    """Refuses a model whose values in one batch are not those in another, to many digits."""
    bins = np.arange(len(x) * math.prod(sizes.z)).reshape(len(x), -1) * 997 % 4096 - 2048
    together = _outputs(model, params, sizes, np.tile(x, (16, 1)), np.tile(bins, (16, 1)))
    for i in range(len(x)):
        alone = _outputs(model, params, sizes, x[i : i + 1], bins[i : i + 1])
        noise = max(np.abs(a[i] - b[0]).max() for a, b in zip(together, alone, strict=True))
        if not noise <= bits_back.MARGIN / 16:
            raise ValueError(
                f"The model's outputs change by {noise:.1e} of a coding step with the batch, more "
                f"than {bits_back.MARGIN / 16:.1e}: it does not compute in float64. Build it "
                "without dtype=, and with functions that keep the dtype of what they get."
            )


def _probe(model: Autoencoder, params: Params, sizes: _Sizes) -> list[float]:
    """Two numbers that tell models apart which have the same params, but other functions."""
    x = (np.arange(math.prod(sizes.x)) % sizes.levels)[None].astype(_dtype(sizes.levels))
    bins = np.arange(math.prod(sizes.z))[None] * 997 % 4096 - 2048
    return [_digest(values) for values in _outputs(model, params, sizes, x, bins)]


def _digest(values: np.ndarray) -> float:
    flat = np.asarray(values, np.float64).ravel()
    return float(np.cos(np.arange(flat.size)) @ flat / max(np.abs(flat).sum(), 1e-9))


def _check_probe(probe: list[float], container: Container) -> None:
    if not np.allclose(probe, container.settings["probe"], rtol=0, atol=1e-6):
        raise CorruptFileError(
            "The params are those that wrote the file, but the model computes other values of "
            "them. Build it with the options it had, such as its activation."
        )


def _compress_codes(
    model: Autoencoder, params: Params, x: np.ndarray, step: float, batch_size: int
) -> bytes:
    check_range("step", step, 0.0, open_low=True, high=1e9)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("x has NaN or infinite entries; drop or impute them.")
    _shape(model.encode, params, {"x": jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)})
    encode = jax.jit(lambda p, b: map_batches(functools.partial(model.encode, p), b, batch_size))
    z = np.asarray(encode(params, {"x": x}), np.float64)
    if not np.abs(z / step).max() < 2**31:
        raise ValueError(f"Codes of up to {np.abs(z).max()} are too large for steps of {step}.")
    side, words = _push_columns(np.rint(z / step).astype(np.int64).reshape(len(z), -1))
    settings = {"step": step, "z": z.shape[1:], "probe": _probe_codes(model, params, z.shape[1:])}
    head = ("codes", _hash(params, "codes", x.shape[1:], 0), x.shape, 0, settings)
    return containers.pack(Container(*head, side, words))


def _decompress_codes(
    model: Autoencoder, params: Params, container: Container, batch_size: int
) -> np.ndarray:
    containers.check_model(container, _hash(params, "codes", container.shape[1:], 0))
    shape = tuple(container.settings["z"])
    _check_probe(_probe_codes(model, params, shape), container)
    codes = _pop_columns(container.side, container.payload, container.shape[0], math.prod(shape))
    z = (codes * container.settings["step"]).astype(np.float32).reshape(-1, *shape)
    decode = jax.jit(lambda p, b: map_batches(lambda c: model.decode(p, c["x"]), b, batch_size))
    return np.asarray(decode(params, {"x": z}))


def _probe_codes(model: Autoencoder, params: Params, shape: Shape) -> list[float]:
    z = np.cos(np.arange(math.prod(shape))).reshape(1, *shape)
    doubles = _double(params)
    with jax.enable_x64(True):
        return [_digest(np.asarray(jax.jit(model.decode)(doubles, z)))]


def _push_columns(codes: np.ndarray) -> tuple[bytes, bytes]:
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


def _pop_columns(side: bytes, payload: bytes, rows: int, columns: int) -> np.ndarray:
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


class Rate(NamedTuple):
    """Bits per entry of the data: of the coder's words alone, and of the whole file."""

    payload: float
    file: float


def rate(data: bytes) -> Rate:
    """The rate of a compressed file, in bits per dimension.

    For "bits-back" the payload has the random bits that the first row took.

    Raises:
        CorruptFileError: the bytes are no intact compressed file.
    """
    container = containers.unpack(data)
    dimensions = math.prod(container.shape)
    return Rate(8 * len(container.payload) / dimensions, 8 * len(data) / dimensions)


def general_rates(x: npt.ArrayLike) -> dict[str, float]:
    """Bits per dimension of general compressors on uint8 `x`, at their best settings.

    All rows together: "gzip", "bz2", "lzma" get the raw bytes, of data of only 0 and 1
    its bits, packed; "png" one picture with all of them side by side, where rows are images
    `(height, width)` or with 1 or 3 channels.

    >>> sorted(general_rates(np.zeros((10, 8, 8), np.uint8)))
    ['bz2', 'gzip', 'lzma', 'png']

    Raises:
        ValueError: `x` is empty or not uint8 or bool.
    """
    x = np.asarray(x)
    if x.dtype not in (np.uint8, np.bool_) or x.ndim < 2 or not x.size:
        raise ValueError(f"x has rows of uint8 or bool; got {x.dtype} of shape {x.shape}.")
    x = x.astype(np.uint8)
    binary = bool(x.max() <= 1)
    raw = (np.packbits(x) if binary else x).tobytes()
    sizes = {
        "gzip": len(gzip.compress(raw, 9)),
        "bz2": len(bz2.compress(raw, 9)),
        "lzma": len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)),
    }
    if x.ndim == 3 or (x.ndim == 4 and x.shape[-1] in (1, 3)):
        sizes["png"] = _png(x, binary)
    return {name: 8 * size / x.size for name, size in sizes.items()}


def _png(x: np.ndarray, binary: bool) -> int:
    from PIL import Image

    across = math.isqrt(len(x))
    blank = np.zeros((-len(x) % across, *x.shape[1:]), np.uint8)
    tiles = np.concatenate([x, blank]).reshape(-1, across, *x.shape[1:])
    sheet = np.concatenate(np.moveaxis(tiles, 1, 0), axis=2)  # (down, height, width, ...)
    sheet = sheet.reshape(-1, *sheet.shape[2:])
    sheet = sheet[..., 0] if sheet.shape[2:] == (1,) else sheet
    image = Image.fromarray(sheet.astype(bool) if binary and sheet.ndim == 2 else sheet)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return len(file.getvalue())
