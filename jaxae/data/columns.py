"""Columns of a table: numbers, binary and categorical cells, and missing ones, as arrays and back.

`fit_columns` learns a schema of the training rows, which goes with the model that they train.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxae.data.cells import KINDS, Column, Kind, check_frame, filled, from_entries, to_entries
from jaxae.data.column_fitting import fit


class Columns(NamedTuple):
    """The schema of a table: `encode` makes a batch of it, `decode` a table of x.

    Attributes:
        columns: one each, in the order of their blocks in x.
    """

    columns: tuple[Column, ...]

    @property
    def names(self) -> list[Any]:
        """Of the columns, in order."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the columns, in order."""
        return tuple(column.kind for column in self.columns)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many entries of x each column has."""
        return tuple(column.width for column in self.columns)

    @property
    def width(self) -> int:
        """How many entries x has."""
        return sum(self.widths)

    def blocks(self) -> Iterator[tuple[Column, slice]]:
        """Each column with the place of its entries in x."""
        ends = np.cumsum(self.widths).tolist()
        for column, end in zip(self.columns, ends, strict=True):
            yield column, slice(end - column.width, end)

    def encode(
        self,
        frame: Any,
        *,
        unknown: Literal["error", "missing"] = "error",
        absent: Literal["error", "missing"] = "error",
    ) -> dict[str, np.ndarray]:
        """The rows of a table as a batch.

        Numbers are standardised, a binary column is 0 or 1, a categorical one is one-hot. A
        missing cell (NaN, None, NaT, pd.NA) is 0 in all its entries of x and of the mask.
        Columns that the schema does not have are left out.

        Args:
            frame: a pandas DataFrame.
            unknown: what becomes of a category that the schema does not have: an "error", or
                a "missing" cell.
            absent: what becomes of a column that the table does not have: an "error", or
                "missing" cells.

        Returns:
            "x": float32 `(rows, width)`; "mask": float32 `(rows, width)`, 1 = observed.

        Raises:
            ValueError: no rows, names that repeat, absent columns, unknown categories, or
                cells of numeric columns that are no finite numbers, in the float32 of x.

        >>> import pandas as pd
        >>> columns = fit_columns(pd.DataFrame({"age": [1.0, 3.0], "pet": ["cat", "dog"]}))
        >>> columns.encode(pd.DataFrame({"age": [2.0, None], "pet": [None, "dog"]}))["x"].tolist()
        [[0.0, 0.0], [0.0, 1.0]]
        """
        for name, given in (("unknown", unknown), ("absent", absent)):
            if given not in ("error", "missing"):
                raise ValueError(f'{name} is "error" or "missing"; got {given!r}.')
        check_frame(frame)
        lacking = [name for name in self.names if name not in frame.columns]
        if lacking and absent == "error":
            raise ValueError(
                f"The table lacks the columns {lacking}; it has {list(frame.columns)}. Add them, "
                'or take absent="missing".'
            )
        x = np.zeros((len(frame), self.width), np.float32)
        mask = np.zeros_like(x)
        for column, place in self.blocks():
            if column.name in lacking:
                continue
            seen, values = to_entries(frame[column.name], column, unknown)
            mask[seen, place] = 1
            x[seen, place] = values
        return {"x": x, "mask": mask}

    def decode(self, x_hat: Any, index: Any = None) -> Any:
        """The table of a reconstruction: in original units, the most probable category each.

        Args:
            x_hat: `(rows, width)`, such as a model decodes.
            index: of the rows of the table; by default 0, 1, ...

        Returns:
            A pandas DataFrame with all columns of the schema.

        Raises:
            ValueError: x_hat is not of this shape.

        >>> import pandas as pd
        >>> columns = fit_columns(pd.DataFrame({"age": [1.0, 3.0], "pet": ["cat", "dog"]}))
        >>> columns.decode([[2.0, 0.3]]).to_dict("list")
        {'age': [4.0], 'pet': ['cat']}
        """
        import pandas as pd

        x_hat = np.asarray(x_hat, np.float64)
        if x_hat.ndim != 2 or x_hat.shape[1] != self.width:
            raise ValueError(f"x_hat must have shape (rows, {self.width}); got {x_hat.shape}.")
        made = {c.name: from_entries(x_hat[:, place], c) for c, place in self.blocks()}
        return pd.DataFrame(made, index=index, columns=self.names)

    def fill(self, frame: Any, x_hat: Any) -> Any:
        """The table with its missing cells as a reconstruction has them, all others untouched.

        Columns that it lacks come behind the others; those that the schema lacks stay as they
        are. A column of integers with holes becomes one of floats, which are not rounded.

        Args:
            frame: a pandas DataFrame.
            x_hat: `(rows, width)`.

        Raises:
            ValueError: x_hat is not of this shape.
        """
        made, table = self.decode(x_hat, frame.index), frame.copy()
        for column in self.columns:
            name = column.name
            if name not in frame.columns:
                table[name] = made[name]
            elif frame[name].isna().any():
                table[name] = filled(frame[name], made[name], column)
        return table

    def scaled_by(self, frame: Any) -> "Columns":
        """The schema with means and scales of the observed cells of `frame`, and all else as it is.

        So a table that keeps cells for a test knows all categories, and no number of these.
        """
        numeric = [c.name for c in self.columns if c.kind == "numeric"]
        kinds: dict[Any, Kind] = dict.fromkeys(numeric, "numeric")
        new = {c.name: c for c in fit(frame[numeric], kinds, 1)} if numeric else {}
        return Columns(tuple(new.get(c.name, c) for c in self.columns))

    def to_json(self) -> str:
        """The schema as text, to be kept beside a model's parameters."""
        return json.dumps([column._asdict() for column in self.columns], indent=1)

    @staticmethod
    def from_json(text: str) -> "Columns":
        """The schema of `to_json`.

        Raises:
            ValueError: the text is none.

        >>> columns = Columns((Column("age", "numeric", 30.0, 10.0),))
        >>> Columns.from_json(columns.to_json()) == columns
        True
        """
        try:
            parts = [{**part, "categories": tuple(part["categories"])} for part in json.loads(text)]
            columns = Columns(tuple(Column(**part) for part in parts))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"This is no schema of Columns.to_json: {error}") from error
        if not columns.columns or not set(columns.kinds) <= set(KINDS):
            raise ValueError(f"A schema has columns, of the kinds {KINDS}; got {columns.kinds}.")
        return columns


def fit_columns(
    frame: Any, kinds: Mapping[Any, Kind] | None = None, *, max_categories: int = 100
) -> Columns:
    """The schema of a table, learned of its observed cells.

    Columns of numbers are numeric. Columns of booleans, text and pandas' category are binary
    where they have two categories, else categorical. Other categories, such as small
    integers, and numbers that were read as text, are to be told.

    Args:
        frame: a pandas DataFrame, the training rows.
        kinds: "numeric", "binary" or "categorical" by the name of a column, where the type of
            its cells says another one.
        max_categories: the most that a column may have; names and identifiers have more.

    Raises:
        ValueError: no rows or columns, names that repeat, are told and do not exist, or are
            neither strings nor integers; columns without an observed cell, with infinite or
            too large ones, with too many categories, or of a type that is none of these.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", None], "n": [0, 1, 2]})
    >>> columns = fit_columns(frame, kinds={"n": "categorical"})
    >>> columns.kinds, columns.widths
    (('numeric', 'binary', 'categorical'), (1, 1, 3))
    """
    return Columns(fit(frame, dict(kinds or {}), max_categories))
