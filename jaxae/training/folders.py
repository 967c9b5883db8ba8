"""A run's folder: `config.json`, `metrics.jsonl`, and what may be done with an old one."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

Row = dict[str, Any]
"""An epoch's metrics with `epoch`, the number of finished epochs, and `seconds`.

Metrics are floats; of a sweep arrays `(members,)`, NaN where a member had stopped."""


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
    """The rows of the first `epochs`, to which the file is cut: later epochs run again.

    Raises:
        ValueError: the file has fewer.
    """
    lines = read_rows(path)
    rows = _rows_of([line for line in lines if line["epoch"] <= epochs])
    if len(rows) < epochs:
        raise ValueError(f"{path} has {len(rows)} rows, the checkpoint {epochs} epochs.")
    kept = [json.dumps(line) + "\n" for line in lines if line["epoch"] <= epochs]
    write_text(path, "".join(kept))
    return rows


def to_lines(row: Row, moving: np.ndarray) -> str:
    """A row as lines of JSON: one, or of a sweep one for each member that goes on."""
    shared = {name: row[name] for name in ("epoch", "seconds")}
    metrics = {name: value for name, value in row.items() if name not in shared}
    if not np.ndim(moving):
        return json.dumps(row) + "\n"
    lines = []
    for member in np.flatnonzero(moving).tolist():
        values = {name: float(a[member]) for name, a in metrics.items()}
        known = {name: v if np.isfinite(v) else None for name, v in values.items()}
        lines.append(json.dumps({**shared, "member": member, **known}) + "\n")
    return "".join(lines)


def _rows_of(lines: list[dict[str, Any]]) -> list[Row]:
    """The rows whose lines these are."""
    if not lines or "member" not in lines[0]:
        return lines
    members = 1 + max(line["member"] for line in lines)
    rows: list[Row] = []
    for line in lines:
        if not rows or rows[-1]["epoch"] != line["epoch"]:
            rows.append({name: line[name] for name in ("epoch", "seconds")})
        for name, value in line.items():
            if name not in ("epoch", "seconds", "member"):
                values = rows[-1].setdefault(name, np.full(members, np.nan))
                values[line["member"]] = np.nan if value is None else value
    return rows


def read_rows(path: Path | str) -> list[dict[str, Any]]:
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
