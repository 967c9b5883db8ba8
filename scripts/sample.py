"""Draws from a trained model: samples, paths between inputs, units moved, chains.

Of variational autoencoders, wae and vq-vae by their prior, of rbm by Gibbs sampling, of denoising
by a Markov chain of corruptions and reconstructions (Bengio et al., 2013), of contractive ones
by a walk along the data (Rifai et al., 2012). For example:

python scripts/sample.py runs/vae-digits-1 --n 100 --interpolate --traverse

python scripts/sample.py runs/conditional-vae-digits-1 --context 3 8

python scripts/sample.py runs/denoising-digits-1 --steps 200

A chain goes on for long where the model was trained with noise that reaches from one example to
the next, such as that of train.py denoising --corruption gaussian --noise-level 0.3.
"""

import dataclasses
import textwrap
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import latent_figures
import reports
import stack_configs
from boltzmann_configs import RBM
from configs import Contracting, Denoising, variant_of
from evaluate import Trained, load_run
from jaxae import evaluation
from jaxae.base import Array, Autoencoder, Key, Params, as_float
from jaxae.evaluation import generation_plots, walks
from jaxae.evaluation.latent import latent_of
from jaxae.training.folders import read_config
from latent_reports import MEASURED
from options import CORRUPTIONS, call

LOOKS, SHOWN, WIDTH = 8, 8, 60
"""How often a chain is looked at, how many of them are drawn, and letters of a line of a title."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What is drawn."""

    run: tyro.conf.Positional[Path]
    """Folder of a run of train.py."""
    n: int = 64
    """Samples, or chains, which start at as many test rows (or as there are)."""
    seed: int = 0
    """Of what is drawn."""
    draw: bool = False
    """Draw x from the likelihood, too, instead of taking its mean; of a chain at each step."""
    context: tuple[int, ...] = ()
    """Of conditional-vae: classes, in turn; by default all."""
    interpolate: bool = False
    """Also decode between the codes of test rows."""
    traverse: bool = False
    """Also move the most used units one by one."""
    steps: int | None = None
    """By default 100 of a chain, 10 of a walk, in which errors of reconstruction add up."""
    walk_scale: float = 0.5
    """Of contractive variants: the standard deviation of a step's noise, in units of the code."""
    data_dir: str | None = None
    """Folder of tensorflow-datasets; TFDS_DATA_DIR or its own default otherwise."""


def sample(options: Sample) -> Path:
    """Writes RUN/samples/: samples.npy and a figure of it, and the other figures asked for."""
    if options.n < 1:
        raise ValueError(f"n must be at least 1; got {options.n}.")
    if read_config(options.run).get("variant") == stack_configs.KIND:
        raise ValueError("This run is of pretrain.py; sample.py draws from runs of train.py.")
    found = load_run(options.run, options.data_dir)
    more = _more(options, found)
    x, how, figures = _draw(options, found)
    like, shape = as_float(found.splits.test["x"]), found.splits.test["x"].shape[1:]
    named = {"title": textwrap.fill(how, WIDTH), "shape": shape, "like": like}
    figures = {"samples": generation_plots.samples(x, **named)} | figures | more
    folder = options.run / "samples"
    folder.mkdir(exist_ok=True)
    np.save(folder / "samples.npy", np.asarray(x))
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=reports.DPI)
    print(f"{len(x)} samples of {variant_of(found.config)}, {np.shape(x)[1:]} each.\n{how}")
    print(f"{folder}: samples.npy, {', '.join(f'{name}.png' for name in figures)}")
    return folder


def _draw(options: Sample, found: Trained) -> tuple[Array, str, dict[str, Any]]:
    """The samples, how they were drawn, and figures of how they came to be."""
    config, model, params = found.config, found.model, found.params
    key = jax.random.key(options.seed)
    if options.context and "context" not in config.INPUTS:
        raise ValueError("context is of conditional-vae; leave it out.")
    if config.MEASURES == "boltzmann":
        steps = cast(RBM, config).sample_steps
        how = "Means of the visible units after Gibbs sampling from random states"
        if options.draw:
            how = "States of the visible units after Gibbs sampling from random states"
            return model.sample(params, key, options.n), how, {}
        seen = evaluation.fantasies(
            cast(RBM, config).energy(), params, key, options.n, 1, steps_between=steps
        )
        return _last(seen, found), f"{how}, {steps:,} steps", {}
    if isinstance(config, Denoising):
        return _chains(options, found, key)
    if isinstance(config, Contracting):
        return _walks(options, found, key)
    if config.MEASURES not in MEASURED or config.MEASURES == "bits":
        raise ValueError(
            f"{variant_of(config)} has no distribution to draw from. Take a run of vae, wae, "
            "vq-vae, rbm, denoising or a contractive variant."
        )
    context = _context(options, found)
    if options.draw:
        x = model.sample(params, key, options.n, context)
        return x, "Draws of p(x | z) at codes of the prior", {}
    x = latent_figures.means(model, params, key, options.n, context)
    return x, "Means of p(x | z) at codes of the prior", {}


def _last(seen: Array, found: Trained) -> Array:
    """The last states `(n, *shape)` of chains."""
    states: Any = np.asarray(seen)
    return states[:, -1].reshape(len(states), *found.splits.test["x"].shape[1:])


def _context(options: Sample, found: Trained) -> Array | None:
    """One-hot classes of the samples."""
    if "context" not in found.config.INPUTS:
        return None
    count = found.splits.test["context"].shape[1]
    classes = np.array(options.context or range(count))
    if classes.min() < 0 or classes.max() >= count:
        raise ValueError(f"Classes are integers in [0, {count}); got {options.context}.")
    return np.eye(count, dtype=np.float32)[classes[np.arange(options.n) % len(classes)]]


def _chains(options: Sample, found: Trained, key: Key) -> tuple[Array, str, dict[str, Any]]:
    """Chains of a denoising autoencoder: corrupted, then reconstructed."""
    config, about = cast(Denoising, found.config), "reconstruction"
    corrupt = CORRUPTIONS[config.corruption](config.noise_level)
    scale: float | None = None if options.draw else 0.0
    if options.draw:
        about = "a draw of p(x | z)"
    if options.draw and config.likelihood == "gaussian":  # of scale 1, the data's or not
        scale = _scale(found, corrupt, key)
        about = f"a draw with the error of reconstructions, {scale:.3g}, about one"
    model = _bounded(found, scale)
    steps = 100 if options.steps is None else options.steps
    start, every = found.splits.test["x"][: options.n], _every(steps)
    given: Any = {"steps": steps, "every": every, "corrupt": corrupt}
    states = walks.markov_chain(model, found.params, key, start, **given)
    noise = f"{config.corruption} noise of {config.noise_level:g}"
    how = f"{steps:,} steps from test rows: {noise}, then {about}"
    return states[:, -1], how, {"chain": _chain_figure(found, states, every, how)}


def _walks(options: Sample, found: Trained, key: Key) -> tuple[Array, str, dict[str, Any]]:
    """Walks along the directions that a contractive autoencoder has not contracted."""
    steps = 10 if options.steps is None else options.steps
    every, start = _every(steps), found.splits.test["x"][: options.n]
    given: Any = {"steps": steps, "every": every, "scale": options.walk_scale}
    states = walks.tangent_walk(found.model, found.params, key, start, **given)
    how = (
        f"{steps:,} steps from test rows along what is not contracted, {options.walk_scale:g} wide"
    )
    return states[:, -1], how, {"chain": _chain_figure(found, states, every, how)}


def _every(steps: int) -> int:
    """Steps between looks at a chain, about `LOOKS` of them."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}.")
    return next(steps // looks for looks in range(min(LOOKS, steps), 0, -1) if steps % looks == 0)


def _scale(found: Trained, corrupt: Any, key: Key) -> float:
    """The root mean squared error of reconstructions of corrupted test rows."""
    x = as_float(found.splits.test["x"])
    z = found.model.encode(found.params, {"x": corrupt(key, x)})
    return float(jnp.sqrt(jnp.mean(jnp.square(found.model.decode(found.params, z) - x))))


def _bounded(found: Trained, scale: float | None) -> Autoencoder:
    """The model whose draws lie in [0, 1] if the data does.

    With a scale they are Gaussian about the mean, else of its own likelihood.
    """
    model, x = found.model, as_float(found.splits.test["x"])
    inside = bool((x.min() >= 0) & (x.max() <= 1))
    latent = latent_of(model)

    def emit(params: Params, key: Key, z: Array, context: Array | None = None) -> Array:
        if scale is None:
            drawn = latent.emit(params, key, z, context)
        else:
            mean = model.decode(params, z, context)
            drawn = mean + scale * jax.random.normal(key, mean.shape, mean.dtype)
        return jnp.clip(drawn, 0, 1) if inside else drawn

    return model._replace(latent=latent._replace(emit=emit))


def _chain_figure(found: Trained, states: Array, every: int, how: str) -> Any:
    test = found.splits.test["x"]
    given: Any = {"shape": test.shape[1:], "every": every, "like": as_float(test)}
    given["title"] = textwrap.fill(how, WIDTH)
    return generation_plots.chain(states[:SHOWN], test[: len(states)][:SHOWN], **given)


def _more(options: Sample, found: Trained) -> dict[str, Any]:
    """The figures that were asked for besides."""
    config, model, params = found.config, found.model, found.params
    seen, figures = config.seen(found.splits.test), {}
    if options.interpolate:
        figures["interpolations"] = latent_figures.interpolations(model, params, seen)
    if options.traverse:
        figures["traversals"] = latent_figures.traversals(config, model, params, seen)
    return figures


def main() -> None:
    """Reads the command line."""
    call(sample, tyro.cli(Sample, description=__doc__))


if __name__ == "__main__":
    main()
