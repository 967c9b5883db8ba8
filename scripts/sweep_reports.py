"""What `sweep.py` measures, prints and draws of its members."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxae
from configs import to_json
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Learner, Params
from jaxae.evaluation.arrays import subsample
from jaxae.training import checkpoints
from jaxae.training.folders import open_folder, read_rows, write_text
from jaxae.training.points import Points
from options import Variant
from reports import DPI, Splits
from reports import report as report_run
from sweep_configs import Range, axes_of

PROBED = 5_000
"""Training rows of a member's probes, at most."""
LINES = 8
"""Models of a figure, at most."""

METRICS = ("mse", "knn_accuracy", "linear_accuracy")
Table = list[dict[str, Any]]


class Swept(NamedTuple):
    """A sweep that was trained.

    Attributes:
        base: the options that all share.
        points: the values by name, and the seeds.
        member: what builds the model of a point.
        result: of the run.
    """

    base: Variant
    points: Points
    member: Callable[[dict[str, Any]], tuple[Autoencoder, Learner]]
    result: jaxae.Run

    def point(self, i: int) -> dict[str, Any]:
        """The values of a member, without its seed."""
        return {name: a[i].item() for name, a in self.points.items() if name != "seed"}

    def config(self, i: int) -> Variant:
        """The options with which `train.py` would train the like of a member."""
        return dataclasses.replace(self.base, **self.point(i))


def report(folder: Path, config: Any, swept: Swept, splits: Splits) -> str:
    """Measures all members, writes `summary.json`, `figures/` and the best member's folder.

    Returns:
        The tables to print.
    """
    labelled = "y" in splits.train and len(np.unique(splits.train["y"])) > 1
    select = config.select or ("linear_accuracy" if labelled else "mse")
    members = _measure(swept, splits, select)
    if f"validation_{select}" not in members[0]:
        names = list(METRICS if labelled else METRICS[:1])
        raise ValueError(f"select is one of {names} for these data; got {select!r}.")
    groups = _groups(swept.points, members)
    best = _best(groups, select)
    if any(isinstance(values[0], Range) for values in axes_of(config).values()):
        groups.sort(key=lambda group: -_score(group[1], select))
    table = [_row(values, group, select) for values, group in groups]
    summary = {"select": select, "best": best, "points": table, "members": members}
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    _draw(folder, config, swept, members, splits)
    wanted = range(len(members)) if -1 in config.export else config.export
    texts = {i: export(folder, swept, i, splits) for i in sorted({best, *wanted})}
    lost = sum(m["diverged"] for m in members)
    notes = f"\n\n{lost} member(s) diverged and stayed as before that epoch." if lost else ""
    named = ", ".join(f"{k} {v:g}" for k, v in swept.point(best).items())
    lines = (
        "\nTest rows, but of the validation column; mean ± 95 % interval over seeds.",
        evaluation.format_table(table) + notes,
        f"\nBest by {select} on validation rows: member {best} ({named or 'no axis'}, seed "
        f"{members[best]['seed']}); on test rows:",
        texts[best],
        f"\nIts own run is {folder / f'member_{best}'}; scripts/evaluate.py reads it.",
    )
    return "\n".join(lines)


def export(folder: Path, swept: Swept, i: int, splits: Splits) -> str:
    """Leaves a member as a run of its own, with figures; returns its table."""
    own, config = folder / f"member_{i}", swept.config(i)
    model = swept.member(swept.point(i))[0]
    state, best = (jaxae.take(tree, i) for tree in (swept.result.state, swept.result.best))
    open_folder(own, json.loads(json.dumps(to_json(config))), own.exists())
    lines = [row for row in read_rows(folder / "metrics.jsonl") if row.pop("member") == i]
    kept = [row for row in lines if all(v is not None for v in row.values())]
    write_text(own / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
    manager = checkpoints.open_checkpoints(own / "checkpoints")
    if manager.latest_step() is None:
        checkpoints.save(manager, len(kept), state, best, config.MONITOR)
    manager.close()
    return report_run(own, config, model, best, splits)


def _measure(swept: Swept, splits: Splits, select: str) -> Table:
    """Of each member errors and probes on test rows, and the selected one on validation rows."""
    few = subsample(len(splits.train["x"]), PROBED, swept.base.seed)
    train = {name: np.asarray(a)[few] for name, a in splits.train.items()}

    @jax.jit
    def look(point: dict[str, Any], params: Params, rows: Batch) -> tuple[Any, Any]:
        model = swept.member(point)[0]
        z = evaluation.map_batches(lambda batch: model.encode(params, batch), rows)
        return z, evaluation.reconstruction(model)(params, rows)["mse"]

    def scores(i: int, rows: Batch, only: str = "") -> dict[str, float]:
        parts = [{"x": part["x"]} for part in (train, rows)]
        params = jaxae.take(swept.result.best, i)
        seen = [look(swept.point(i), params, part) for part in parts]
        found = {"mse": lambda: float(seen[1][1])}
        if "y" in train and len(np.unique(train["y"])) > 1:
            probe = (np.asarray(seen[0][0]), train["y"], np.asarray(seen[1][0]), rows["y"])
            found["knn_accuracy"] = partial(evaluation.knn_probe, *probe)
            found["linear_accuracy"] = partial(evaluation.linear_probe, *probe)
        return {name: score() for name, score in found.items() if only in ("", name)}

    members = []
    for i in range(len(swept.points["seed"])):
        held = scores(i, splits.validation, select)
        members.append(
            {
                "member": i,
                **{name: a[i].item() for name, a in swept.points.items()},
                "best_epoch": int(swept.result.best_epoch[i]),
                "diverged": bool(swept.result.diverged[i]),
                **scores(i, splits.test),
                **{f"validation_{name}": value for name, value in held.items()},
            }
        )
    return members


def _groups(points: Points, members: Table) -> list[tuple[dict[str, Any], Table]]:
    """The members of each point, which differ by seed."""
    axes = [name for name in points if name != "seed"]
    found: dict[tuple[Any, ...], Table] = {}
    for member in members:
        found.setdefault(tuple(member[name] for name in axes), []).append(member)
    return [(dict(zip(axes, values, strict=True)), group) for values, group in found.items()]


def _best(groups: list[tuple[dict[str, Any], Table]], select: str) -> int:
    """Of the point that is best in the mean the best member, on validation rows."""
    group = max((group for _, group in groups), key=lambda group: _score(group, select))
    return max(group, key=lambda member: _score([member], select))["member"]


def _score(members: Table, select: str) -> float:
    """The mean on validation rows, more being better; diverged members count as none."""
    values = [m[f"validation_{select}"] for m in members if not m["diverged"]]
    return float(np.mean(values)) * (-1 if select == "mse" else 1) if values else -np.inf


def _row(values: dict[str, Any], group: Table, select: str) -> dict[str, Any]:
    """The row of a point: means and intervals over its seeds."""
    good = [m for m in group if not m["diverged"]]
    names = [n for n in (f"validation_{select}", *METRICS) if n in group[0]]
    return {**values, "members": len(good), **{n: _mean([m[n] for m in good]) for n in names}}


def _mean(values: list[float]) -> str | None:
    if len(values) < 2:
        return f"{values[0]:.4g}" if values else None
    mean, width = evaluation.mean_interval(values)
    return f"{mean:.4g} ± {width:.2g}"


def _draw(folder: Path, config: Any, swept: Swept, members: Table, splits: Splits) -> None:
    """Metrics against each axis, filters by its values, and validation by epoch."""
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    good = [m for m in members if not m["diverged"]]
    names = [n for n in METRICS if n in members[0]]
    shape, kernels = splits.test["x"].shape[1:], swept.result.best["encoder"]["layer_0"]["kernel"]
    for axis, values in axes_of(config).items():
        drawn = isinstance(values[0], Range)
        y = {f"test {name}": [m[name] for m in good] for name in names}
        figure = evaluation.response([m[axis] for m in good], y, xlabel=axis)
        figure.savefig(figures / f"{axis}.png", dpi=DPI)
        levels = sorted({m[axis] for m in good})
        some = [levels[j] for j in np.unique(np.linspace(0, len(levels) - 1, LINES).astype(int))]
        first = {level: next(m["member"] for m in good if m[axis] == level) for level in some}
        rows = {f"{axis} {level:.3g}": kernels[i] for level, i in first.items()}
        title = "" if drawn else f", seed {swept.base.seed}"
        figure = evaluation.filter_rows(
            rows, shape, title=f"Filters by norm, each scaled to its largest weight{title}"
        )
        figure.savefig(figures / f"filters_{axis}.png", dpi=DPI)
    _curves(swept, members).savefig(figures / "curves.png", dpi=DPI)


def _curves(swept: Swept, members: Table) -> Any:
    """The monitored metric by epoch, the mean of each point's members."""
    rows = swept.result.rows
    values = np.array([row[swept.base.MONITOR] for row in rows])
    labels = [
        ", ".join(f"{k} {v:.3g}" for k, v in swept.point(m["member"]).items()) for m in members
    ]
    every = list(dict.fromkeys(labels))
    shown = [every[j] for j in np.unique(np.linspace(0, len(every) - 1, LINES).astype(int))]
    lines: dict[str, Any] = {}
    for label in shown:
        of = values[:, [label == other for other in labels]]
        some = np.isfinite(of).any(1)
        mean = np.full(len(of), np.nan)
        mean[some] = np.nanmean(of[some], axis=1)
        lines[label or "all members"] = mean
    return evaluation.member_curves(lines, swept.base.MONITOR)
