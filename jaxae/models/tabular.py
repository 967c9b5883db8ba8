"""Autoencoders of tables, by name: see `jaxae.models.variants`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import chex

from jaxae.base import Autoencoder
from jaxae.models import corruptions
from jaxae.models.column_likelihoods import per_column
from jaxae.models.variants import deep


class Blocks(Protocol):
    """What a model asks of a table's schema, such as `jaxae.fit_columns` learns."""

    @property
    def kinds(self) -> Sequence[str]:
        """Of each column: "numeric", "binary" or "categorical"."""

    @property
    def widths(self) -> Sequence[int]:
        """How many entries of x each column has."""


def table(
    columns: Blocks,
    latent_dim: int,
    *,
    noise_level: chex.Numeric = 0.3,
    scale: chex.Numeric | Literal["per_column", "per_cell"] = "per_column",
    variant: Callable[..., Autoencoder] = deep,
    **parts: Any,
) -> Autoencoder:
    """An autoencoder of the rows of a table that fills in cells: it learns to, cells being hidden.

    A denoising autoencoder (Vincent et al., 2008) whose corruption hides whole cells, in x and
    in the mask, which its encoder is given beside x.

    Args:
        columns: the schema, of `jaxae.fit_columns`, with `kinds` and `widths`.
        latent_dim: the width of the code.
        noise_level: the probability that a cell is hidden; may be traced.
        scale: of numeric columns, as of `per_column`.
        variant: such as `jaxae.vae` or `jaxae.contractive`; the others' options are parts, too.
        **parts: of the variant, such as hidden_dims.

    >>> import jax, jaxae, pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", "emu"]})
    >>> columns = fit_columns(frame)
    >>> model = table(columns, 2, hidden_dims=(8,), variant=jaxae.vae)
    >>> batch = columns.encode(frame)
    >>> params = model.init(jax.random.key(0), batch)
    >>> columns.decode(model.sample(params, jax.random.key(1), 5)).shape
    (5, 2)

    Raises:
        ValueError: what `per_column`, `corruptions.hiding` or the variant refuses.
    """
    given = {
        "likelihood": per_column(columns.kinds, columns.widths, scale=scale),
        "corrupt": corruptions.hiding(noise_level, groups=columns.widths),
        "see_mask": True,
    }
    return variant(sum(columns.widths), latent_dim, **{**given, **parts})
