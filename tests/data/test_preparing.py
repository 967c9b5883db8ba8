import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxae.data import DataNotFoundError, load, preparing

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"


def run(*arguments, home):
    env = {k: v for k, v in os.environ.items() if k != "TFDS_DATA_DIR"} | {"HOME": str(home)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.mark.parametrize("name", ["penguins", "mnist"])
def test_offline_it_says_so_within_the_limit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "_is_online", lambda: False)
    monkeypatch.setattr(preparing.importlib.util, "find_spec", lambda _: object())
    start = time.monotonic()
    with pytest.raises(DataNotFoundError, match="network connection"):
        load(name, data_dir=tmp_path, download=True)
    assert time.monotonic() - start < 5


def test_without_tensorflow_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataNotFoundError, match="pip install tensorflow"):
        preparing.prepare("mnist", tmp_path)


def test_the_probe_is_bounded(monkeypatch):
    import requests

    def slow(*_, **__):
        time.sleep(0.5)
        raise requests.ConnectionError

    monkeypatch.setattr(preparing, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(requests, "head", slow)
    start = time.monotonic()
    assert not preparing._is_online()
    assert time.monotonic() - start < 1


def test_failures_while_preparing_are_one_paragraph(tmp_path, monkeypatch):
    class Broken:
        data_path = tmp_path

        def download_and_prepare(self, **_):
            raise OSError("disk full\nand more")

    with pytest.raises(DataNotFoundError, match="OSError: disk full") as error:
        preparing._download(Broken(), "mnist")
    assert "\n" not in str(error.value)


def test_script(tmp_path, mnist_dir):
    unknown = run("mnits", home=tmp_path)
    assert unknown.returncode == 1
    assert "close names are mnist" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    present = run("mnist", "--data-dir", mnist_dir, home=tmp_path)
    assert present.returncode == 0, present.stderr
    assert f"data_dir='{mnist_dir}'" in present.stdout
