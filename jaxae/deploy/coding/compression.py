"""Compression of data with a model: lossless by bits back, lossy by quantised codes."""

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Autoencoder, Latent, Params, check_range
from jaxae.deploy.coding import bits_back, containers, evaluating, quantised_codes
from jaxae.deploy.coding.checking import Shape, check_probe, digest, doubled, hash_of, shapes_of
from jaxae.deploy.coding.containers import Container, CorruptFileError, library
from jaxae.deploy.coding.general import general_rates as general_rates


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
        return quantised_codes.compress(model, params, x, step, batch_size)
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
    read = quantised_codes.decompress if container.kind == "codes" else _decompress_bits_back
    return read(model, params, container, batch_size or 256)


def levels_of(model: Autoencoder, params: Params, shape: Shape) -> int:
    """The levels of each entry of rows of `shape`, such as 2 of a Bernoulli likelihood.

    Raises:
        ValueError: the model lacks random codes or a likelihood over levels, or takes other rows.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> params = model.init(jax.random.key(0), {"x": np.ones((1, 6), np.float32)})
    >>> levels_of(model, params, (6,))
    2
    """
    return _sizes(_latent(model), doubled(params), shape).levels


class _Sizes(NamedTuple):
    """Shapes of a row and of its code, and the levels of an entry."""

    x: Shape
    z: Shape
    levels: int


def _latent(model: Autoencoder) -> Latent:
    if model.latent is None or not model.latent.random:
        raise ValueError(
            "bits-back needs random codes, such as those of jaxae.vae; this model has none. Use "
            'method="codes".'
        )
    return model.latent


def _sizes(latent: Latent, params: Params, shape: Shape) -> _Sizes:
    with jax.enable_x64(True):
        row = {"x": jax.ShapeDtypeStruct((1, *shape), jnp.float64)}
        z = shapes_of(latent.posterior, params, row)[0].shape[1:]
        masses = shapes_of(latent.masses, params, jax.ShapeDtypeStruct((1, *z), jnp.float64))
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
    latent, doubles = _latent(model), doubled(params)
    sizes = _sizes(latent, doubles, x.shape[1:])
    if x.dtype.kind not in "bui" or x.min() < 0 or x.max() >= sizes.levels:
        raise ValueError(
            f"x must be integers from 0 to {sizes.levels - 1}, the likelihood's levels; got "
            f"{x.dtype} from {x.min()} to {x.max()}. Round it, or use method='codes'."
        )
    x = x.astype(_dtype(sizes.levels))
    rows = x.reshape(len(x), -1)
    _check_noise(latent, doubles, sizes, rows[:4])
    nets = evaluating.networks(latent, doubles, sizes[:2], sizes.levels, batch_size)
    coded = bits_back.encode(nets, rows, batch_size)
    settings = {"data": zlib.crc32(x.tobytes()), "probe": _probe(latent, doubles, sizes)}
    counts = [len(coded.groups), *coded.groups, *np.diff(coded.escapes, prepend=0)]
    model_hash = hash_of(params, "bits-back", *sizes[::2])
    head = ("bits-back", model_hash, x.shape, sizes.levels, settings)
    side = containers.varints(counts)
    return containers.pack(Container(*head, side, coded.words.astype("<u4").tobytes()))


def _decompress_bits_back(
    model: Autoencoder, params: Params, container: Container, batch_size: int
) -> np.ndarray:
    shape, levels = container.shape[1:], container.levels
    containers.check_model(container, hash_of(params, "bits-back", shape, levels))
    latent, doubles = _latent(model), doubled(params)
    sizes = _sizes(latent, doubles, shape)
    if sizes.levels != levels:
        raise CorruptFileError(f"The file has {levels} levels, the model {sizes.levels}.")
    check_probe(_probe(latent, doubles, sizes), container)
    nets = evaluating.networks(latent, doubles, sizes[:2], levels, batch_size)
    count, *numbers = containers.read_varints(container.side)
    groups, escapes = np.array(numbers[:count]), np.cumsum(numbers[count:], dtype=np.int64)
    words = np.frombuffer(container.payload, "<u4").astype(np.uint32)
    x = bits_back.decode(nets, bits_back.Coded(groups, escapes, words)).astype(_dtype(levels))
    if zlib.crc32(x.tobytes()) != container.settings["data"]:
        raise CorruptFileError(containers.DIFFERS)
    return x.reshape(container.shape)


def _dtype(levels: int) -> Any:
    return np.dtype("u1" if levels <= 256 else "<u2")


def _outputs(latent: Latent, params: Params, sizes: _Sizes, x: Any, bins: Any) -> Any:
    functions = evaluating.values(latent, sizes.x, sizes.levels)
    with jax.enable_x64(True):
        pairs = zip(functions, (x, bins.reshape(-1, *sizes.z)), strict=True)
        return [np.asarray(function(params, given)) for function, given in pairs]


def _check_noise(latent: Latent, params: Params, sizes: _Sizes, x: np.ndarray) -> None:
    """Refuses a model whose values in one batch are not those in another, to many digits."""
    bins = np.arange(len(x) * math.prod(sizes.z)).reshape(len(x), -1) * 997 % 4096 - 2048
    together = _outputs(latent, params, sizes, np.tile(x, (16, 1)), np.tile(bins, (16, 1)))
    for i in range(len(x)):
        alone = _outputs(latent, params, sizes, x[i : i + 1], bins[i : i + 1])
        noise = max(np.abs(a[i] - b[0]).max() for a, b in zip(together, alone, strict=True))
        if not noise <= evaluating.MARGIN / 16:
            raise ValueError(
                f"The model's outputs change by {noise:.1e} of a coding step with the batch, more "
                f"than {evaluating.MARGIN / 16:.1e}: it does not compute in float64. Build it "
                "without dtype=, and with functions that keep the dtype of what they get."
            )


def _probe(latent: Latent, params: Params, sizes: _Sizes) -> list[float]:
    """Two numbers that tell models apart which have the same params, but other functions."""
    x = (np.arange(math.prod(sizes.x)) % sizes.levels)[None].astype(_dtype(sizes.levels))
    bins = np.arange(math.prod(sizes.z))[None] * 997 % 4096 - 2048
    return [digest(values) for values in _outputs(latent, params, sizes, x, bins)]


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
