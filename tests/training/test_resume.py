"""A run that was killed, at whatever moment, and resumed equals an uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxae
from jaxae.training.checkpoints import open_checkpoints
from jaxae.training.folders import read_rows

SCRIPT = Path(__file__).with_name("killable.py")
EPOCHS = 24


class Training:
    """The process of a run of `killable.py`."""

    def __init__(self, folder, shared, *, checkpoint_seconds=0, pause=0.0, resume=True):
        self.folder, self.epochs_before = folder, num_rows(folder)
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(jaxae.__file__).parents[1]),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, shared / "digits.npy", folder]
            + [str(value) for value in (EPOCHS, checkpoint_seconds, pause)]
            + ["resume"] * resume,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until(self, fact):
        deadline = time.monotonic() + 120
        while not fact():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.0005)

    def wait_for_epochs(self, number):
        """Until this process has written as many new rows."""
        self.wait_until(lambda: num_rows(self.folder) >= self.epochs_before + number)

    def is_saving(self):
        """Whether a checkpoint that this process began is not finished."""
        names = self.folder.glob("checkpoints/*.orbax-checkpoint-tmp*")
        return any(int(path.name.split(".")[0]) > self.epochs_before for path in names)

    def kill(self):
        assert self.process.poll() is None, "it had ended already"
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.process.communicate()

    def kill_during_save(self):
        """Stops the process until it is certain that it was stopped amid a save."""
        while True:
            self.wait_until(self.is_saving)
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if self.is_saving():
                break
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        assert self.is_saving()

    def finish(self, timeout=120):
        """(exit status, output, errors)."""
        output, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, output.strip(), errors


def num_rows(folder):
    return len(read_rows(folder / "metrics.jsonl"))


def finished_saves(folder):
    return [path for path in folder.glob("checkpoints/*") if path.name.isdigit()]


def saved_epochs(folder):
    manager = open_checkpoints(folder / "checkpoints", write=False)
    steps = list(manager.all_steps())
    manager.close()
    return steps


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    np.save(folder / "digits.npy", load_digits().data.astype(np.float32) / 16)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(shared):
    folder = shared / "run"
    training = Training(folder, shared, checkpoint_seconds=1000, resume=False)
    assert training.finish()[:2] == (0, "finished")
    return folder


def assert_same_run(folder, uninterrupted):
    """Bit for bit: state, best parameters, best epoch, rows; and the last checkpoint is there."""
    with (
        np.load(folder.with_suffix(".npz")) as ours,
        np.load(uninterrupted.with_suffix(".npz")) as theirs,
    ):
        assert len(theirs.files) > 20
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs.files)
    rows, expected = (read_rows(path / "metrics.jsonl") for path in (folder, uninterrupted))
    assert len(rows) == EPOCHS
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in expected]
    assert saved_epochs(folder) == saved_epochs(uninterrupted) == [EPOCHS]


def test_killed_at_any_moment_and_resumed_equals_uninterrupted(tmp_path, shared, uninterrupted):
    folder, moments = tmp_path / "run", random.Random(0)

    training = Training(folder, shared, resume=False)
    training.wait_until((folder / "config.json").exists)
    training.kill()
    assert not finished_saves(folder)

    training = Training(folder, shared)
    training.wait_until(lambda: finished_saves(folder))
    training.kill_during_save()

    training = Training(folder, shared)
    training.wait_for_epochs(moments.randint(1, 4))
    time.sleep(moments.uniform(0.0, 0.02))
    training.kill()

    training = Training(folder, shared)
    training.kill_during_save()

    assert Training(folder, shared).finish()[:2] == (0, "finished")
    assert_same_run(folder, uninterrupted)
    assert not list(folder.glob("checkpoints/*tmp*"))


def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(tmp_path, shared, uninterrupted):
    folder, options = tmp_path / "run", {"checkpoint_seconds": 1000, "pause": 0.05}
    for number, resume in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        training = Training(folder, shared, **options, resume=resume)
        training.wait_for_epochs(2)
        training.process.send_signal(number)
        status, output, errors = training.finish()
        assert (status, output) == (0, "interrupted")
        assert "Traceback" not in errors
        assert saved_epochs(folder) == [num_rows(folder)]
        assert training.epochs_before < num_rows(folder) < EPOCHS
    assert Training(folder, shared).finish()[:2] == (0, "finished")
    assert_same_run(folder, uninterrupted)
