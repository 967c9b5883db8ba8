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
from network_figures import first_kernels
from options import Variant
from reports import DPI, Splits
from reports import report as report_run
from sweep_configs import Range, axes_of

PROBED = 5_000
"""Training rows of a member's probes, at most."""
LINES = 8
"""Models of a figure, at most."""

METRICS = ("mse", "knn_accuracy", "linear_accuracy")
Axes = dict[str, tuple[float | Range, ...]]
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
    best, table = compare(folder, axes_of(config), swept.points, members, select)
    kernels, seen = first_kernels(swept.result.best, splits.test["x"].shape[1:])
    drawn = {f"test {n}": n for n in METRICS if n in members[0]}
    draw_axes(folder, axes_of(config), members, drawn, kernels, seen)
    _curves(swept, members).savefig(folder / "figures" / "curves.png", dpi=DPI)
    wanted = range(len(members)) if -1 in config.export else config.export
    texts = {i: export(folder, swept, i, splits) for i in sorted({best, *wanted})}
    named = ", ".join(f"{k} {v:g}" for k, v in swept.point(best).items())
    lines = (
        "\nTest rows, but of the validation column; mean ± 95 % interval over seeds.",
        table,
        f"\nBest by {select} on validation rows: member {best} ({named or 'no axis'}, seed "
        f"{members[best]['seed']}); on test rows:",
        texts[best],
        f"\nIts own run is {folder / f'member_{best}'}; scripts/evaluate.py reads it.",
    )
    return "\n".join(lines)


def compare(
    folder: Path, axes: Axes, points: Points, members: Table, select: str
) -> tuple[int, str]:
    """The best member and a table of all points, by a metric of validation rows.

    Writes `summary.json`. Members have `validation_` and that metric, `diverged`, and others.
    """
    groups = _groups(points, members)
    best = _best(groups, select)
    if any(isinstance(values[0], Range) for values in axes.values()):
        groups.sort(key=lambda group: -_score(group[1], select))
    table = [_row(values, group) for values, group in groups]
    summary = {"select": select, "best": best, "points": table, "members": members}
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    lost = sum(m["diverged"] for m in members)
    notes = f"\n\n{lost} member(s) diverged and stayed as before that epoch." if lost else ""
    return best, evaluation.format_table(table) + notes


def export(folder: Path, swept: Swept, i: int, splits: Splits) -> str:
    """Leaves a member as a run of its own, with figures; returns its table."""
    own, config = folder / f"member_{i}", swept.config(i)
    export_run(folder, own, to_json(config), swept.result, i, config.MONITOR)
    model, best = swept.member(swept.point(i))[0], jaxae.take(swept.result.best, i)
    return report_run(own, config, model, best, splits)


def export_run(
    folder: Path, own: Path, config: dict[str, Any], result: jaxae.Run, i: int, monitor: str
) -> None:
    """Leaves what the swept run in `folder` has of a member as a run in `own`."""
    open_folder(own, json.loads(json.dumps(config)), own.exists())
    lines = [row for row in read_rows(folder / "metrics.jsonl") if row.pop("member") == i]
    kept = [row for row in lines if all(v is not None for v in row.values())]
    write_text(own / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
    state, best = (jaxae.take(tree, i) for tree in (result.state, result.best))
    manager = checkpoints.open_checkpoints(own / "checkpoints")
    if manager.latest_step() is None:
        checkpoints.save(manager, len(kept), state, best, monitor)
    manager.close()


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
        parts = [swept.base.seen(part) for part in (train, rows)]
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


def _row(values: dict[str, Any], group: Table) -> dict[str, Any]:
    """The row of a point: means and intervals over its seeds."""
    good = [m for m in group if not m["diverged"]]
    left = {"member", "seed", "best_epoch", "diverged", *values}
    names = sorted((n for n in group[0] if n not in left), key=lambda n: "validation_" not in n)
    return {**values, "members": len(good), **{n: _mean([m[n] for m in good]) for n in names}}


def _mean(values: list[float]) -> str | None:
    if len(values) < 2:
        return f"{values[0]:.4g}" if values else None
    mean, width = evaluation.mean_interval(values)
    return f"{mean:.4g} ± {width:.2g}"


def draw_axes(
    folder: Path, axes: Axes, members: Table, names: dict[str, str], kernels: Any, shape: Any
) -> None:
    """Metrics against each axis, and the first layer's filters, if any, by its values.

    Args:
        folder: of the run.
        axes: what was swept.
        members: their metrics.
        names: which of these are drawn, by their labels.
        kernels: of `first_kernels`, and more rows for a context, which are not drawn.
        shape: of what they look at.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    good = [m for m in members if not m["diverged"]]
    for axis in axes:
        y = {label: [m[name] for m in good] for label, name in names.items()}
        figure = evaluation.response([m[axis] for m in good], y, xlabel=axis)
        figure.savefig(figures / f"{axis}.png", dpi=DPI)
        if kernels is None:
            continue
        levels = sorted({m[axis] for m in good})
        some = [levels[j] for j in np.unique(np.linspace(0, len(levels) - 1, LINES).astype(int))]
        first = {level: next(m["member"] for m in good if m[axis] == level) for level in some}
        rows = {
            f"{axis} {level:.3g}": np.asarray(kernels[i])[: np.prod(shape)]
            for level, i in first.items()
        }
        title = "Filters by norm, each scaled to its largest weight; one member a row"
        figure = evaluation.filter_rows(rows, shape, title=title)
        figure.savefig(figures / f"filters_{axis}.png", dpi=DPI)


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
