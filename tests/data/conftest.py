"""Real MNIST, where the environment says where it lies, and an empty home."""

import os

import pytest


@pytest.fixture
def mnist_dir():
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("needs prepared MNIST: set TFDS_DATA_DIR to the folder that has it")
    return folder


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A user without any data set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path
