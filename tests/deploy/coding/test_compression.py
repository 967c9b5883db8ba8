import functools
import os
import pickle
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.deploy.coding import compression, containers
from jaxae.deploy.coding.containers import CorruptFileError

pytest.importorskip("constriction")

SHAPE = (6, 5, 1)
BUILD = """jaxae.vae(
    (6, 5, 1), 4, hidden_dims=(16,), activation="relu", likelihood=jaxae.likelihoods.bernoulli()
)"""


@functools.cache
def made(activation="relu"):
    likelihood = jaxae.likelihoods.bernoulli()
    options = {"hidden_dims": (16,), "likelihood": likelihood, "activation": activation}
    model = jaxae.vae(SHAPE, 4, **options)
    params = model.init(jax.random.key(0), {"x": np.zeros((1, *SHAPE), np.float32)})
    return model, params


def data(n, levels=2):
    return np.random.default_rng(n).integers(0, levels, (n, *SHAPE)).astype(np.uint8)


@functools.cache
def file(n=7):
    return compression.compress(*made(), data(n), batch_size=32)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_bits_back_returns_the_very_bytes(n, batch_size):
    back = compression.decompress(*made(), file(n), batch_size=batch_size)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, data(n))


def test_another_process_with_one_thread_and_other_instructions_decodes_the_same(tmp_path):
    (tmp_path / "params").write_bytes(pickle.dumps(jax.device_get(made()[1])))
    (tmp_path / "file").write_bytes(file(100))
    code = f"""
import os, pickle, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import numpy as np
import jaxae
from jaxae.deploy.coding import compression
model = {BUILD}
params = pickle.load(open("params", "rb"))
x = compression.decompress(model, params, open("file", "rb").read(), batch_size=9)
np.save("x.npy", x)
open("again", "wb").write(compression.compress(model, params, x, batch_size=32))
"""
    flags = "--xla_cpu_multi_thread_eigen=false --xla_cpu_max_isa=SSE4_2"
    env = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), data(100))
    assert (tmp_path / "again").read_bytes() == file(100)


@pytest.mark.parametrize("components", [1, 2])
def test_grey_levels_go_through_a_likelihood_over_256_of_them(components):
    likelihood = jaxae.likelihoods.discretised_logistic(components=components)
    model = jaxae.vae(SHAPE, 3, hidden_dims=(8,), likelihood=likelihood)
    x = data(9, 256)
    params = model.init(jax.random.key(0), {"x": x})
    packed = compression.compress(model, params, x, batch_size=8)
    back = compression.decompress(model, params, packed, batch_size=3)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, x)


def test_the_rate_is_the_models_negative_elbo():
    model, params = made()
    x = np.asarray(model.sample(params, jax.random.key(1), 3000) > 0.5).astype(np.uint8)
    with jax.enable_x64(True):
        doubles = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)
        drawn = model.latent.draw(doubles, jax.random.key(2), {"x": x.astype(np.float64)}, 50)
        bits = float((drawn.distortion + drawn.rate).mean()) / x[0].size / np.log(2)
    rate = compression.rate(compression.compress(model, params, x))
    assert abs(rate.payload / bits - 1) < 0.01
    assert rate.payload < rate.file < 1.02 * rate.payload


def test_any_changed_byte_or_cut_is_refused_before_the_model_is_asked(monkeypatch):
    packed = file()
    calls = []
    monkeypatch.setattr(compression, "library", lambda: calls.append(1))
    rng = np.random.default_rng(0)
    for i in {*range(150), *rng.integers(0, len(packed), 50).tolist(), len(packed) - 1}:
        if i < len(packed):
            broken = bytearray(packed)
            broken[i] ^= int(rng.integers(1, 256))
            with pytest.raises(CorruptFileError):
                compression.decompress(*made(), bytes(broken))
    for length in range(len(packed)):
        with pytest.raises(CorruptFileError):
            compression.decompress(*made(), packed[:length])
    for foreign in (b"", b"abc", bytes(1000), pickle.dumps(made()[1]["decoder"])):
        with pytest.raises(CorruptFileError, match="no file of jaxae"):
            compression.decompress(*made(), foreign)
    assert not calls


@pytest.mark.parametrize("method", ["bits-back", "codes"])
def test_another_model_is_refused(method):
    model, params = made()
    packed = compression.compress(model, params, data(7), method=method)
    other = jax.tree.map(lambda a: a, params)
    leaves, tree = jax.tree.flatten(other)
    leaves[-1] = np.nextafter(leaves[-1], 9)  # the last bit of a few params
    with pytest.raises(CorruptFileError, match="written by a model"):
        compression.decompress(model, jax.tree.unflatten(tree, leaves), packed)
    with pytest.raises(CorruptFileError, match="activation"):  # the same params, another function
        compression.decompress(made("tanh")[0], params, packed)


def test_a_model_that_does_not_compute_in_float64_is_refused():
    model, params = made()
    latent = model.latent

    def masses(params, z, context=None):
        params = jax.tree.map(lambda a: a.astype(jnp.float32), params)
        return latent.masses(params, z.astype(jnp.float32))

    single = model._replace(latent=latent._replace(masses=masses))
    with pytest.raises(ValueError, match="float64"):
        compression.compress(single, params, data(7))


def test_what_can_not_be_compressed_is_named():
    model, params = made()
    compress = functools.partial(compression.compress, model, params)
    for x, match in [
        (np.zeros((0, *SHAPE), np.uint8), "at least one"),
        (np.zeros(30, np.uint8), "at least one"),
        (np.zeros((3, 6, 6, 1), np.uint8), "shape|take"),
        (np.zeros((3, 30), np.uint8), "shape|take"),
        (data(3, 256), "integers from 0 to 1"),
        (data(3).astype(np.int8) - 1, "integers from 0 to 1"),
        (data(3).astype(np.float32), "integers from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=match):
            compress(x)
    with pytest.raises(ValueError, match="allowed are"):
        compress(data(3), method="zip")
    with pytest.raises(ValueError, match="batch_size"):
        compress(data(3), batch_size=0)
    with pytest.raises(ValueError, match="batch_size"):
        compression.decompress(model, params, file(), batch_size=0)
    with pytest.raises(ValueError, match="random codes"):
        compression.compress(model._replace(latent=None), params, data(3))
    for step, match in [(0.0, "step"), (np.nan, "step"), (1e-12, "too large")]:
        with pytest.raises(ValueError, match=match):
            compress(data(3), method="codes", step=step)
    with pytest.raises(ValueError, match="NaN"):
        compress(np.full((3, *SHAPE), np.nan), method="codes")


def test_without_constriction_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"jaxae\[compression\]"):
        compression.compress(*made(), data(3))


@pytest.mark.parametrize("step", [0.01, 0.5])
def test_codes_come_back_to_half_a_step(step):
    model = jaxae.undercomplete(SHAPE, 3, hidden_dims=(8,))
    x = np.random.default_rng(0).uniform(size=(50, *SHAPE)).astype(np.float32)
    params = model.init(jax.random.key(0), {"x": x})
    packed = compression.compress(model, params, x, method="codes", step=step, batch_size=16)
    z = np.asarray(model.encode(params, {"x": x}))
    rounded = np.rint(z.astype(np.float64) / step) * step
    for batch_size in (None, 7):
        back = compression.decompress(model, params, packed, batch_size=batch_size)
        expected = model.decode(params, rounded.astype(np.float32))
        np.testing.assert_allclose(back, expected, atol=1e-5)
    broken = bytearray(packed)
    broken[-9] ^= 1
    with pytest.raises(CorruptFileError):
        compression.decompress(model, params, bytes(broken))


def test_the_decoded_data_is_checked_too(monkeypatch):
    container = containers.unpack(file())
    settings = {**container.settings, "data": zlib.crc32(b"other")}
    with pytest.raises(CorruptFileError, match="another checksum"):
        compression.decompress(*made(), containers.pack(container._replace(settings=settings)))
