"""What the tests share: figures that are saved, and a linear Gaussian world."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxae.base import Autoencoder, Draw, Latent

N = 20_000  # chains, all independent: a variance is known to sqrt(2 / N), 1 %


def with_context(value, context):
    return value if context is None else value + context


def linear_model():
    """Codes x W, reconstructions z V (+ context), codes and data drawn with given factors."""

    def encode(params, batch):
        return with_context(batch["x"] @ params["W"], batch.get("context"))

    def decode(params, z, context=None):
        return z @ params["V"]

    def draw(params, key, batch, samples=1):
        z = encode(params, batch)
        noise = jax.random.normal(key, (samples, *z.shape))
        return Draw(z + noise @ params["Q"].T, jnp.zeros(z.shape[:1]), jnp.zeros(z.shape[:1]))

    def emit(params, key, z, context=None):
        mean = decode(params, z)
        return mean + jax.random.normal(key, mean.shape, mean.dtype) @ params["L"].T

    return Autoencoder(None, None, encode, decode, None, Latent(draw, None, None, emit, None))


LINEAR = linear_model()
COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])
NOISE = 0.7


def optimal_denoiser():
    """The best denoiser of N(0, COVARIANCE) under N(0, NOISE²): its mean A x, its spread."""
    gain = COVARIANCE @ np.linalg.inv(COVARIANCE + NOISE**2 * np.eye(2))
    spread = COVARIANCE - gain @ COVARIANCE
    params = {"W": gain.T, "V": np.eye(2), "L": np.linalg.cholesky(spread)}
    return {name: jnp.asarray(a, jnp.float32) for name, a in params.items()}, gain, spread


def moments_agree(states, mean, covariance):
    """The moments of independent rows within 5 standard errors of those expected."""
    states = np.float64(states)
    n, deviations = len(states), np.sqrt(np.diag(covariance))
    assert (np.abs(states.mean(0) - mean) < 5 * deviations / np.sqrt(n)).all()
    error = np.sqrt((np.outer(deviations, deviations) ** 2 + covariance**2) / n)
    assert (np.abs(np.cov(states.T) - covariance) < 5 * error).all()


@pytest.fixture
def rendered(tmp_path):
    """Saves a figure, as a user would, and says whether something came of it."""

    def render(figure):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / "figure.png")
        return (tmp_path / "figure.png").stat().st_size > 1000

    return render


@pytest.fixture(scope="session")
def world():
    """A linear model, data with a covariance, and what denoises them best under some noise."""
    return SimpleNamespace(
        LINEAR=LINEAR,
        COVARIANCE=COVARIANCE,
        NOISE=NOISE,
        N=N,
        SHIFTED=LINEAR._replace(decode=lambda params, z, context=None: with_context(z, context)),
        with_context=with_context,
        optimal_denoiser=optimal_denoiser,
        moments_agree=moments_agree,
    )
