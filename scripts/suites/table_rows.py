"""Tables: missing cells filled in, and wrong ones found, beside means and scikit-learn."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae.base import Autoencoder, Params
from jaxae.data.column_fitting import hide_cells
from jaxae.data.columns import Columns, fit_columns
from jaxae.deploy.cell_surprise import cell_scores, surprise
from jaxae.deploy.imputing import impute
from jaxae.evaluation.table_errors import column_errors, hidden_error, mean_or_mode
from jaxae.models.tabular import table
from suites.rows import Outcome, Row

NAMES = ("wine", "breast_cancer", "diabetes", "iris", "mixed")
NOISE, L2 = (0.1, 0.2, 0.35, 0.5), (1e-2, 1e-1, 4e-1)
EPOCHS, BATCH, RATE, LATENT, HIDDEN = 300, 32, 3e-3, 16, (64,)
HOW = (
    f"`jaxae.table`, width-{HIDDEN[0]}-{LATENT}-{HIDDEN[0]}-width, GELU, batch {BATCH}, {EPOCHS} "
    f"epochs, Adam, one-cycle with peak {RATE:g}; noise_level of {NOISE} and l2 of {L2} chosen for "
    "each table by the error on 10 % of the cells that the model is given, then trained with "
    "these, too"
)


class Fitted(NamedTuple):
    """A model, its parameters and schema for each table, and the chosen noise_level and l2."""

    model: Autoencoder
    params: list[Params]
    columns: list[Columns]
    choice: tuple[float, float]


def table_imputation(quick: bool) -> Outcome:
    """A fifth of the cells removed and filled in, of five tables."""
    measured: dict[str, list[float]] = {}
    chosen = {}
    for name in NAMES[-1:] if quick else NAMES:
        truth = _frame(name)
        cut = [hide_cells(truth, 0.2, seed) for seed in range(2 if quick else 5)]
        found = _fit([holes for holes, _ in cut], fit_columns(truth), quick)
        chosen[name] = found.choice
        for (holes, hidden), params, columns in zip(cut, found.params, found.columns, strict=True):
            ways = {
                "jaxae": impute(found.model, params, holes, columns),
                "mean or mode": mean_or_mode(holes, columns),
                **_sklearn(holes, columns),
            }
            for row in column_errors(truth, ways, hidden, columns):
                if row["column"].startswith("all "):
                    for way in ways:
                        measured.setdefault(f"{name}: {row['error']}, {way}", []).append(row[way])
    means = {figure: float(np.mean(values)) for figure, values in measured.items()}
    ours = {figure.removesuffix("jaxae"): m for figure, m in means.items() if "jaxae" in figure}
    return Outcome(
        measured,
        reference="the column's mean or most frequent category; scikit-learn's IterativeImputer "
        "(Bayesian ridge, 30 rounds, kept in the range of what is observed, without which it can "
        "diverge on one-hot cells) and KNNImputer (5 neighbours) on the same encoded cells",
        bar="errors below those of mean or mode on each table",
        holds=all(m < means[f"{figure}mean or mode"] for figure, m in ours.items()),
        protocol="scikit-learn's bundled tables without their labels; mixed is wine with its label "
        "as a category, colour_intensity cut into thirds and proline into halves. 20 % of "
        f"the cells removed at random; {HOW}; NRMSE in standard deviations of the column, over all "
        f"removed cells; 5 seeds, of cells and training. Chosen (noise_level, l2): {chosen}",
    )


def cell_errors(quick: bool) -> Outcome:
    """One cell in twenty replaced by that of another row, and found."""
    from sklearn.metrics import average_precision_score

    measured: dict[str, list[float]] = {}
    chosen = {}
    for name in NAMES[-1:] if quick else NAMES:
        spoilt = [_spoil(_frame(name), 0.05, seed) for seed in range(2 if quick else 5)]
        found = _fit([frame for frame, _ in spoilt], fit_columns(_frame(name)), quick)
        chosen[name] = found.choice
        for (frame, wrong), params, columns in zip(
            spoilt, found.params, found.columns, strict=True
        ):
            scores = cell_scores(found.model, params, frame, columns).to_numpy()
            ways = {"jaxae": scores, "|z|": _marginal(frame, columns)}
            ways["regression"] = _by_regression(frame, columns)
            for way, score in ways.items():
                precision = average_precision_score(wrong.ravel(), score.ravel())
                measured.setdefault(f"{name}: average precision, {way}", []).append(precision)
            measured.setdefault(f"{name}: share of wrong cells", []).append(float(wrong.mean()))
    means = {figure: float(np.mean(values)) for figure, values in measured.items()}
    ours = [figure.removesuffix("jaxae") for figure in means if figure.endswith("jaxae")]
    return Outcome(
        measured,
        reference="the distance of a number from its column's mean in standard deviations, of a "
        "category the root of twice its surprise -log p, which is the same of a Gaussian; "
        "the share of wrong cells is the average precision of chance, near which |z| must be, as "
        "each wrong cell is a right one of its column; scikit-learn's BayesianRidge and "
        "LogisticRegression of each column on the others, 5-fold, scored as the model",
        bar="average precision above that of |z| on each table",
        holds=all(means[f"{figure}jaxae"] > means[f"{figure}|z|"] for figure in ours),
        protocol="as for table-imputation, without holes; 5 % of the cells replaced by that of "
        "another row in the same column, where it differs; the model is trained on this table and "
        f"judges each cell by the others of its row; {HOW}; 5 seeds. "
        f"Chosen (noise_level, l2): {chosen}",
    )


def _frame(name: str) -> Any:
    """A table without missing cells."""
    import pandas as pd
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{'wine' if name == 'mixed' else name}")(as_frame=True)
    if name != "mixed":
        return bunch.data
    frame = bunch.data.copy()
    frame["color_intensity"] = pd.qcut(frame["color_intensity"], 3, labels=["low", "mid", "high"])
    frame["proline"] = frame["proline"] > frame["proline"].median()
    frame["cultivar"] = bunch.target.map(dict(enumerate("ABC"))).astype("category")
    return frame


def _spoil(frame: Any, share: float, seed: int) -> tuple[Any, np.ndarray]:
    """The table with cells of other rows, and where they differ from what was there."""
    rng = np.random.default_rng(seed)
    spoilt, wrong = frame.copy(), np.zeros(frame.shape, bool)
    for j, name in enumerate(frame.columns):
        at = np.flatnonzero(rng.random(len(frame)) < share)
        others = (at + rng.integers(1, len(frame), len(at))) % len(frame)
        cells = frame[name].to_numpy(object).copy()
        wrong[at, j] = cells[at] != cells[others]
        cells[at] = cells[others]
        spoilt[name] = type(frame[name])(cells, index=frame.index).astype(frame[name].dtype)
    return spoilt, wrong


def _fit(frames: Sequence[Any], schema: Columns, quick: bool) -> Fitted:
    """Chooses on a tenth of the cells, then trains on all; the tables' seeds in one program."""
    cut = [hide_cells(frame, 0.1, 1000 + seed) for seed, frame in enumerate(frames)]
    scaled = [schema.scaled_by(seen) for seen, _ in cut]
    judged = _stack([_judged(*c, f, s) for c, f, s in zip(cut, frames, scaled, strict=True)])
    epochs = 2 if quick else EPOCHS
    steps = epochs * (len(frames[0]) // BATCH)
    tx = optax.adam(optax.cosine_onecycle_schedule(steps, RATE))

    def build(noise_level: Any, l2: Any) -> Autoencoder:
        parts: dict[str, Any] = {"hidden_dims": HIDDEN, "activation": "gelu"}
        penalties = [jaxae.penalties.l2(l2)]
        return table(schema, LATENT, noise_level=noise_level, penalties=penalties, **parts)

    @jax.jit
    @lambda one: jax.vmap(one, in_axes=(0, 0, None, None))
    def fit(key: Any, batch: Any, noise_level: Any, l2: Any) -> tuple[Params, Any]:
        model = build(noise_level, l2)
        learner = jaxae.gradient(model.loss, tx)
        data = {name: batch[name] for name in ("x", "mask")}
        state, key = jaxae.start(model, learner, data, key)
        params = jaxae.fit(learner, state, data, key, epochs=epochs, batch_size=BATCH)[0].params
        return params, hidden_error(model)(params, batch)["validation_mse"]

    keys = jax.vmap(jax.random.key)(jnp.arange(len(frames)))
    grid = list(product(NOISE[:2], L2[:1]) if quick else product(NOISE, L2))
    choice = min(grid, key=lambda point: float(fit(keys, judged, *point)[1].mean()))
    columns = [schema.scaled_by(frame) for frame in frames]
    whole = _stack([c.encode(frame) for c, frame in zip(columns, frames, strict=True)])
    blank = {name: jnp.zeros_like(whole["x"]) for name in ("target", "hidden")}
    params, _ = fit(keys, {**whole, **blank}, *choice)
    each = [jaxae.take(params, i) for i in range(len(frames))]
    return Fitted(build(*choice), each, columns, choice)


def _judged(seen: Any, hidden: Any, frame: Any, columns: Columns) -> dict[str, np.ndarray]:
    """The batch of `hidden_error`."""
    target = columns.encode(frame)["x"]
    marks = np.repeat(hidden.to_numpy(), columns.widths, axis=1).astype(np.float32)
    return {**columns.encode(seen), "target": target, "hidden": marks}


def _stack(batches: Sequence[dict[str, np.ndarray]]) -> dict[str, Any]:
    return {name: jnp.stack([batch[name] for batch in batches]) for name in batches[0]}


def _sklearn(holes: Any, columns: Columns) -> dict[str, Any]:
    """The tables that scikit-learn's imputers fill."""
    import warnings

    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    batch = columns.encode(holes)
    x = np.where(batch["mask"] > 0, batch["x"], np.nan)
    filled = {}
    bounds = {"min_value": np.nanmin(x, axis=0), "max_value": np.nanmax(x, axis=0)}
    for imputer in (IterativeImputer(random_state=0, max_iter=30, **bounds), KNNImputer()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 30 rounds did not converge
            filled[type(imputer).__name__] = columns.fill(holes, imputer.fit_transform(x))
    return filled


def _marginal(frame: Any, columns: Columns) -> np.ndarray:
    """How far a cell is from what its column has, `(rows, columns)`."""
    x = columns.encode(frame)["x"]
    scores = []
    for column, place in columns.blocks():
        if column.kind == "numeric":
            scores.append(np.abs(x[:, place.start]))
        else:
            cells = frame[column.name]
            share = cells.map(cells.value_counts(normalize=True)).to_numpy(np.float64)
            scores.append(np.sqrt(-2 * np.log(share)))
    return np.stack(scores, axis=1)


def _by_regression(frame: Any, columns: Columns) -> np.ndarray:
    """The surprise of each cell under a regression of its column on the others."""
    from sklearn.linear_model import BayesianRidge, LogisticRegression
    from sklearn.model_selection import cross_val_predict

    batch = columns.encode(frame)
    x, x_hat = batch["x"], np.zeros_like(batch["x"])
    for column, place in columns.blocks():
        others, own = np.delete(x, place, axis=1), x[:, place]
        if column.kind == "numeric":
            x_hat[:, place.start] = cross_val_predict(BayesianRidge(), others, own[:, 0])
            continue
        y = own[:, 0] if column.kind == "binary" else own.argmax(1)
        logistic = LogisticRegression(max_iter=1000)
        p = cross_val_predict(logistic, others, y, method="predict_proba")
        x_hat[:, place] = p[:, 1:] if column.kind == "binary" else p
    return surprise(columns, batch, x_hat).to_numpy()


ROWS = (
    Row("table-imputation", "Missing cells of tables", table_imputation),
    Row("table-errors", "Wrong cells of tables", cell_errors),
)
