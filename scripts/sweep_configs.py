"""What `sweep.py` can be told: the options of `train.py`, each number of them several."""

import dataclasses
import typing
from typing import Annotated, Any, ClassVar, NamedTuple

import tyro

from configs import VARIANTS, to_json, variant_of
from jaxae import points
from options import Variant

FIXED = ("checkpoint_seconds", "validation_fraction")
"""Numbers that are of the whole sweep."""
WHOLE = ("k",)
"""Whole numbers that may be swept: they shape no array."""


class Range(NamedTuple):
    """Where values are drawn from, evenly in the logarithm."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of every sweep."""

    seeds: int = 1
    """Members at each point, which differ in initialisation, order and noise."""
    samples: int = 16
    """Points drawn at random where an option is given as a range."""
    select: str = ""
    """What names the best member, on validation rows: mse, knn_accuracy or linear_accuracy.
    By default linear_accuracy where there are labels, else mse."""
    export: tuple[int, ...] = ()
    """Members besides the best that are left as run folders of their own; -1 for all."""
    chunk: int | None = None
    """Members trained at once on a device; by default what fits its memory or cache."""
    devices: int | None = None
    """Over how many the members are divided; by default all, on a CPU one for each core."""

    NOT_OF_A_SWEEP: ClassVar = ("export", "chunk", "devices")


def parse(tokens: list[str]) -> tuple[float | Range, ...]:
    return tuple(_value(token) for token in tokens)


def _value(token: str) -> float | Range:
    low, dots, high = token.partition("..")
    if not dots:
        return float(token)
    if not 0 < float(low) < float(high):
        raise ValueError(f"A range is LOW..HIGH with 0 < LOW < HIGH; got {token}.")
    return Range(float(low), float(high))


AXIS = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="NUMBERS|LOW..HIGH",
    instance_from_str=parse,
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda value: [f"{v:g}" if isinstance(v, float) else str(v) for v in value],
)


def _swept(kind: type[Variant]) -> type[Variant]:
    """The options of a variant in which every float takes several values."""
    hints = typing.get_type_hints(kind)
    fields: list[Any] = []
    for field in dataclasses.fields(kind):
        number = hints[field.name] in (float, float | None) or field.name in WHOLE
        if number and field.name not in FIXED:
            default: Any = () if field.default is None else (field.default,)
            axis = Annotated[tuple[float | Range, ...], AXIS]
            fields.append((field.name, axis, dataclasses.field(default=default)))
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__}  # where tyro finds the help
    made: Any = dataclasses.make_dataclass(
        kind.__name__,
        fields,
        bases=(SweepOptions, kind),
        namespace=names,
        frozen=True,
        kw_only=True,
    )
    return made


SWEPT = {name: _swept(kind) for name, kind in VARIANTS.items()}


def base_of(config: Any) -> Variant:
    """The options of one training: of what is swept the first value."""
    kind = next(VARIANTS[name] for name, swept in SWEPT.items() if type(config) is swept)
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}
    for name in filter(lambda name: _is_axis(config, name), values):
        first = values[name][0] if values[name] else None
        values[name] = first.low if isinstance(first, Range) else first
        if name in WHOLE and isinstance(first, float):
            values[name] = int(first)
    return kind(**values)


def axes_of(config: Any) -> dict[str, tuple[float | Range, ...]]:
    """The options with several values, or a range of them."""
    names = [f.name for f in dataclasses.fields(config) if _is_axis(config, f.name)]
    every = {name: getattr(config, name) for name in names}
    return {n: v for n, v in every.items() if len(v) > 1 or any(isinstance(a, Range) for a in v)}


def points_of(config: Any) -> points.Points:
    """The members of a sweep; see `cross`."""
    return cross(axes_of(config), config.seeds, config.samples, config.seed)


def cross(
    axes: dict[str, tuple[float | Range, ...]], seeds: int, samples: int, seed: int
) -> points.Points:
    """The members: every combination of the values, drawn ranges, and seeds.

    Raises:
        ValueError: nothing is swept, or a range stands beside other values.
    """
    ranges = {name: v[0] for name, v in axes.items() if isinstance(v[0], Range)}
    values = {name: v for name, v in axes.items() if name not in ranges}
    mixed = [n for n, v in axes.items() if len(v) > 1 and any(isinstance(a, Range) for a in v)]
    if mixed:
        raise ValueError(
            f"{mixed[0]} is either numbers or one range; got {_words(axes[mixed[0]])}."
        )
    if seeds < 1 or samples < 1:
        raise ValueError(f"seeds and samples are at least 1; got {seeds} and {samples}.")
    if not axes and seeds == 1:
        raise ValueError(
            "Nothing is swept: give an option several values, such as --noise-level 0 0.1 0.2, "
            "or a range, such as --learning-rate 1e-4..1e-2, or --seeds."
        )
    if partial := [n for n in WHOLE if n in axes and not _whole(axes[n])]:
        raise ValueError(f"{partial[0]} takes whole numbers; got {_words(axes[partial[0]])}.")
    typed = {n: [int(a) for a in v] if n in WHOLE else v for n, v in values.items()}  # type: ignore
    made = points.grid(**typed) if values else {}
    if ranges:
        draws = {name: points.log_uniform(*r) for name, r in ranges.items()}
        drawn = points.sample(seed, samples, **draws)
        made = points.cross(made, drawn) if made else drawn
    repeats = points.grid(seed=range(seed, seed + seeds))
    return points.cross(made, repeats) if made else repeats


def to_json_of(config: Any) -> dict[str, Any]:
    """What identifies a sweep: its training, its axes, and how members are compared."""
    fields = dataclasses.fields(SweepOptions)
    own = {f.name: getattr(config, f.name) for f in fields if f.name not in config.NOT_OF_A_SWEEP}
    axes = {name: _words(values) for name, values in axes_of(config).items()}
    return {**to_json(base_of(config)), "sweep": {**own, "axes": axes}}


def name_of(config: Any) -> str:
    """The name of the variant on the command line."""
    return variant_of(base_of(config))


def _is_axis(config: Any, name: str) -> bool:
    field = next(f for f in dataclasses.fields(config) if f.name == name)
    return getattr(field.type, "__metadata__", None) == (AXIS,)


def _whole(values: tuple[float | Range, ...]) -> bool:
    return all(not isinstance(a, Range) and a == int(a) for a in values)


def _words(values: tuple[float | Range, ...]) -> str:
    return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
