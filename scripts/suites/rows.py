"""What a row of the benchmark is: something to measure, and what was measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Outcome(NamedTuple):
    """What one measurement gave.

    Attributes:
        measured: the values of each figure, one a seed (or a repetition), by its name.
        reference: what to compare with: published or trivial figures, with their source.
        bar: the bound that was set beforehand, in words; empty where there is none.
        holds: whether the bar is met; None without one.
        protocol: data, split, metric and reduction, epochs, choices.
        compile_seconds: of the first call, where that is told apart from the rest.
    """

    measured: Mapping[str, Sequence[float]]
    reference: str
    bar: str
    holds: bool | None
    protocol: str
    compile_seconds: Mapping[str, float] = {}


class Row(NamedTuple):
    """A named measurement.

    Attributes:
        name: of the row on the command line.
        title: of the row in the table.
        measure: `quick -> outcome`; a quick one shows that it works, its figures do not count.
        spread: what the values of a figure are: repeated "seeds" (mean ± 95 % interval of the
            mean) or timed "pairs" (median and quartiles).
    """

    name: str
    title: str
    measure: Callable[[bool], Outcome]
    spread: str = "seeds"
