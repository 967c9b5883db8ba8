"""Fills in the missing cells of a table, says how well, and which of the other cells look wrong.

Without arguments scikit-learn's wine table, of which a fifth of the cells is removed. Your own:

python scripts/impute.py --data table.csv --categorical species --drop id --out filled.csv

python scripts/impute.py --data table.csv --variant vae --draws 5

python scripts/impute.py --data later.csv --use runs/impute-table-1

An autoencoder learns to fill in cells that are hidden from it. Some cells that the table has are
hidden from the whole training, to choose the best epoch and to test it, beside the column's mean or
most frequent category.
"""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

import jaxae
from impute_options import BUNDLED, Impute, check, read
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Params
from jaxae.data.column_fitting import hide_cells
from jaxae.data.columns import Columns, fit_columns
from jaxae.deploy.cell_surprise import cell_scores, error_scales, expected_cells, name_cells
from jaxae.deploy.imputing import impute, impute_draws
from jaxae.evaluation.table_errors import column_errors, hidden_error, mean_or_mode
from jaxae.training.checkpoints import open_checkpoints, restore
from jaxae.training.folders import read_config, write_text
from options import call, stop_if_interrupted

SCHEMA, SCALES = "columns.json", "error_scales.json"
DRAWS = 1
"""Folded into a run's key, the randomness of draws."""


class Cells(NamedTuple):
    """A table and what is hidden of it.

    Attributes:
        whole: as it was read.
        table: with the holes to fill.
        seen: what the training sees.
        test: True at the cells hidden for the test.
        validation: True at those hidden to choose the best epoch.
        columns: the schema, of scales by `seen`, without the columns to drop.
    """

    whole: Any
    table: Any
    seen: Any
    test: Any
    validation: Any
    columns: Columns

    def describe(self) -> str:
        """Sizes in words."""
        kinds = self.columns.kinds
        each = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        gaps, counts = int(self.table[self.columns.names].isna().to_numpy().sum()), []
        for marks, name in ((self.test, "test"), (self.validation, "validation")):
            counts.append(f"{int(marks.to_numpy().sum()):,} for {name}")
        return (
            f"{len(self.table):,} rows, {len(kinds)} columns ({each}), {gaps:,} missing cells;\n"
            f"known cells hidden from the training: {', '.join(counts)}"
        )


class Trained(NamedTuple):
    """What fills a table.

    Attributes:
        model: of rows.
        params: of the model.
        columns: the schema.
        scale: `error_scales` of the table that it was trained on.
    """

    model: Autoencoder
    params: Params
    columns: Columns
    scale: np.ndarray


def fill(config: Impute) -> Path:
    """Trains on the table, and writes and prints what the model makes of it."""
    start = time.perf_counter()
    check(config)
    if config.use is not None:
        return use(config, Path(config.use))
    cells = load_cells(config)
    folder = config.run_folder("impute", config.data)
    print(f"impute, {config.variant} on {config.data}: {cells.describe()}", flush=True)
    model, columns = config.build(cells.columns), cells.columns
    params, epoch = _train(config, cells, model, folder)
    scale = error_scales(model, params, cells.table, columns)
    write_text(folder / SCHEMA, columns.to_json() + "\n")
    write_text(folder / SCALES, json.dumps(scale.tolist()) + "\n")

    ways = {
        "model": impute(model, params, cells.seen, columns),
        "mean or mode": mean_or_mode(cells.seen, columns),
    }
    errors = column_errors(cells.whole, ways, cells.test, columns)
    print(f"\nCells hidden for the test; parameters of epoch {epoch}, best on validation cells.")
    print(evaluation.format_table(errors))
    written = _write(config, folder, Trained(model, params, columns, scale), cells.table)
    summary = {"errors": errors, "best_epoch": epoch}
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"\n{time.perf_counter() - start:.0f} s. {written}")
    return folder


def use(config: Impute, run: Path) -> Path:
    """Fills a table by the model of a finished run."""
    trained, frame = load_trained(run), read(config)
    folder = config.run_folder("impute", config.data)
    if folder.exists():
        raise ValueError(f"{folder} exists already and is not overwritten: take another --folder.")
    names = [name for name in trained.columns.names if name in frame.columns]
    gaps = int(frame[names].isna().to_numpy().sum())
    print(f"{run} on {config.data}: {len(frame):,} rows, {gaps:,} missing cells")
    how = {"unknown": config.unknown, "absent": config.absent}
    trained.columns.encode(frame, **how)  # refuses before a folder is made
    folder.mkdir(parents=True)
    print(f"\n{_write(config, folder, trained, frame, **how)}")
    return folder


def load_trained(run: Path) -> Trained:
    """The best parameters of a finished run, and what goes with them."""
    values: Any = read_config(run)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if values.pop("script", None) != "impute" or not (run / SCALES).is_file():
        raise ValueError(f"{run} is no finished run of impute.py.")
    columns = Columns.from_json((run / SCHEMA).read_text())
    model = Impute(**values).build(columns)
    row = {name: np.zeros((1, columns.width), np.float32) for name in ("x", "mask")}
    like = jax.eval_shape(model.init, jax.random.key(0), row)
    manager = open_checkpoints(run / "checkpoints", write=False)
    saved = restore(manager, best=like)
    manager.close()
    scale = np.asarray(json.loads((run / SCALES).read_text()))
    return Trained(model, saved["best"], columns, scale)


def load_cells(config: Impute) -> Cells:
    """The table, and the cells of it that are hidden."""
    frame = read(config)
    asked = {"categorical": config.categorical, "numeric": config.numeric, "drop": config.drop}
    for option, names in asked.items():
        if lacking := [name for name in names if name not in frame.columns]:
            raise ValueError(f"--{option} {lacking}: the table has {list(frame.columns)}.")
    kept = frame.drop(columns=list(config.drop))
    schema = fit_columns(kept, config.kinds)
    is_bundled = config.data in BUNDLED
    share = (0.2 if is_bundled else 0.1) if config.test_cells is None else config.test_cells
    holes, test = hide_cells(kept, share, config.seed)
    seen, validation = hide_cells(holes, config.validation_cells, config.seed + 1)
    given = holes if is_bundled else frame
    return Cells(frame, given, seen, test, validation, schema.scaled_by(seen))


def _train(config: Impute, cells: Cells, model: Autoencoder, folder: Path) -> tuple[Params, int]:
    """The best parameters of a run in the folder, and their epoch."""
    data = cells.columns.encode(cells.seen)
    learner = config.learner(model, len(data["x"]) // config.batch_size * config.epochs)
    state, key = jaxae.start(model, learner, data, jax.random.key(config.seed))
    advance = jaxae.over_arrays(
        learner,
        data,
        key,
        batch_size=config.batch_size,
        evaluate=hidden_error(model),
        validation=_judged(cells, data),
    )
    result = jaxae.run(
        advance,
        state,
        folder,
        epochs=config.epochs,
        examples=len(data["x"]),
        config=config.to_json(),
        monitor="validation_mse",
        patience=config.patience,
        resume=config.resume,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    stop_if_interrupted(result, folder)
    return result.best, int(result.best_epoch)


def _judged(cells: Cells, data: Batch) -> Batch:
    """The batch of `hidden_error`."""
    target = cells.columns.encode(cells.whole)["x"]
    marks = np.repeat(cells.validation.to_numpy(), cells.columns.widths, axis=1)
    return {**data, "target": target, "hidden": marks.astype(np.float32)}


def _write(config: Impute, folder: Path, trained: Trained, frame: Any, **how: Any) -> str:
    """Writes the filled tables and the cells that look wrong; prints these."""
    model, params, columns, scale = trained
    out = folder / "imputed.csv" if config.out is None else Path(config.out)
    _save(impute(model, params, frame, columns, **how), out)
    if config.draws:
        key = jax.random.fold_in(jax.random.key(config.seed), DRAWS)
        drawn = impute_draws(model, params, key, frame, columns, samples=config.draws, **how)
        for i, one in enumerate(drawn, 1):
            _save(one, out.with_name(f"{out.stem}-{i}{out.suffix}"))
    scores = cell_scores(model, params, frame, columns, scale=scale, **how)
    expected = expected_cells(model, params, frame, columns, **how)
    odd = name_cells(scores, config.cells)
    at = list(zip(odd["row"], odd["column"], strict=True))
    odd.insert(2, "cell", [frame.loc[row, name] for row, name in at])
    odd.insert(3, "expected", [expected.loc[row, name] for row, name in at])
    odd.to_csv(folder / "odd_cells.csv", index=False)
    print("\nThe cells that are least likely, given the others of their row (the first row is 0):")
    print(evaluation.format_table(odd.to_dict("records")))
    return f"Filled table: {out}. All else: {folder}"


def _save(filled: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        filled.to_parquet(path)
    else:
        filled.to_csv(path, index=False)


def main() -> None:
    """Reads the command line."""
    call(fill, tyro.cli(Impute, description=__doc__))


if __name__ == "__main__":
    main()
