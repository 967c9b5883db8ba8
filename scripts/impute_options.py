"""The options of `impute.py`, and the table that they name."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import optax

import jaxae
from jaxae.base import Autoencoder
from jaxae.data.columns import Columns, Kind
from jaxae.models.tabular import table
from options import FitOptions, RunOptions

BUNDLED = ("wine", "breast_cancer", "diabetes", "iris")
VARIANTS: dict[str, dict[str, Any]] = {"denoising": {}, "vae": {"variant": jaxae.vae}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Impute(RunOptions, FitOptions):
    """Which table is filled, and how."""

    data: str = "wine"
    """A .csv or .parquet file, whose empty cells are filled; or wine, breast_cancer, diabetes
    or iris, of scikit-learn."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that are categories. Text and booleans are, anyway."""
    numeric: tuple[str, ...] = ()
    """Columns of text that are numbers."""
    drop: tuple[str, ...] = ()
    """Columns that the model leaves out, such as identifiers; they come back unchanged."""
    test_cells: float | None = None
    """Share of the cells that is hidden for the test; by default 0.1, of scikit-learn's tables
    0.2, and these are what is missing."""
    validation_cells: float = 0.1
    """Share of the others that is hidden to choose the best epoch."""

    variant: Literal["denoising", "vae"] = "denoising"
    """The model; a vae knows more about what it does not know, for --draws."""
    hidden_dims: tuple[int, ...] = (64,)
    """Widths between input and code, from the input on; the decoder mirrors them."""
    noise_level: float = 0.3
    """Probability that a cell is hidden in a step of training."""
    l2: float = 0.03
    """Weight of half the squared norm of all kernels."""

    batch_size: int = 32
    """Examples in a step."""
    learning_rate: float = 3e-3
    """Of Adam; the peak of the schedule."""

    cells: int = 10
    """How many cells that look wrong are listed."""
    draws: int = 0
    """Also fill the table so many times by draws, for multiple imputation."""
    out: str | None = None
    """File of the filled table, .csv or .parquet; by default imputed.csv in the run's folder."""
    use: str | None = None
    """Folder of a finished run, whose model and schema fill the table without training."""

    unknown: Literal["error", "missing"] = "error"
    """With --use: what becomes of categories that the model does not know."""
    absent: Literal["error", "missing"] = "error"
    """With --use: what becomes of columns that the table does not have."""

    OUTPUTS: ClassVar = ("cells", "draws", "out", "use", "unknown", "absent")

    @property
    def kinds(self) -> dict[Any, Kind]:
        """What is told of columns."""
        told: dict[Any, Kind] = dict.fromkeys(self.categorical, "categorical")
        return told | dict.fromkeys(self.numeric, "numeric")

    def to_json(self) -> dict[str, Any]:
        """What identifies the run: all but where it is kept and what is written of it."""
        fields = dataclasses.asdict(self)
        others = (*self.NOT_CONFIGURATION, *self.OUTPUTS)
        kept = {name: value for name, value in fields.items() if name not in others}
        return {"script": "impute", **kept}

    def build(self, columns: Columns) -> Autoencoder:
        """The model of this configuration."""
        parts: dict[str, Any] = {"hidden_dims": self.hidden_dims, "activation": "gelu"}
        if self.l2:
            parts["penalties"] = [jaxae.penalties.l2(self.l2)]
        given = {"noise_level": self.noise_level, **VARIANTS[self.variant], **parts}
        return table(columns, self.latent_dim, **given)

    def learner(self, model: Autoencoder, steps: int) -> jaxae.Learner:
        """Adam with the schedule over so many steps."""
        rate: Any = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, max(steps, 1))
        elif self.schedule == "onecycle":
            rate = optax.cosine_onecycle_schedule(max(steps, 2), rate)
        return jaxae.gradient(model.loss, optax.adam(rate))


def read(config: Impute) -> Any:
    """The table of --data."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ValueError("Tables need pandas: pip install 'jaxae[tables]'.") from error
    if config.data in BUNDLED:
        from sklearn import datasets

        return getattr(datasets, f"load_{config.data}")(as_frame=True).data
    path = Path(config.data)
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix.lower() not in readers or not path.is_file():
        raise ValueError(
            f"--data is an existing .csv or .parquet file, or one of {', '.join(BUNDLED)}; got "
            f"{config.data!r}."
        )
    try:
        return readers[path.suffix.lower()](path).reset_index(drop=True)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no readable table: {error}") from error


def check(config: Impute) -> None:
    """Raises `ValueError` for options that make no sense, before anything is read."""
    for name in ("test_cells", "validation_cells"):
        share = getattr(config, name)
        if share is not None and not 0 < share < 1:
            raise ValueError(f"--{name.replace('_', '-')} is a share in (0, 1); got {share}.")
    if config.cells < 1 or config.draws < 0:
        raise ValueError(
            f"--cells is at least 1, --draws at least 0; got {config.cells}, {config.draws}."
        )
    if both := sorted(set(config.categorical) & set(config.numeric)):
        raise ValueError(f"{both} can not be both --categorical and --numeric.")
    if config.out is not None:
        out = Path(config.out)
        if out.suffix not in (".csv", ".parquet") or not out.parent.is_dir():
            raise ValueError(f"--out is a .csv or .parquet file in an existing folder; got {out}.")
        if out.exists() and not config.resume:
            raise ValueError(f"{out} exists already and is not overwritten.")
