"""What the scripts draw of generative models."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import evaluation
from jaxae.base import Array, Autoencoder, Batch, Key, Params, as_float
from jaxae.evaluation import generation, generation_plots
from jaxae.evaluation.latent import latent_of
from latent_reports import usage_of

SAMPLES, PAIRS, STEPS, UNITS, VALUES, INPUTS, DRAWS = 64, 6, 9, 8, 9, 8, 4
"""Images of samples; pairs and steps between them; units and their values; inputs, and of each
so many draws."""
SIDE = 15
"""Images along a side of the plane of two units."""
ENDS = 0.02, 0.98
"""Quantiles between which a unit is moved."""


def draw(config: Any, model: Autoencoder, params: Params, test: Batch) -> dict[str, Any]:
    """The figures of this kind of code by name."""
    seen, key = config.seen(test), jax.random.key(config.seed)
    keys = jax.random.split(key, 2)
    figures = {"interpolations": interpolations(model, params, seen)}
    if config.MEASURES != "bits":
        figures["samples"] = _samples(config, model, params, keys[0], seen)
    if config.MEASURES != "codebook":
        figures["traversals"] = traversals(config, model, params, seen)
    if config.MEASURES == "variational":
        figures["draws"] = _draws(model, params, keys[1], seen)
    if config.latent_dim == 2 and config.MEASURES in ("variational", "mmd"):
        figures["manifold"] = _manifold(config, model, params, seen)
    return figures


def context_of(seen: Batch, n: int) -> Array | None:
    """Classes in turn for n examples, of a model that is given them."""
    if "context" not in seen:
        return None
    count = seen["context"].shape[1]
    return np.eye(count, dtype=np.float32)[np.arange(n) % count]


def means(
    model: Autoencoder, params: Params, key: Key, n: int, context: Array | None = None
) -> Array:
    """The means of p(x | z) at codes drawn from the prior."""
    return model.decode(params, latent_of(model).prior(params, key, n), context)


def interpolations(model: Autoencoder, params: Params, seen: Batch, pairs: int = PAIRS) -> Any:
    """Between test rows and those that come after."""
    n = min(pairs, len(seen["x"]) // 2)
    starts, ends = ({name: a[i : i + n] for name, a in seen.items()} for i in (0, n))
    path = generation.interpolate(model, params, starts, ends, STEPS)
    title = "Between the codes of two test inputs, whose reconstructions stand at the ends"
    if "context" in seen:
        title = "Between the codes of two test inputs, the class being that of the first"
    return _drawn(generation_plots.interpolations, path, seen, title)


def traversals(
    config: Any, model: Autoencoder, params: Params, seen: Batch, units: int = UNITS
) -> Any:
    """The most used units, moved over the range of the codes one by one."""
    order, how = most_used(config, model, params, seen)
    chosen = order[:units].tolist()
    z = jnp.asarray(evaluation.codes(model, params, seen))
    values = generation.code_quantiles(z, chosen, jnp.linspace(*ENDS, VALUES))
    one = {name: a[:1] for name, a in seen.items()}
    images = generation.traverse(model, params, one, units=chosen, values=values)[0]
    title = (
        f"One code of the first test input moved at a time, {how} first,\n"
        f"from the {ENDS[0]:.0%} to the {ENDS[1]:.0%} quantile of the test codes"
    )
    return _drawn(generation_plots.traversals, images, seen, title, chosen, np.asarray(values))


def most_used(
    config: Any, model: Autoencoder, params: Params, seen: Batch
) -> tuple[np.ndarray, str]:
    """Units in the order of their use, and how that was told."""
    if config.MEASURES == "variational":
        return np.argsort(-usage_of(model, params, seen)["kl"], kind="stable"), "most KL"
    spread = evaluation.codes(model, params, seen).var(0)
    return np.argsort(-spread, kind="stable"), "most variable"


def _samples(config: Any, model: Autoencoder, params: Params, key: Key, seen: Batch) -> Any:
    context = context_of(seen, SAMPLES)
    images = means(model, params, key, SAMPLES, context)
    drawn = "embeddings drawn with even odds" if config.MEASURES == "codebook" else "the prior"
    title, columns = f"Means of x given codes of {drawn}", None
    if context is not None:
        title, columns = f"{title}, a column for each class", context.shape[1]
        images = images[: SAMPLES // columns * columns]
    return generation_plots.samples(
        images, seen["x"].shape[1:], columns=columns, like=as_float(seen["x"]), title=title
    )


def _draws(model: Autoencoder, params: Params, key: Key, seen: Batch) -> Any:
    few = {name: a[:INPUTS] for name, a in seen.items()}
    drawn = generation.reconstruct(model, params, few, key, samples=DRAWS)
    mean = generation.reconstruct(model, params, few)
    title = "Test inputs, the decoded mean code, and draws: z of q(z | x), then x of p(x | z)"
    x, shape = as_float(few["x"]), few["x"].shape[1:]
    return generation_plots.draws(x, drawn, mean, shape, title=title)


def _manifold(config: Any, model: Autoencoder, params: Params, seen: Batch) -> Any:
    """The plane of two units: quantiles of a standard normal prior, or the range of the codes."""
    usual = getattr(config, "prior", "") == "standard" and not getattr(config, "upper_dim", None)
    z = evaluation.codes(model, params, seen)
    ends = None if usual else (float(z.min()), float(z.max()))
    context = seen["context"][0] if "context" in seen else None
    images = generation.manifold_grid(model, params, side=SIDE, low_high=ends, context=context)
    values = np.asarray(generation.grid_values(SIDE, ends))
    over = "at the quantiles of the prior" if usual else "over the range of the test codes"
    title = f"The plane of the two codes, {over}"
    if context is not None:
        title += f", of class {int(np.argmax(context))}"
    return _drawn(generation_plots.manifold, images, seen, title, values)


def _drawn(plot: Any, images: Array, seen: Batch, title: str, *given: Any) -> Any:
    shape, like = seen["x"].shape[1:], as_float(seen["x"])
    return plot(images, *given, shape=shape, like=like, title=title)
