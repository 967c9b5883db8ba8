"""A run's folder: `config.json`, `metrics.jsonl`, and what may be done with an old one."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

Row = dict[str, float]
"""An epoch's metrics with `epoch`, the number of finished epochs, and `seconds`."""


def open_folder(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Makes the folder of a new run, or checks that of the run to resume.

    Raises:
        ValueError: it holds a run and `resume` is False, none and it is True, or one of
            another configuration, whose differences are listed.
    """
    path = folder / "config.json"
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    # a run killed at its very start leaves nothing, or a part of its configuration
    begun = folder.exists() and ("config.json" in names or names <= {"config.json.part"})
    if resume and not begun:
        raise ValueError(f"There is no run to resume in {folder}; start it without resume.")
    if names and not resume:
        raise ValueError(
            f"{folder} exists already and is not overwritten: resume it, or take another folder."
        )
    if path.exists():
        _check_same_config(folder, json.loads(path.read_text())["config"], config)
        return
    folder.mkdir(parents=True, exist_ok=True)
    versions = {"jax": jax.__version__, "numpy": np.__version__}
    write_text(path, json.dumps({"config": config, "versions": versions}, indent=2) + "\n")


def _check_same_config(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    names = sorted(old.keys() | new.keys())
    differ = [n for n in names if old.get(n, "(absent)") != new.get(n, "(absent)")]
    if differ:
        lines = [
            f"  {n}: it has {old.get(n, '(absent)')!r}, now given {new.get(n, '(absent)')!r}"
            for n in differ
        ]
        raise ValueError(
            f"The run in {folder} was started with another configuration:\n" + "\n".join(lines)
        )


def keep_rows(path: Path, epochs: int) -> list[Row]:
    """The first `epochs` rows, to which the file is cut: later epochs run again.

    Raises:
        ValueError: the file has fewer.
    """
    rows = read_rows(path)
    if len(rows) < epochs:
        raise ValueError(f"{path} has {len(rows)} rows, the checkpoint {epochs} epochs.")
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows[:epochs]))
    return rows[:epochs]


def read_rows(path: Path | str) -> list[Row]:
    """The whole lines of a `metrics.jsonl`; a last one cut short by a kill is left out."""
    rows = []
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def read_config(folder: Path | str) -> dict[str, Any]:
    """The configuration of the run in `folder`.

    Raises:
        ValueError: the folder holds no run.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no run: it has no config.json.")
    return json.loads(path.read_text())["config"]


def write_text(path: Path, text: str) -> None:
    """Replaces the file at once: a kill leaves the old text or the new one."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text)
    os.replace(part, path)
