"""What a composition checks of its data and its networks before anything is traced."""

from typing import Any

import jax
import numpy as np

from jaxae.base import Array, Batch, is_traced, where_observed
from jaxae.models.likelihoods import Likelihood


def check_support(likelihood: Likelihood, batch: Batch) -> None:
    """Raises `ValueError` for data that the likelihood has no density for; traced data passes."""
    x = batch["x"]
    if is_traced(x, batch.get("mask")) or x.dtype in (np.uint8, np.bool_):
        return
    with jax.ensure_compile_time_eval():  # also of data that a traced function closes over
        x = where_observed(batch, x)
        least, greatest = float(x.min()), float(x.max())
    low, high = likelihood.support
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise ValueError(
            "x has NaN or infinite entries; drop or impute them, or mark them in mask."
        )
    if least < low or greatest > high:
        raise ValueError(
            f"This likelihood needs x in [{low}, {high}]; got values from {least} to {greatest}. "
            "Scale x to that range, or take likelihoods.gaussian()."
        )


def check_output(likelihood: Likelihood, out: Any, x: Array) -> None:
    """Raises `ValueError` where the decoder's output is not of the shape of x."""
    shape = jax.eval_shape(likelihood.mean, out).shape
    if shape != x.shape:
        raise ValueError(
            f"The decoder's mean has shape {shape[1:]} for one example, x has {x.shape[1:]}. "
            "Build the networks with shape=x.shape[1:]; likelihoods with several outputs "
            "for an entry widen the last axis."
        )
