"""The records of a prepared data set, read in bulk and without TensorFlow."""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_RECORDS_AT_ONCE = 8192


def read_records(instructions: Iterable[Any], file_format: str) -> Iterator[bytes]:
    """Yields the serialised examples of a split, in stored order.

    Args:
        instructions: what to read: `filename`, `skip`, `take`, `examples_in_shard` each.
        file_format: "array_record" or "tfrecord".

    Raises:
        ValueError: another format, or a file that is missing, damaged or truncated.
    """
    readers: dict[str, Callable[[Any], Iterator[bytes]]] = {
        "array_record": _array_records,
        "tfrecord": _tfrecords,
    }
    if file_format not in readers:
        raise ValueError(
            f"The data set is stored as {file_format!r}; readable are {sorted(readers)}. Prepare "
            "it again, in another folder: python scripts/prepare_data.py NAME --data-dir DIR."
        )
    for instruction in instructions:
        if not Path(instruction.filename).is_file():
            raise ValueError(f"The file {instruction.filename} is missing; prepare the set again.")
        yield from readers[file_format](instruction)


def _array_records(instruction: Any) -> Iterator[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    path = os.fspath(instruction.filename)
    try:
        reader = ArrayRecordReader(path)
        count = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    try:
        if count != instruction.examples_in_shard:
            raise _damaged(path, f"{count} records instead of {instruction.examples_in_shard}")
        stop = instruction.skip + instruction.take
        for start in range(instruction.skip, stop, _RECORDS_AT_ONCE):
            end = min(start + _RECORDS_AT_ONCE, stop)
            try:
                records = reader.read(start, end)
            except (RuntimeError, IndexError, ValueError) as error:
                raise _damaged(path, str(error)) from error
            if len(records) != end - start:
                raise _damaged(path, f"it ends before record {end}")
            yield from records
    finally:
        with contextlib.suppress(RuntimeError):  # a damaged file has been reported above
            reader.close()


def _tfrecords(instruction: Any) -> Iterator[bytes]:
    """Frames of 8 bytes length, 4 bytes checksum, data, 4 bytes checksum.

    Lengths and the number of records are verified; the checksums (CRC-32C) are not,
    for want of a library that computes them.
    """
    path = os.fspath(instruction.filename)
    stop = instruction.skip + instruction.take
    left = os.path.getsize(path)
    with open(path, "rb") as file:
        for i in range(stop):
            header = file.read(12)
            length = int.from_bytes(header[:8], "little")
            left -= 16 + length
            if len(header) < 12 or left < 0:
                raise _damaged(path, f"it ends within record {i} of {stop}")
            if i >= instruction.skip:
                yield file.read(length)
                file.seek(4, os.SEEK_CUR)
            else:
                file.seek(length + 4, os.SEEK_CUR)
        if stop == instruction.examples_in_shard and left:
            raise _damaged(path, f"it goes on after its {stop} records")


def _damaged(path: str, why: str) -> ValueError:
    return ValueError(
        f"The data file {path} is damaged or truncated: {why}. Delete its folder and prepare the "
        "data set again."
    )


def image_decoder(feature: Any) -> Callable[[bytes], np.ndarray]:
    """Returns the function from an encoded image to `(height, width, channels)`.

    Args:
        feature: the `tfds.features.Image` that says shape and type.
    """
    from PIL import Image

    shape = tuple(feature.shape)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(shape[-1])
    if feature.np_dtype != np.uint8 or mode is None:
        return feature.decode_example_np
    size = (shape[1], shape[0])

    def decode(data: bytes) -> np.ndarray:
        image: Image.Image = Image.open(io.BytesIO(data))
        if image.size != size:
            raise ValueError(f"An image of {image.size} pixels among images of {size}.")
        if image.mode != mode:
            image = image.convert(mode)
        return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)

    return decode
