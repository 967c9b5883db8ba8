"""Binary data drawn anew for each batch."""

import jax

from jaxae.base import Array, Autoencoder, Batch, Key, Metrics, Params, as_float


def binarised(model: Autoencoder) -> Autoencoder:
    """A model that is trained on entries drawn as 0 or 1, anew for each batch.

    Each entry of x in [0, 1] is the probability of a 1: dynamic binarisation, under which
    the likelihood of grey pixels is one of binary data (Salakhutdinov & Murray, 2008). Only the
    loss draws; encode, and measure, what you have drawn once.

    >>> import jaxae, numpy as np
    >>> model = binarised(jaxae.vae(64, 8))
    >>> batch = {"x": np.full((5, 64), 0.5, np.float32)}
    >>> params = model.init(jax.random.key(0), batch)
    >>> loss, metrics = model.loss(params, jax.random.key(1), batch)
    """

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        draw_key, key = jax.random.split(key)
        x = as_float(batch["x"])
        ones = jax.random.bernoulli(draw_key, x).astype(x.dtype)
        return model.loss(params, key, {**batch, "x": ones})

    return model._replace(loss=loss)
