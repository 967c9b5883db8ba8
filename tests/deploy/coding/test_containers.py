import struct
import zlib

import jax
import numpy as np
import pytest

from jaxae.deploy.coding import containers
from jaxae.deploy.coding.containers import Container, CorruptFileError, Rounding

SMALL = Container("bits-back", bytes(range(32)), (3, 4, 5), 2, {"probe": [0.5]}, b"ab", b"payload")


@pytest.mark.parametrize("kind", ["bits-back", "codes"])
@pytest.mark.parametrize("shape", [(1, 1), (2**40, 3), (5, 4, 3, 2, 1)])
def test_what_is_packed_is_unpacked(kind, shape):
    container = SMALL._replace(kind=kind, shape=shape, settings={"a": 1e-3, "b": [1, 2]})
    assert containers.unpack(containers.pack(container)) == container


def test_the_bytes_are_laid_out_as_documented():
    data = containers.pack(SMALL)
    assert data[:8] == b"\x89jaxae\r\n"
    assert struct.unpack_from("<HBBI", data, 8) == (1, 1, 3, 2)
    assert data[16:48] == bytes(range(32))
    assert struct.unpack_from("<IIQ3Q", data, 48) == (15, 2, 7, 3, 4, 5)
    assert data[88:-4] == b'{"probe":[0.5]}' + b"ab" + b"payload"
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])


def test_any_changed_byte_is_refused():
    data = containers.pack(SMALL)
    for i in range(len(data)):
        for change in (1, 128, 255):
            broken = bytearray(data)
            broken[i] ^= change
            with pytest.raises(CorruptFileError, match="checksum" if i >= 8 else "no file of"):
                containers.unpack(bytes(broken))


def test_a_file_cut_anywhere_or_prolonged_is_refused():
    data = containers.pack(SMALL)
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            containers.unpack(data[:length])
    for more in (b"\0", b"\n", data):
        with pytest.raises(CorruptFileError, match="checksum"):
            containers.unpack(data + more)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(500)])
def test_foreign_bytes_are_refused(data):
    with pytest.raises(CorruptFileError, match="no file of jaxae"):
        containers.unpack(data)


def test_later_versions_and_parts_that_do_not_add_up_are_refused():
    def changed(place, value):
        body = bytearray(containers.pack(SMALL)[:-4])
        body[place] = value
        return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))

    for data in (changed(8, 2), changed(10, 3)):
        with pytest.raises(CorruptFileError, match="version"):
            containers.unpack(data)
    for data in (changed(11, 200), changed(48, 16), changed(56, 100)):
        with pytest.raises(CorruptFileError, match="add up"):
            containers.unpack(data)


def test_the_hash_tells_names_types_shapes_values_and_texts_apart():
    w = np.arange(6, dtype=np.float32)
    trees = [{"w": w}, {"v": w}, {"w": w.reshape(2, 3)}, {"w": w.astype(np.float64)}, {"w": [w]}]
    trees += [
        {"w": w.astype(np.int32)},
        {"w": np.nextafter(w, 9)},
        {"w": w, "k": jax.random.key(0)},
    ]
    hashes = {containers.model_hash(tree, text) for tree in trees for text in ("", "a")}
    assert len(hashes) == 2 * len(trees)
    assert containers.model_hash({"w": jax.numpy.asarray(w)}) == containers.model_hash({"w": w})


def test_varints_are_those_of_the_definition():
    def one(value):
        out = []
        while value > 127:
            out.append(128 | value & 127)
            value >>= 7
        return bytes([*out, value])

    rng = np.random.default_rng(0)
    values = [0, 0, 127, 128, 2**62, 0, *(2.0 ** rng.uniform(0, 62, 300)).astype(np.int64).tolist()]
    assert containers.varints(values) == b"".join(map(one, values))
    assert containers.read_varints(containers.varints(values)).tolist() == values
    assert containers.varints([]) == b""
    assert containers.read_varints(b"").size == 0


def split(values, margin):
    low = np.floor(values)
    code = (values - low >= 0.5) + 2 * (np.abs(values - low - 0.5) < margin)
    return low.astype(np.int32), code.astype(np.uint8)


def test_escapes_round_noisy_values_as_the_encoder_did():
    rng = np.random.default_rng(0)
    width, margin = 50, 0.02
    values = rng.uniform(-1000, 1000, (40, width))
    noisy = values + rng.uniform(-margin / 2, margin / 2, values.shape)
    assert (np.rint(values) != np.rint(noisy)).any()

    encoder = Rounding(width)
    right = encoder(split(values[:, 20:], margin), 0, 20)  # parts in any order
    left = encoder(split(values[:, :20], margin), 0, 0)
    np.testing.assert_array_equal(np.hstack([left, right]), np.floor(values + 0.5))
    escapes = encoder.escapes()
    expected = (np.abs(values - np.floor(values) - 0.5) < margin).sum()
    assert len(escapes) == expected > 0

    decoder = Rounding(width, escapes)
    for start, stop in ((30, 40), (0, 1), (1, 30)):  # and other rows at a time
        np.testing.assert_array_equal(
            decoder(split(noisy[start:stop, :20], margin), start, 0), left[start:stop]
        )
        np.testing.assert_array_equal(
            decoder(split(noisy[start:stop, 20:], margin), start, 20), right[start:stop]
        )
