"""How rare codes are among those of normal rows: a mixture of Gaussians over the code."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Params, check_range, map_batches
from jaxae.evaluation.arrays import features
from jaxae.evaluation.metrics import codes


class CodeDensity(NamedTuple):
    """A mixture of Gaussians over projected codes u = (z - mean) @ projection.

    Attributes:
        mean: of the codes, `(latent_dim,)`.
        projection: on their principal components, in units of their root mean square,
            `(latent_dim, dims)`.
        log_weights: of the Gaussians, `(components,)`.
        centres: `(components, dims)`.
        factors: `(components, dims, dims)`, upper triangular; factors @ factors.T are the inverse
            covariances.
    """

    mean: Array
    projection: Array
    log_weights: Array
    centres: Array
    factors: Array


def fit_code_density(
    model: Autoencoder,
    params: Params,
    normal: Batch,
    *,
    components: int = 20,
    dims: int = 64,
    iterations: int = 50,
    seed: int = 0,
) -> CodeDensity:
    """Fits the density of the codes of normal rows, by scikit-learn's expectation maximisation.

    Classes and other groups among the normal rows become regions of high density, and what lies
    between them is strange even where it is reconstructed well. One component measures by the
    Mahalanobis distance.

    Args:
        model: any; its `encode` is used.
        params: of the model.
        normal: rows that the model was trained on, or others.
        components: Gaussians, each with a covariance of its own.
        dims: the most principal components of the codes that are kept.
        iterations: the most steps of expectation maximisation.
        seed: of the start.

    Raises:
        ValueError: a number below 1, fewer rows than components, or codes that are not finite or
            all the same.

    >>> import jaxae
    >>> model, batch = jaxae.undercomplete(6, 2), {"x": np.random.default_rng(0).random((50, 6))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> density = fit_code_density(model, params, batch, components=3)
    >>> code_density_scores(model)(params, density, batch).shape
    (50,)
    """
    check_range("components", components, 1)
    check_range("dims", dims, 1)
    check_range("iterations", iterations, 1)
    z = features("The codes", codes(model, params, normal)).astype(np.float64)
    if len(z) < components or not z.std():
        raise ValueError(
            f"{components} components need as many rows and codes that differ; got {len(z)} rows "
            f"with a standard deviation of {z.std():.3g}. Take fewer components or more rows."
        )
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    pca = PCA(min(dims, *z.shape), svd_solver="full", random_state=0).fit(z)
    kept = pca.explained_variance_ > 1e-8 * pca.explained_variance_[0]
    scale = np.sqrt(pca.explained_variance_[kept].mean())
    projection = pca.components_[kept].T / scale
    mixture = GaussianMixture(components, reg_covar=1e-4, max_iter=iterations, random_state=seed)
    with warnings.catch_warnings():  # an early stop is a good density, too
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit((z - pca.mean_) @ projection)
    parts = pca.mean_, projection, np.log(mixture.weights_), mixture.means_
    return CodeDensity(
        *(jnp.asarray(a, jnp.float32) for a in (*parts, mixture.precisions_cholesky_))
    )


def code_density_scores(
    model: Autoencoder, batch_size: int = 1000
) -> Callable[[Params, CodeDensity, Batch], Array]:
    """-log q(encode(x)) of each row under the density of normal rows' codes, in nats.

    Rows of which more or less was observed compare as far as the encoder makes like codes of
    them.

    Returns:
        `(params, density, batch) -> (n,)`, pure: jit it, vmap it.

    Raises:
        ValueError: batch_size below 1.
    """
    check_range("batch_size", batch_size, 1)

    def measure(params: Params, density: CodeDensity, data: Batch) -> Array:
        def nats(batch: Batch) -> Array:
            z = model.encode(params, batch)
            z = z.reshape(z.shape[0], -1).astype(density.mean.dtype)
            u = (z - density.mean) @ density.projection

            def one(log_weight: Array, centre: Array, factor: Array) -> Array:
                squares = jnp.sum(jnp.square((u - centre) @ factor), axis=1)
                log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
                return log_weight + log_det - 0.5 * (squares + u.shape[1] * np.log(2 * np.pi))

            return -jax.nn.logsumexp(jax.vmap(one)(*density[2:]), axis=0)

        return map_batches(nats, data, batch_size)

    return measure
