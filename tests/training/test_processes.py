"""Two processes of one device each, over loopback, against one process of one device."""

import contextlib
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxae
from jaxae.training import parallel, processes
from jaxae.training.folders import read_rows

SCRIPT = Path(__file__).with_name("process_worker.py")
WORKER = runpy.run_path(str(SCRIPT))
CLOSE = {"rtol": 1e-5, "atol": 1e-7}


@contextlib.contextmanager
def reserved_port():
    """A port that nobody else is given meanwhile, and on which the coordinator may listen."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("::", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def pair(task, folder, shared):
    """Both processes of a task, which do not outlive the block."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(jaxae.__file__).parents[1]),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        both = []
        for process in (0, 1):
            log = stack.enter_context(open(folder / f"{task}-{process}.log", "w"))
            command = [sys.executable, SCRIPT, str(port), str(process), task, str(folder)]
            both.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            stack.callback(both[-1].wait)
            stack.callback(both[-1].kill)
        yield both


def logs(task, folder):
    return "\n".join((folder / f"{task}-{process}.log").read_text() for process in (0, 1))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def whole(shared):
    """An uninterrupted run on one device."""
    return WORKER["arrays"](WORKER["trained"](None, shared / "whole"))


@pytest.fixture(scope="module")
def ended(shared):
    """The folder that two processes left behind, a run stopped after the third epoch in it."""
    folder = shared / "together"
    folder.mkdir()
    with pair("together", folder, shared) as both:
        codes = [process.wait(timeout=120) for process in both]
    assert codes == [0, 0], logs("together", folder)
    return folder


def assert_close(got, wanted):
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], **CLOSE)


def facts(folder, process):
    return json.loads((folder / f"facts-{process}.json").read_text())


@pytest.mark.parametrize("data", ["replicated", "shared"])
def test_two_processes_fit_the_parameters_of_one_device(data, ended):
    wanted = jax.tree.leaves(WORKER["fitted"](None, {"x": WORKER["X"]}))
    for process in (0, 1):
        with np.load(ended / f"{data}-{process}.npz") as got:
            assert_close(dict(got), {f"arr_{i}": np.asarray(a) for i, a in enumerate(wanted)})


def test_two_processes_share_the_members_of_a_sweep(ended, shared):
    wanted = WORKER["arrays"](WORKER["swept"](shared / "swept_alone"))
    for process in (0, 1):
        with np.load(ended / f"swept-{process}.npz") as got:
            assert_close(dict(got), wanted)
    rows = read_rows(ended / "swept" / "metrics.jsonl")
    assert [(row["epoch"], row["member"]) for row in rows] == [
        (e, m) for e in (1, 2) for m in range(5)
    ]


def test_processes_read_equal_shares_and_agree(ended):
    for process in (0, 1):
        got = facts(ended, process)
        assert got["devices"] == [1, 2]
        assert got["own"] == 24
        assert got["anyone"] == [True, False]
        assert got["first"] == "of process 0"


def test_replicated_moves_what_each_process_has_and_refuses_what_differs(ended):
    for process in (0, 1):
        got = facts(ended, process)
        assert (got["key"], got["whole"]) == ([0, 7], True)
        assert got["devices of each"] == [2, 2, 2]
        assert got["different values"] == "refused"


def test_a_signal_to_one_process_ends_the_run_of_both_after_the_same_epoch(ended):
    assert facts(ended, 0)["stopped"] == facts(ended, 1)["stopped"] == "interrupted"
    assert facts(ended, 0)["rows"] == facts(ended, 1)["rows"]
    assert [row["epoch"] for row in facts(ended, 0)["rows"]] == [1, 2, 3]


def test_the_first_process_alone_writes_the_metrics_and_its_refusal_is_that_of_both(ended):
    written = [{**row, "seconds": 0} for row in read_rows(ended / "run" / "metrics.jsonl")]
    assert written == facts(ended, 0)["rows"]
    for process in (0, 1):
        assert "exists already" in facts(ended, process)["refused"]
    bars = [(ended / f"together-{process}.log").read_text() for process in (0, 1)]
    assert "epoch" not in bars[1]


@pytest.mark.parametrize("devices", [1, 2])
def test_their_run_goes_on_in_one_process_on_any_number_of_devices(devices, ended, whole, tmp_path):
    shutil.copytree(ended / "run", tmp_path / "run")
    mesh = parallel.devices_mesh(jax.devices()[:devices])
    result = WORKER["trained"](mesh, tmp_path / "run", resume=True)
    assert len(result.rows) == WORKER["EPOCHS"]
    assert jax.tree.leaves(result.state)[0].sharding.device_set == set(mesh.devices.flat)
    assert_close(WORKER["arrays"](result), whole)


def test_a_killed_peer_ends_the_other_and_the_run_goes_on_from_its_checkpoint(whole, shared):
    folder = shared / "killed"
    folder.mkdir()
    WORKER["trained"](None, folder / "run", epochs=2)
    with pair("killed", folder, shared) as both:
        assert both[1].wait(timeout=120) == -9, logs("killed", folder)
        gone = time.monotonic()
        assert both[0].wait(timeout=60) != 0
        assert time.monotonic() - gone < 2 * WORKER["PEER_TIMEOUT"]
    rows = read_rows(folder / "run" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    result = WORKER["trained"](None, folder / "run", resume=True)
    assert_close(WORKER["arrays"](result), whole)


@pytest.mark.parametrize("task", ["raising", "silent"])
def test_a_peer_that_raises_or_falls_silent_ends_the_other(task, shared):
    folder = shared / task
    folder.mkdir()
    with pair(task, folder, shared) as both:
        deadline = time.monotonic() + 60
        while not (folder / "gone").exists():
            assert both[0].poll() is None, logs(task, folder)
            assert time.monotonic() < deadline
            time.sleep(0.01)
        gone = time.monotonic()
        assert both[0].wait(timeout=60) != 0
        assert time.monotonic() - gone < 2 * WORKER["PEER_TIMEOUT"]
        if task == "raising":
            assert both[1].wait(timeout=60) == 1
            assert "OSError: the disk is full" in logs(task, folder)


def test_one_process_is_first_agrees_with_itself_and_does_the_work():
    def fails():
        raise KeyError("x")

    assert processes.is_first()
    assert processes.from_first(lambda: 3) == 3
    with pytest.raises(KeyError):
        processes.from_first(fails)


@pytest.mark.parametrize("seconds", [0, -1, 2.5])
def test_a_peer_timeout_is_a_positive_integer(seconds):
    with pytest.raises(ValueError, match="peer_timeout"):
        processes.connect_processes("127.0.0.1:1", 2, 0, peer_timeout=seconds)
