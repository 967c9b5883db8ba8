"""Measures what jaxae claims, keeps the raw figures, and writes BENCHMARKS.md from them.

Without arguments all rows that were not yet measured at this commit. Some rows of a suite:

python scripts/benchmark.py --suite quality --only pca
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import tyro

from suites import SUITES
from suites.rows import Row
from tables import render

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "scripts" / "results"
SOURCES = ("jaxae", "scripts/suites", "scripts/benchmark.py")
PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-learn", "torch")


def benchmark(
    suite: tuple[Literal["quality", "speed", "resources"], ...] = ("quality", "speed", "resources"),
    only: str = "",
    quick: bool = False,
    again: bool = False,
    render_only: bool = False,
) -> None:
    """Measures what jaxae claims, keeps the raw figures, and writes BENCHMARKS.md from them.

    Args:
        suite: Which suites.
        only: Rows whose name contains this.
        quick: Shortened rows, printed and not kept: to see that they work.
        again: Measure also what was measured at this commit.
        render_only: Measure nothing; write BENCHMARKS.md from the kept figures.
    """
    rows = [(s, row) for s in suite for row in SUITES[s] if only in row.name]
    if not rows and not render_only:
        names = [row.name for s in suite for row in SUITES[s]]
        sys.exit(f"No row of {suite} contains {only!r}; there are {names}.")
    for name, row in rows if not render_only else []:
        path = RESULTS / f"{name}.{row.name}.json"
        if not (quick or again) and _measured_here(path):
            print(f"{row.name}: measured at this commit; --again repeats it", flush=True)
            continue
        print(f"{row.name}: {row.title} ...", flush=True)
        record = _record(name, row, quick)
        print(
            json.dumps(record["measured"], indent=2), f"\nbar: {record['bar']}: {record['holds']}"
        )
        if not quick:
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
    if not quick:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
        order = [row.name for rows in SUITES.values() for row in rows]
        records = sorted(
            (r for r in records if r["name"] in order), key=lambda r: order.index(r["name"])
        )
        (ROOT / "BENCHMARKS.md").write_text(render(records))
        print(f"BENCHMARKS.md has {len(records)} rows.")


def _record(suite: str, row: Row, quick: bool) -> dict[str, Any]:
    """Measures a row and says all that is needed to repeat it."""
    start = time.perf_counter()
    outcome = row.measure(quick)
    return {
        "suite": suite,
        "name": row.name,
        "title": row.title,
        "spread": row.spread,
        **outcome._asdict(),
        "seconds": time.perf_counter() - start,
        "command": f"python scripts/benchmark.py --suite {suite} --only {row.name} --again",
        "commit": _commit(),
        "device": _device(),
        "versions": _versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str:
    """The last commit that changed what is measured, marked where the files differ from it."""
    last = _git("log", "-1", "--format=%h", "--", *SOURCES)
    changed = _git("status", "--porcelain", "--", *SOURCES)
    return f"{last or 'none'}{'-changed' if changed else ''}"


def _measured_here(path: Path) -> bool:
    if not path.exists():
        return False
    commit = _commit()
    return json.loads(path.read_text())["commit"] == commit and not commit.endswith("-changed")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _device() -> str:
    """The processor's name and the JAX backend."""
    import jax

    names = {d.device_kind for d in jax.devices()}
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{jax.default_backend()} ({', '.join(sorted(names))}), {cores} cores {model}".strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


if __name__ == "__main__":
    tyro.cli(benchmark, description=__doc__)
