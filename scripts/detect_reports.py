"""What `detect.py` measures, writes and draws."""

import csv
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxae
import reports
from boltzmann_configs import RBM
from configs import variant_of
from evaluate import Trained
from jaxae.base import Array, Batch, as_float, where_observed
from jaxae.deploy import thresholds
from jaxae.deploy.anomaly import anomaly_scores, feature_scores
from jaxae.deploy.densities import code_density_scores, fit_code_density
from jaxae.evaluation import anomaly_plots, detection, format_table, generation
from jaxae.training.folders import write_text

LEVELS = (0.01, 0.05, 0.1)
SHOWN = 10


def report(
    folder: Path, options: Any, found: Trained, strange: Batch | None, new: Batch | None
) -> str:
    """Writes scores.csv, detection.json and figures; returns the tables to print.

    Args:
        folder: where they go.
        options: of `detect.py`.
        found: the trained model and its rows.
        strange: known anomalies.
        new: rows to score.
    """
    calibration, check = jaxae.split(found.splits.test, 0.5, seed=found.config.seed)
    score = _scorer(options, found)
    known, normal = score(calibration), score(check)
    anomalies = None if strange is None else score(strange)
    compared = [] if strange is None else _compared(options, found, (check, strange), score)
    alarms = _alarms(known, normal, anomalies)
    rows: Any = check
    truth: Any = np.zeros(len(normal), int)
    scores = normal
    if new is not None:  # rows that were to show false alarms calibrate, too
        rows, truth, scores = new, None, score(new)
        known = np.concatenate([known, normal])
    elif strange is not None and anomalies is not None:
        rows = {name: np.concatenate([check[name], strange[name]]) for name in ("x", "y")}
        rows |= {n: np.concatenate([check[n], strange[n]]) for n in check if n not in rows}
        truth = np.repeat([0, 1], [len(normal), len(anomalies)])
        scores = np.concatenate([normal, anomalies])
    table = _write(folder / "scores.csv", known, scores, rows.get("y"), truth, options.level)
    _draw(folder, options, found, (rows, scores, truth), (known, normal, anomalies))
    summary = {"kind": options.kind, "level": options.level, "calibration_rows": len(known)}
    summary |= {"ranking": compared, "false_alarms": alarms}
    write_text(folder / "detection.json", json.dumps(summary, indent=1) + "\n")
    what = f"{int(table['flagged'].sum())} of {len(scores):,} rows have p <= {options.level:g}"
    more = f"{int(table['discovery'].sum())} are discoveries at a rate of {options.level:g}"
    half = f"{len(calibration['x']):,} rows calibrate"
    parts = [f"{variant_of(found.config)}, {options.kind}; {half}."]
    if compared:
        parts.append(f"{len(normal):,} normal rows and {len(truth) - len(normal):,} anomalies:")
        parts.append(format_table(compared))
    parts.append("False alarms among normal rows that neither trained nor calibrated:")
    parts.append(format_table(alarms))
    if options.level * (len(known) + 1) < 1:
        parts.append(
            f"{len(known)} rows that calibrate are too few to flag any at {options.level:g}."
        )
    by = "" if new is None else f" Both halves, {len(known):,} rows, calibrate these."
    return "\n".join([*parts, f"\nscores.csv: {what}, {more} (Benjamini-Hochberg).{by}"])


def _scorer(options: Any, found: Trained) -> Any:
    """`rows -> scores`, float64."""
    model, params, config = found.model, found.params, found.config
    if options.kind == "density":
        train = config.seen(found.splits.sample)
        density = fit_code_density(
            model, params, train, components=options.gaussians, seed=config.seed
        )
        rare = jax.jit(code_density_scores(model))
        return lambda rows: np.asarray(rare(params, density, config.seen(rows)), np.float64)
    energy = config.energy() if isinstance(config, RBM) else None
    score, key = jax.jit(anomaly_scores(model, options.kind, energy=energy)), jax.random.key(0)
    return lambda rows: np.asarray(score(params, key, config.seen(rows)), np.float64)


def _compared(
    options: Any, found: Trained, rows: tuple[Batch, Batch], score: Any
) -> list[dict[str, Any]]:
    """AUROC and average precision of the model and of what it is to beat."""
    train = found.splits.sample
    d = int(np.prod(train["x"].shape[1:]))
    k = max(1, min(found.config.latent_dim, d // 4, len(train["x"])))
    ways: dict[str, Any] = {
        f"{variant_of(found.config)}, {options.kind}": score,
        f"PCA-{k}, reconstruction": lambda part: detection.pca_scores(train, part, k),
        "isolation forest": lambda part: detection.forest_scores(train, part),
    }
    pairs = {name: [way(part) for part in rows] for name, way in ways.items()}
    return [{"name": name, **detection.ranking_metrics(*pair)} for name, pair in pairs.items()]


def _alarms(known: Array, normal: Array, anomalies: Array | None) -> list[dict[str, Any]]:
    """For each level the share of rows that are flagged, and where it lies with 95 %."""
    rows = []
    for level in LEVELS:
        low, high = thresholds.false_alarm_interval(len(known), level, len(normal))
        flagged = thresholds.conformal_p_values(known, normal) <= level
        row = {"name": f"{level:.0%}", "false_alarms": float(flagged.mean())}
        row |= {"expected_from": low, "expected_to": high}
        if anomalies is not None:
            caught = thresholds.conformal_p_values(known, anomalies) <= level
            row["anomalies_flagged"] = float(caught.mean())
        rows.append(row)
    return rows


def _write(
    path: Path, known: Array, scores: Array, labels: Any, truth: Any, level: float
) -> dict[str, Any]:
    """A line for each row, in their order."""
    p = thresholds.conformal_p_values(known, scores)
    table: dict[str, Any] = {"row": np.arange(len(p)), "score": scores, "p_value": p}
    table |= {"flagged": (p <= level).astype(int)}
    table |= {"discovery": thresholds.discoveries(p, level).astype(int)}
    table |= {} if labels is None else {"label": np.asarray(labels)}
    table |= {} if truth is None else {"anomaly": truth}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return table


def _draw(folder: Path, options: Any, found: Trained, shown: Any, groups: Any) -> None:
    """The histogram of scores, and the strangest rows."""
    rows, scores, truth = shown
    known, normal, anomalies = groups
    above = thresholds.threshold(known, quantile=1 - options.level)
    title = f"{variant_of(found.config)}: threshold for {options.level:.3g} of false alarms"
    others = scores if truth is None else anomalies
    figures = {
        "histogram": anomaly_plots.score_histogram(
            normal,
            others,
            above,
            xlabel=f"score: {options.kind}",
            title=title,
            names=("held-out normal rows", "new rows" if truth is None else "anomalies"),
        )
    }
    top = np.argsort(-scores, kind="stable")[:SHOWN]
    seen: Any = {name: np.asarray(a[top]) for name, a in found.config.seen(rows).items()}
    x_hat = generation.reconstruct(found.model, found.params, seen)
    errors = feature_scores(found.model)(found.params, seen)
    p = thresholds.conformal_p_values(known, scores[top])
    names = [f"row {i}\np = {value:.2g}" for i, value in zip(top, p, strict=True)]
    if truth is not None:
        kinds = [("normal", "anomaly")[truth[i]] for i in top]
        names = [f"{kind}\n{name}" for kind, name in zip(kinds, names, strict=True)]
    figures["strangest"] = anomaly_plots.ranked_examples(
        np.asarray(where_observed(seen, as_float(seen["x"]))),
        np.asarray(x_hat),
        np.asarray(errors),
        scores[top],
        names=names,
        title=f"The strangest of {len(scores):,} rows by {options.kind}",
    )
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=reports.DPI)
