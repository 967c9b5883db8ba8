"""Options of the rows that are trained on, and what becomes of them before."""

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

import jaxae
from jaxae.base import Batch, Learner
from jaxae.data import Shards


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which rows are trained on, chosen by and tested on."""

    data: str = "digits"
    """digits, a tensorflow-datasets name (mnist, mnist:3.0.1), a file: npy,
    npz, safetensors, csv or parquet, or a folder of PNG or JPEG images, whose
    subfolders, if any, are their classes. A folder or quoted pattern of
    npy or safetensors files ('acts/*.npy') is streamed from disk; its
    last files are held out for validation and test."""
    image_size: tuple[int, int] | None = None
    """Height and width to which images of a folder are resized; without, all must be alike."""
    train_split: str = "train"
    """Rows to train on, such as train[:10%]."""
    test_split: str = "test"
    """Rows to test on; a file without one gives a fifth of its rows."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""
    label: str | None = None
    """Column of a table that holds the labels."""
    scale: Literal["none", "standard", "minmax"] = "none"
    """Scale each feature by the statistics of the training rows."""
    validation_fraction: float = 0.1
    """Share of the training rows, unless streamed, held out to choose the best epoch."""

    INPUTS: ClassVar[tuple[str, ...]] = ("x",)
    """What the model sees of a batch."""

    @property
    def note(self) -> str:
        """What `prepare` does, in words that go on a sentence."""
        return ""

    @property
    def redraws(self) -> bool:
        """Whether the learner draws x anew in each batch, so that training rows stay raw."""
        return False

    def prepare(self, x: Any, part: int) -> Any:
        """Scaled rows, or `Shards`, as the model is to have them.

        Args:
            x: `(n, ...)`.
            part: 0 for training rows, 1 for validation, 2 for test; where the learner `redraws`
                x, 3 for training rows beside the model.
        """
        del part
        return x

    def complete(self, *parts: Batch) -> tuple[Batch, ...]:
        """All parts of the data, training rows first, with what the model sees besides x."""
        return parts

    def seen(self, part: Batch) -> Batch:
        """What the model sees of rows: a mask, too, where there is one."""
        return {name: part[name] for name in (*self.INPUTS, *(["mask"] if "mask" in part else []))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binarising(DataOptions):
    """Options of variants that are, or may be, distributions of binary data."""

    binarise: Literal["draw", "threshold", "none", "each"] = "draw"
    """Of Bernoulli entries. draw: each entry of x becomes 0 or 1 once, before training, with
    its value as the probability of 1. each: likewise, training rows anew in each batch.
    threshold: 1 above 0.5. none: grey values stay, and are trained on as probabilities, but
    have no likelihood."""

    BERNOULLI: ClassVar[tuple[str, str, str]]
    """The option that may be bernoulli, of what it speaks, and a choice for other data."""

    @property
    def is_bernoulli(self) -> bool:
        """Whether entries of x are."""
        return bool(getattr(self, self.BERNOULLI[0]) == "bernoulli")

    @property
    def redraws(self) -> bool:
        """Whether the learner draws x anew in each batch."""
        return self.is_bernoulli and self.binarise == "each"

    @property
    def note(self) -> str:
        """What became of the data."""
        if not self.is_bernoulli or self.binarise == "none":
            return ""
        if self.binarise == "threshold":
            return ",\neach entry cut to 0 or 1 at 0.5"
        anew = ", of training rows anew in each batch" if self.redraws else ""
        return f",\neach entry drawn as 0 or 1 by its value{anew}"

    def prepare(self, x: Any, part: int) -> Any:
        """Binary rows, drawn anew for each part and seed; the dtype stays."""
        option, what, other = self.BERNOULLI
        if not self.is_bernoulli:
            usual = type(self).__dataclass_fields__["binarise"].default
            if self.binarise not in (usual, "none"):
                raise ValueError(f"binarise is for bernoulli {what}; leave it out.")
            return x
        if isinstance(x, Shards):
            if self.binarise in ("none", "each"):
                return x
            raise ValueError(
                "Shards are read as they are: take --binarise none, or each, or one file."
            )
        top = 255 if x.dtype == np.uint8 else 1
        if part in (0, 3) and (x.min() < 0 or x.max() > top):
            raise ValueError(
                f"{option}=bernoulli is for x in [0, 1]; rows lie in [{x.min():.4g}, "
                f"{x.max():.4g}]. Take --scale minmax, or --{option} {other} --scale standard."
            )
        if self.binarise == "none" or (self.redraws and part == 0):
            return x
        rng, bar = np.random.default_rng((self.seed, part)), 0.5  # type: ignore[attr-defined]
        draws = bar if self.binarise == "threshold" else rng.random(x.shape, np.float32)
        return ((x > draws * top) * top).astype(x.dtype)

    def trained(self, *given: Any) -> Learner:
        """The learner of the variant, on batches as they come."""
        return super().learner(*given)  # type: ignore[misc]

    def learner(self, *given: Any) -> Learner:
        """The learner of the variant, on binary batches, drawn at each step, if they are to be."""
        learner = self.trained(*given)
        return jaxae.binarised(learner) if self.redraws else learner
