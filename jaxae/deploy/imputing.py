"""Tables filled in: missing cells by what a model makes of the observed ones of their row."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Key, Latent, Params, check_range, map_batches
from jaxae.data.columns import Columns


def impute(
    model: Autoencoder,
    params: Params,
    frame: Any,
    columns: Columns,
    *,
    iterations: int = 1,
    **how: Any,
) -> Any:
    """Fills the missing cells of a table by the mean, or the most probable category.

    Observed cells stay as they are, and so do columns that the schema does not have, and
    cells of unknown categories that `how` takes for missing. A column of integers with holes
    becomes one of floats, which are not rounded.

    Args:
        model: of rows as `columns` encodes them, such as `jaxae.table`.
        params: of the model.
        frame: a pandas DataFrame.
        columns: the schema.
        iterations: how often the model fills; from the second time on it sees what it filled
            in before as if that were observed. For models that were trained on whole rows; one
            that was trained with cells hidden, such as `jaxae.table`, fills worse from then on.
        **how: of `Columns.encode`: unknown, absent.

    Returns:
        The table, with the columns that were absent behind the others.

    Raises:
        ValueError: iterations below 1, and what `Columns.encode` refuses.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> from jaxae.models.tabular import table
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", None]})
    >>> columns = fit_columns(frame)
    >>> model = table(columns, 2)
    >>> params = model.init(jax.random.key(0), columns.encode(frame))
    >>> int(impute(model, params, frame, columns).isna().to_numpy().sum())
    0
    """
    check_range("iterations", iterations, 1)
    batch = columns.encode(frame, **how)
    x_hat = np.asarray(_filled(model, iterations, params, batch))
    return columns.fill(frame, x_hat)


def impute_draws(
    model: Autoencoder,
    params: Params,
    key: Key,
    frame: Any,
    columns: Columns,
    *,
    samples: int = 5,
    iterations: int = 1,
    **how: Any,
) -> list[Any]:
    """Fills the missing cells several times, by draws: multiple imputation (Rubin, 1987).

    z ~ q(z | what is observed), x ~ p(x | z). What differs between the tables is what the model
    does not know; of a deterministic code that is the scatter of p(x | z) alone, so take a
    `jaxae.table` of `jaxae.vae`. More iterations take both in turn, the encoder seeing what was
    drawn before (pseudo-Gibbs sampling: Rezende et al., 2014).

    Args:
        model: one with a likelihood to draw from.
        params: of the model.
        key: of the draws.
        frame: a pandas DataFrame.
        columns: the schema.
        samples: the number of tables.
        iterations: of each sample; more than one is for models that were trained on whole rows,
            as for `impute`.
        **how: of `Columns.encode`: unknown, absent.

    Raises:
        ValueError: a model without a likelihood, counts below 1, and what `Columns.encode`
            refuses.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> from jaxae import vae
    >>> from jaxae.models.tabular import table
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", None]})
    >>> columns = fit_columns(frame)
    >>> model = table(columns, 2, variant=vae)
    >>> params = model.init(jax.random.key(0), columns.encode(frame))
    >>> drawn = impute_draws(model, params, jax.random.key(1), frame, columns, samples=3)
    >>> len({t["age"][1] for t in drawn})
    3
    """
    check_range("iterations", iterations, 1)
    check_range("samples", samples, 1)
    if model.latent is None:
        raise ValueError("This model has no likelihood to draw cells from; take impute.")
    batch = columns.encode(frame, **how)
    keys = jax.random.split(key, samples)
    draws = np.asarray(_chains(model, iterations, params, keys, batch))
    return [columns.fill(frame, x) for x in draws]


def fill_entries(model: Autoencoder, params: Params, batch: Batch, iterations: int = 1) -> Array:
    """Fills unobserved entries of x by the model's mean, `(batch, width)`; pure.

    >>> import jaxae
    >>> model = jaxae.linear(3, 2)
    >>> batch = {"x": jnp.ones((4, 3)), "mask": jnp.array([[1, 1, 0]] * 4)}
    >>> params = model.init(jax.random.key(0), batch)
    >>> fill_entries(model, params, batch)[:, :2].tolist() == [[1.0, 1.0]] * 4
    True
    """

    def step(x: Array, mask: Array) -> Array:
        seen = {**batch, "x": x, "mask": mask}
        x_hat = model.decode(params, model.encode(params, seen), model.context(seen))
        return jnp.where(observed, batch["x"], x_hat)

    observed = batch["mask"] != 0
    ones = jnp.ones_like(batch["mask"])
    x = step(batch["x"], batch["mask"])
    return jax.lax.fori_loop(1, iterations, lambda _, x: step(x, ones), x)


def hold_out(model: Autoencoder, params: Params, batch: Batch, widths: tuple[int, ...]) -> Array:
    """Each block of x as the model predicts it of the other blocks, `(batch, width)`; pure.

    The encoder is not shown the block, so that a wrong cell can not explain itself. One pass
    for each block, in one compiled loop.

    Args:
        model: one that was trained with blocks hidden.
        params: of the model.
        batch: `x` and `mask`, `(batch, width)`.
        widths: of the blocks, of sum width.

    >>> import jaxae
    >>> model = jaxae.linear(3, 2)
    >>> batch = {"x": jnp.eye(3), "mask": jnp.ones((3, 3))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> x_hat = hold_out(model, params, batch, (1, 1, 1))  # on the diagonal of nothing but zeros
    >>> nothing = model.decode(params, model.encode(params, {"x": jnp.zeros((1, 3))}))
    >>> bool(jnp.allclose(jnp.diag(x_hat), nothing[0]))
    True
    """
    block = np.repeat(np.arange(len(widths)), widths)

    def one(x_hat: Array, j: Array) -> tuple[Array, None]:
        own = block == j
        seen = {**batch, "mask": jnp.where(own, 0, batch["mask"])}
        found = model.decode(params, model.encode(params, seen), model.context(seen))
        return jnp.where(own, found, x_hat), None

    start = jnp.zeros(batch["x"].shape, batch["x"].dtype)
    return jax.lax.scan(one, start, jnp.arange(len(widths)))[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _filled(model: Autoencoder, iterations: int, params: Params, batch: Batch) -> Array:
    def fill(batch: Batch) -> Array:
        return fill_entries(model, params, batch, iterations)

    return map_batches(fill, batch)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _chains(
    model: Autoencoder, iterations: int, params: Params, keys: Array, batch: Batch
) -> Array:
    latent = model.latent
    assert isinstance(latent, Latent)
    observed = batch["mask"] != 0

    def step(now: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], None]:
        x, mask = now
        code_key, cell_key = jax.random.split(key)
        seen = {**batch, "x": x, "mask": mask}
        z = latent.draw(params, code_key, seen).z[0]
        drawn = latent.emit(params, cell_key, z, model.context(seen))
        return (jnp.where(observed, batch["x"], drawn), jnp.ones_like(mask)), None

    def chain(key: Key) -> Array:
        start = (batch["x"], batch["mask"])
        return jax.lax.scan(step, start, jax.random.split(key, iterations))[0][0]

    return jax.lax.map(chain, keys)
