"""Where a run stands: which epoch was best, and which members go on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxae.training.folders import Row


class Standing(NamedTuple):
    """What the rows of a run say; arrays are 0-dimensional, of a sweep `(members,)`.

    Attributes:
        epoch: how many are finished.
        lowest: value of the monitored metric.
        best_epoch: the number of epochs at the lowest value, the first of equals.
        diverged: whether the loss or a parameter was no finite number.
        monitor: the metric.
        patience: how many epochs may pass without a new lowest value.
    """

    epoch: int
    lowest: np.ndarray
    best_epoch: np.ndarray
    diverged: np.ndarray
    monitor: str
    patience: int | None

    @classmethod
    def of(cls, rows: Sequence[Row], monitor: str, patience: int | None) -> "Standing":
        """After these rows."""
        shape = np.shape(rows[0][monitor]) if rows else ()
        standing = cls.start(shape, monitor, patience)
        for row in rows:
            standing = standing.after(row)[0]
        return standing

    @classmethod
    def start(cls, shape: tuple[int, ...], monitor: str, patience: int | None) -> "Standing":
        """Before the first epoch."""
        none = np.zeros(shape, int)
        return cls(0, np.full(shape, np.inf), none, none.astype(bool), monitor, patience)

    @property
    def moving(self) -> np.ndarray:
        """Which are trained on: neither diverged nor out of patience."""
        waiting = np.asarray(self.epoch - self.best_epoch)
        tired = np.zeros_like(self.diverged) if self.patience is None else waiting >= self.patience
        return ~self.diverged & ~tired

    def after(self, row: Row) -> tuple["Standing", np.ndarray, np.ndarray]:
        """After one epoch more, with which took it, and which got better by it."""
        value = np.asarray(row[self.monitor])
        now = self if self.epoch else self.start(value.shape, self.monitor, self.patience)
        loss = np.asarray(row.get("loss", value))
        finite = np.isfinite(loss) & np.isfinite(value)
        good = now.moving & finite
        better = good & (value < now.lowest)
        after = now._replace(
            epoch=now.epoch + 1,
            lowest=np.where(better, value, now.lowest),
            best_epoch=np.where(better, now.epoch + 1, now.best_epoch),
            diverged=now.diverged | (now.moving & ~finite),
        )
        return after, good, better
