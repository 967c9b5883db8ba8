r"""The file that holds compressed data: a checked header, what the coder needs, the payload.

All numbers are little-endian. The layout, in order:

    8 bytes   magic, b"\x89jaxae\r\n"
    uint16    version of the format, 1
    uint8     kind, 1: "bits-back", 2: "codes"
    uint8     number of axes of the data
    uint32    levels of each entry; 0 where the data has none
    32 bytes  SHA-256 of the model, `model_hash`
    uint32    length of the settings
    uint32    length of the side information
    uint64    length of the payload
    uint64    length of each axis
              settings: JSON in UTF-8
              side information: integers, as `varints` writes them; for "bits-back" the groups
              of rows and the escapes, for "codes" the tables of values and counts
              payload: the words of the entropy coder, uint32
    uint32    CRC-32 (zlib) of all bytes before it
"""

import hashlib
import itertools
import json
import struct
import zlib
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.base import Params

DIFFERS = (
    "The decoded data has another checksum than what was compressed: this machine computes the "
    "model differently. Decompress with the versions of jax and jaxae, or on the kind of device, "
    "that compressed it."
)
MAGIC = b"\x89jaxae\r\n"
VERSION = 1
KINDS = {"bits-back": 1, "codes": 2}
_HEAD = struct.Struct("<8sHBBI32sIIQ")
_CRC = struct.Struct("<I")


Parts = tuple[np.ndarray, np.ndarray]
"""Values as their floors, int32, and codes: 1 rounds up, 2 near a boundary, 4 not finite."""


class CorruptFileError(ValueError):
    """The bytes are no intact compressed file of this model: damaged, foreign or another's."""


class Container(NamedTuple):
    """What a compressed file says.

    Attributes:
        kind: "bits-back" or "codes".
        model: SHA-256 of the model that wrote it, 32 bytes.
        shape: of the data, rows first.
        levels: of each entry, 0 where the data is no levels.
        settings: what else the decoder must know, as JSON can hold it.
        side: side information, bytes.
        payload: of the entropy coder, bytes.
    """

    kind: str
    model: bytes
    shape: tuple[int, ...]
    levels: int
    settings: dict[str, Any]
    side: bytes
    payload: bytes


def pack(container: Container) -> bytes:
    """The bytes of a compressed file.

    >>> empty = Container("codes", bytes(32), (3, 2), 0, {"step": 0.5}, b"", b"")
    >>> len(pack(empty)), unpack(pack(empty)) == empty
    (96, True)
    """
    settings = json.dumps(container.settings, separators=(",", ":")).encode()
    head = _HEAD.pack(
        *(MAGIC, VERSION, KINDS[container.kind], len(container.shape), container.levels),
        *(container.model, len(settings), len(container.side), len(container.payload)),
    )
    axes = struct.pack(f"<{len(container.shape)}Q", *container.shape)
    body = b"".join([head, axes, settings, container.side, container.payload])
    return body + _CRC.pack(zlib.crc32(body))


def unpack(data: bytes) -> Container:
    """What the bytes of a compressed file say, once they are known to be intact.

    A changed byte, or up to 32 changed bits in a row, is always found; of other damage
    one in 2^32 would pass.

    Raises:
        CorruptFileError: no such file, a truncated or changed one, or of a later version.
    """
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptFileError(
            f"These {len(data)} bytes are no file of jaxae.deploy: they start with "
            f"{data[:8]!r}, not with {MAGIC!r}. Give the bytes that compress returned."
        )
    body = data[: -_CRC.size]
    whole = len(body) >= _HEAD.size
    if not whole or zlib.crc32(body) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise CorruptFileError(
            f"The file of {len(data)} bytes is damaged or cut short: its checksum is wrong. "
            "Get a new copy."
        )
    _, version, kind, axes, levels, model, *lengths = _HEAD.unpack_from(body)
    names = {number: name for name, number in KINDS.items()}
    if version != VERSION or kind not in names:
        raise CorruptFileError(
            f"The file has version {version} and kind {kind}; this jaxae reads version "
            f"{VERSION} and kinds {names}. Use the jaxae that wrote it."
        )
    start = _HEAD.size + 8 * axes
    if start + sum(lengths) != len(body):
        raise CorruptFileError(f"The file's parts do not add up to its {len(data)} bytes.")
    shape = struct.unpack_from(f"<{axes}Q", body, _HEAD.size)
    ends = np.cumsum([start, *lengths]).tolist()
    settings, side, payload = (body[a:b] for a, b in itertools.pairwise(ends))
    return Container(names[kind], model, shape, levels, json.loads(settings), side, payload)


def check_model(container: Container, model: bytes) -> None:
    """Raises `CorruptFileError` unless the model with hash `model` wrote the file."""
    if container.model != model:
        raise CorruptFileError(
            f"The file was written by a model with hash {container.model.hex()[:16]}..., this "
            f"one has {model.hex()[:16]}.... Give the model and the params that compressed it."
        )


def model_hash(params: Params, text: str = "") -> bytes:
    """SHA-256 over `text` and the names, dtypes, shapes and bytes of all params, 32 bytes.

    >>> a = {"w": np.zeros(2, np.float32)}
    >>> model_hash(a) == model_hash({"w": np.zeros(2, np.float32)})
    True
    >>> model_hash(a) == model_hash({"v": np.zeros(2, np.float32)})
    False
    """
    digest = hashlib.sha256(f"{len(text)}:{text}".encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        array = leaf
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key):
            array = jax.random.key_data(leaf)
        array = np.ascontiguousarray(array)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        name = f"{jax.tree_util.keystr(path)}:{array.dtype.name}:{np.shape(leaf)}\n"
        digest.update(name.encode() + array.tobytes())
    return digest.digest()


def varints(values: Any) -> bytes:
    """Non-negative integers as bytes of 7 bits each, lowest first; the top bit says "more".

    >>> varints([1, 300]).hex(), read_varints(varints([1, 300])).tolist()
    ('01ac02', [1, 300])
    """
    left = np.asarray(values, np.uint64).ravel()
    columns: list[np.ndarray] = []
    while left.size and (not columns or left.any()):
        columns.append((left & np.uint64(127)).astype(np.uint8))
        left = left >> np.uint64(7)
    if not columns:
        return b""
    table = np.stack(columns, axis=1)
    later = np.maximum.accumulate(table[:, ::-1], axis=1)[:, ::-1] > 0
    later[:, 0] = True
    table[:, :-1] |= np.where(later[:, 1:], 128, 0).astype(np.uint8)
    return table[later].tobytes()


def read_varints(data: bytes) -> np.ndarray:
    """The integers that `varints` wrote, int64."""
    given = np.frombuffer(data, np.uint8)
    first = np.flatnonzero(np.concatenate([[True], given < 128])[: len(given)])
    lengths = np.diff(np.append(first, len(given)))
    place = np.arange(len(given)) - np.repeat(first, lengths)
    parts = (given & 127).astype(np.int64) << (7 * place)
    return np.add.reduceat(parts, first) if len(given) else np.zeros(0, np.int64)


class Rounding:
    """Rounds `Parts` to integers: an encoder writes escapes down, a decoder obeys them.

    An escape is 2 * position + side, where positions count the values of all rows, `width`
    in each.
    """

    def __init__(self, width: int, escapes: np.ndarray | None = None) -> None:
        self.width = width
        self.given = escapes
        self.written: list[np.ndarray] = []

    def __call__(self, parts: Parts, row: int, column: int) -> np.ndarray:
        """The integers of values whose first one is at `row` and `column` of all."""
        low, code = parts
        side = (code & 1).astype(np.int32)
        n, columns = low.shape
        if self.given is None:
            rows, at = np.nonzero(code >= 2)
            place = (rows + row).astype(np.int64) * self.width + column + at
            self.written.append(2 * place + side[rows, at])
            return low + side
        bounds = 2 * self.width * np.array([row, row + n])
        start, stop = np.searchsorted(self.given, bounds)
        rows, at = np.divmod(self.given[start:stop] >> 1, self.width)
        here = (at >= column) & (at < column + columns)
        side[rows[here] - row, at[here] - column] = (self.given[start:stop] & 1)[here]
        return low + side

    def escapes(self) -> np.ndarray:
        """All that was written down, in order, int64."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *self.written]))


def library() -> Any:
    """The module constriction.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "Compression needs constriction: pip install 'jaxae[compression]'."
        ) from error
    return constriction.stream
