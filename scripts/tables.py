"""BENCHMARKS.md from the raw figures of the benchmark."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxae import evaluation

HEADER = """# Benchmarks

Written by `python scripts/benchmark.py` from the raw figures in `scripts/results/`; never edited
by hand. Figures over seeds are mean ± half of the 95 % interval of the mean (Student's t), timed
ones the median [quartiles] of rounds in which the processes take turns. Bars were set before
measuring; one that is missed says so. Seeds, where there are several, start at 0 or follow the one
that chose on validation rows.
"""


def render(records: Sequence[dict[str, Any]]) -> str:
    """The whole page: a table of bars, then each row with what is needed to repeat it."""
    parts = [HEADER, "## Summary\n", _summary(records)]
    for suite in dict.fromkeys(record["suite"] for record in records):
        parts.append(f"\n## {suite.capitalize()}\n")
        parts += [_section(record) for record in records if record["suite"] == suite]
    return "\n".join(parts)


def _summary(records: Sequence[dict[str, Any]]) -> str:
    marks = {True: "met", False: "**missed**", None: "not judged"}
    lines = ["| row | bar | |", "|---|---|---|"]
    lines += [_line(r["title"], r["bar"] or "-", marks[r["holds"]]) for r in records]
    return "\n".join(lines)


def _section(record: dict[str, Any]) -> str:
    """A row: its figures, and how they came about."""
    figures = [
        _line(name, _figure(values, record["spread"]), str(len(values)))
        for name, values in record["measured"].items()
    ]
    first = ", ".join(f"{name} {s:.1f} s" for name, s in record["compile_seconds"].items())
    versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items())
    bar = {True: "met", False: "missed", None: "not judged"}[record["holds"]]
    return "\n".join(
        [
            f"### {record['title']}\n",
            f"| figure | value | {'rounds' if record['spread'] == 'pairs' else 'seeds'} |",
            "|---|--:|--:|",
            *figures,
            "",
            f"- Bar: {record['bar']}: {bar}." if record["bar"] else "- No bar.",
            f"- Beside it: {record['reference']}.",
            f"- Protocol: {record['protocol']}.",
            *([f"- Start, compilation and first call: {first}."] if first else []),
            f"- `{record['command']}`, {record['seconds']:.0f} s, commit {record['commit']}, "
            f"{record['date']}, {record['device']}; {versions}.",
            "",
        ]
    )


def _line(*cells: str) -> str:
    """A line of a table, in which bars within cells are no ends of cells."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _figure(values: Sequence[float], spread: str) -> str:
    if len(values) < 2:
        return f"{values[0]:.4g}"
    if spread == "pairs":
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return f"{middle:.4g} [{low:.4g}, {high:.4g}]"
    mean, half_width = evaluation.mean_interval(values)
    return f"{mean:.5g} ± {half_width:.2g}"
