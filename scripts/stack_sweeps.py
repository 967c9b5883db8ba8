"""Many pretrainings at once: each phase of all members is one run."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, Key, Params
from jaxae.evaluation.classification import accuracy
from jaxae.training.folders import open_folder
from jaxae.training.members import Training
from jaxae.training.points import Points
from options import stop_if_interrupted
from reports import Splits
from stack_configs import Stack, to_json
from stack_phases import Phase, chain, keys_of, phases, plan
from stack_reports import Trained, report
from sweep_configs import Range, cross, parse
from sweep_reports import compare, draw_axes, export_run

NOT_SWEPT = ("validation_fraction", "checkpoint_seconds")


class Step(NamedTuple):
    """What is known of a phase before it is traced; see `Phase`."""

    name: str
    title: str
    epochs: int
    batch_size: int
    examples: int
    monitor: str
    take_best: bool


def axes_of(config: Stack) -> dict[str, tuple[float | Range, ...]]:
    """What `sweep` says, by the names of options.

    Raises:
        ValueError: a text that names no number among the options, or gives it no values.
    """
    fields = {f.name for f in dataclasses.fields(config) if "float" in str(f.type)}
    axes: dict[str, tuple[float | Range, ...]] = {}
    for text in config.sweep:
        name, equals, values = text.partition("=")
        name = name.strip("-").replace("-", "_")
        if not equals or name not in fields - set(NOT_SWEPT):
            known = sorted(n.replace("_", "-") for n in fields - set(NOT_SWEPT))
            raise ValueError(f"sweep takes NAME=VALUES with a name among {known}; got {text!r}.")
        try:
            axes[name] = parse([v for v in values.split(",") if v])
        except ValueError as error:
            raise ValueError(f"sweep {text!r}: {error}") from error
    return axes


def sweep(config: Stack, splits: Splits, check: Callable[[Stack, Splits], None]) -> Path:
    """Trains all members phase by phase, compares them, and returns the run's folder."""
    axes = axes_of(config)
    points = cross(axes, config.seeds, config.samples, config.seed)
    base = dataclasses.replace(config, sweep=(), seeds=1, samples=16)
    values = {name: a for name, a in points.items() if name != "seed"}
    count = len(points["seed"])
    own = [_own(base, {n: a[i].item() for n, a in values.items()}) for i in range(count)]
    for one in own:
        check(one, splits)
        one.models(splits.train["x"].shape[1:])
    keys = jax.vmap(jax.random.key)(points["seed"])
    steps = _steps(own[0], splits, keys[0])
    folder = config.run_folder(f"{config.layer}-stack-sweep", config.data)
    print(f"{config.describe(splits.train)} on {config.data}: {splits.describe()}")
    print(f"{count} members over {jax.local_device_count()} device(s)", flush=True)
    open_folder(folder, to_json(config), config.resume)
    results = _train(folder, base, splits, steps, keys, values)
    given = _given(steps, results)
    members = _measure(base, splits, points, keys, given, results)
    best = _compare(folder, axes, points, members)
    names = {n.replace("_", " "): n for n in members[0] if n.endswith((" mse", " accuracy"))}
    kernels = given[0]["encoder"]["layer_0"]["kernel"]
    draw_axes(folder, axes, members, names, kernels, splits.test["x"].shape[1:])
    mine = folder / f"member_{best}"
    open_folder(mine, to_json(own[best]), mine.exists())
    for step, result in zip(steps, results, strict=True):
        source, phase = folder / step.name, {"phase": step.title}
        export_run(source, mine / step.name, phase, result, best, step.monitor)
    trained = _trained(own[best], splits, keys[best], jaxae.take(given, best))
    print(f"\n{report(mine, own[best], trained, splits)}\n\nIts own run is {mine}")
    return folder


def _train(
    folder: Path, base: Stack, splits: Splits, steps: list[Step], keys: Key, values: Points
) -> list[jaxae.Run]:
    """One run after the other, of all members each."""
    data, count = _rows(splits), len(keys)
    results: list[jaxae.Run] = []
    for step in steps:
        training = partial(_training, base, splits, len(results))
        below = _given(steps, results)
        state, advance = jaxae.over_trainings(
            training, data, keys, values, below, batch_size=step.batch_size
        )
        result = jaxae.run(
            advance,
            state,
            folder / step.name,
            epochs=step.epochs,
            examples=step.examples * count,
            config={"phase": step.title},
            monitor=step.monitor,
            resume=(folder / step.name).exists(),
            checkpoint_seconds=base.checkpoint_seconds,
            title=step.title,
        )
        stop_if_interrupted(result, folder, step.title)
        results.append(result)
    return results


def _compare(
    folder: Path, axes: dict[str, Any], points: Points, members: list[dict[str, Any]]
) -> int:
    """Prints and writes the table, and returns the best member."""
    select = "accuracy" if "validation_accuracy" in members[0] else "mse"
    best, table = compare(folder, axes, points, members, select)
    print(f"\nTest rows, but of the validation column; mean ± 95 % interval over seeds.\n{table}")
    print(f"\nBest by {select} on validation rows: member {best}, seed {members[best]['seed']}")
    return best


def _own(base: Stack, point: dict[str, Any]) -> Stack:
    return dataclasses.replace(base, **point)


def _steps(config: Stack, splits: Splits, key: Key) -> list[Step]:
    """The phases in their order, told from shapes."""
    found: list[Step] = []

    def note(phase: Phase) -> Params:
        size, examples = phase.batch_size, len(phase.rows[0]["x"])
        what = (phase.name, phase.title, phase.epochs, size, examples)
        found.append(Step(*what, phase.monitor, phase.take_best))
        return phase.state.params

    jax.eval_shape(lambda key: len(chain(plan(config, splits, keys_of(key)), note).nets), key)
    return found


def _given(steps: list[Step], results: list[jaxae.Run]) -> tuple[Params, ...]:
    """The parameters that the finished phases hand on, a row for each member."""
    pairs = zip(steps, results, strict=False)
    return tuple(r.best if step.take_best else r.state.params for step, r in pairs)


def _training(
    base: Stack,
    splits: Splits,
    number: int,
    data: dict[str, Any],
    key: Key,
    point: dict[str, Any],
    below: tuple[Params, ...],
) -> Training:
    """One phase of one member: its data are codes by what that member has learned before."""
    coming = phases(plan(_own(base, point), _seen(splits, data), keys_of(key)))
    phase = next(coming)
    for params in below[:number]:
        phase = coming.send(params)
    rows, validation = phase.rows
    return Training(
        phase.learner, phase.state, phase.key, rows, lambda params: phase.judge(params, validation)
    )


def _rows(splits: Splits) -> dict[str, Any]:
    return {"train": splits.train["x"], "validation": splits.validation["x"]}


def _seen(splits: Splits, data: dict[str, Any]) -> Splits:
    """The splits with their rows from `data`, so that no program has them as constants."""
    train = {**splits.train, "x": data["train"]}
    return splits._replace(train=train, validation={**splits.validation, "x": data["validation"]})


def _trained(config: Stack, splits: Splits, key: Key, given: tuple[Params, ...]) -> Trained:
    """What the phases of a member leave, of the parameters that it has."""
    coming = iter(given)
    return chain(plan(config, splits, keys_of(key)), lambda phase: next(coming))


def _measure(
    base: Stack,
    splits: Splits,
    points: Points,
    keys: Key,
    given: tuple[Params, ...],
    results: list[jaxae.Run],
) -> list[dict[str, Any]]:
    """Of each member errors and accuracies on test rows, and the last of them on validation."""

    @jax.jit
    def look(
        point: dict[str, Any], key: Key, mine: tuple[Params, ...], data: Any, rows: Batch
    ) -> dict[str, Any]:
        trained = _trained(_own(base, point), _seen(splits, data), key, mine)
        score = evaluation.reconstruction(trained.net)
        found = {f"{n} mse": score(p, {"x": rows["x"]})["mse"] for n, p in trained.nets.items()}
        if trained.labelling is not None:
            right = accuracy(trained.labelling[1])
            for name, params in trained.heads.items():
                found[f"{name} accuracy"] = right(params, rows)["accuracy"]
        return found

    members = []
    data = _rows(splits)
    for i in range(len(points["seed"])):
        point = {name: a[i].item() for name, a in points.items() if name != "seed"}
        mine = jaxae.take(given, i)
        parts = (splits.test, splits.validation)
        test, held = (look(point, keys[i], mine, data, part) for part in parts)
        net = "fine-tuned mse" if base.finetune != "none" else "pretrained mse"
        selected = {"validation_mse": held[net]}
        if base.labels:
            selected = {"validation_accuracy": held["pretrained accuracy"]}
        values = {name: float(value) for name, value in {**selected, **test}.items()}
        lost = any(bool(result.diverged[i]) for result in results)
        numbers = {name: a[i].item() for name, a in points.items()}
        members.append({"member": i, **numbers, "diverged": lost, **values})
    return members
