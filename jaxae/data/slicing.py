"""The meaning of split strings such as "train[:10%]"."""

import re
from collections.abc import Mapping

_SPLIT = re.compile(r"(?P<name>\w+)(?:\[(?P<low>-?\d+%?)?:(?P<high>-?\d+%?)?\])?")
ALLOWED = (
    'a split\'s name or a slice of it: "train", "train[:10%]", "train[1000:2000]", "train[-10%:]"'
)


def resolve(split: str, sizes: Mapping[str, int]) -> tuple[str, slice]:
    """Returns the split's name and the rows that a split string means.

    Percentages are rounded to the closest row, as tensorflow-datasets does.

    Args:
        split: such as "train", "train[:10%]", "train[1000:2000]" or "train[-10%:]".
        sizes: the number of rows of every split that exists.

    Raises:
        ValueError: the string is malformed, the split does not exist, or the slice is
            empty or exceeds it.

    >>> resolve("train[-10%:]", {"train": 50})
    ('train', slice(45, 50, None))
    """
    match = _SPLIT.fullmatch(split) if isinstance(split, str) else None
    if match is None or match["name"] not in sizes:
        raise bad_split(split, sizes)
    size = sizes[match["name"]]
    low = 0 if match["low"] is None else _boundary(match["low"], size)
    high = size if match["high"] is None else _boundary(match["high"], size)
    if low is None or high is None or low >= high:
        raise bad_split(split, sizes)
    return match["name"], slice(low, high)


def bad_split(split: object, sizes: Mapping[str, int]) -> ValueError:
    """The error for a split string that means no rows."""
    exist = ", ".join(f'"{name}" ({size} rows)' for name, size in sizes.items())
    return ValueError(
        f"The split {split!r} means no rows. Allowed is {ALLOWED}. Splits that exist here: {exist}."
    )


def _boundary(text: str, size: int) -> int | None:
    """The row that a boundary means, None where it lies outside."""
    if text.endswith("%"):
        percent = int(text[:-1])
        if abs(percent) > 100:
            return None
        row = round(percent * size / 100.0)
    else:
        row = int(text)
    if row < 0:
        row = max(size + row, 0)
    return row if row <= size else None
