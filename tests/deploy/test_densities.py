"""The density of codes: scikit-learn's own, the Mahalanobis distance, gaps between groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

import jaxae
from jaxae.base import Autoencoder
from jaxae.deploy.densities import code_density_scores, fit_code_density


def copying(extra=0):
    """Codes that are x, and `extra` units that never move."""

    def encode(params, batch):
        return jnp.pad(jnp.asarray(batch["x"]), ((0, 0), (0, extra)))

    return Autoencoder(None, None, encode, None, None)


@pytest.mark.parametrize("extra", [0, 3])
def test_the_density_is_that_of_scikit_learn_but_for_the_units_of_the_code(extra):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(300, 3)), 6 + 2 * rng.normal(size=(300, 3))])
    model, batch = copying(extra), {"x": x.astype(np.float32)}
    found = fit_code_density(model, None, batch, components=2)
    score = jax.jit(code_density_scores(model, batch_size=250))(None, found, batch)
    exact = -GaussianMixture(2, random_state=0).fit(x).score_samples(x)
    scale = np.log(np.sqrt(np.linalg.eigvalsh(np.cov(x.T)).mean())) * 3
    np.testing.assert_allclose(score, exact - scale, rtol=2e-3, atol=2e-3)


def test_one_component_ranks_rows_by_their_mahalanobis_distance(x64):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4))
    density = fit_code_density(copying(), None, {"x": x}, components=1)
    score = code_density_scores(copying())(None, density, {"x": x})
    squares = EmpiricalCovariance().fit(x).mahalanobis(x)
    half = 0.5 * squares - np.asarray(score)
    assert np.ptp(half) < 1e-2 * np.ptp(squares)


def test_what_lies_between_groups_of_normal_rows_is_strange():
    rng = np.random.default_rng(2)
    centres = np.array([[-3.0, 0], [3.0, 0]])
    normal = centres[rng.integers(0, 2, 500)] + 0.3 * rng.normal(size=(500, 2))
    between, model = 0.3 * rng.normal(size=(50, 2)), copying()
    density = fit_code_density(model, None, {"x": normal[:400]}, components=2)
    rows = {"x": np.concatenate([normal[400:], between])}
    score = code_density_scores(model)(None, density, rows)
    assert roc_auc_score(np.arange(150) >= 100, score) == 1.0
    single = fit_code_density(model, None, {"x": normal[:400]}, components=1)
    assert (
        roc_auc_score(np.arange(150) >= 100, code_density_scores(model)(None, single, rows)) < 0.5
    )


def test_hidden_entries_do_not_matter_and_wide_codes_are_projected():
    model = jaxae.sparse(6, 30)
    x, mask = np.random.default_rng(3).random((60, 6), np.float32), np.arange(6) < 4
    mask = np.broadcast_to(mask, x.shape)
    params = model.init(jax.random.key(0), {"x": x})
    density = fit_code_density(model, params, {"x": x}, components=2, dims=5)
    assert density.projection.shape == (30, 5)
    score = jax.jit(code_density_scores(model))
    found = score(params, density, {"x": x, "mask": mask})
    junk = score(params, density, {"x": np.where(mask, x, np.nan), "mask": mask})
    np.testing.assert_array_equal(found, junk)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components must lie"),
        ({"dims": 0}, "dims must lie"),
        ({"components": 40}, "40 components need as many rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_code_density(
            copying(), None, {"x": np.ones((20, 2)) * np.arange(20)[:, None]}, **options
        )
    with pytest.raises(ValueError, match="codes that differ"):
        fit_code_density(copying(), None, {"x": np.ones((20, 2))}, components=2)
    with pytest.raises(ValueError, match="batch_size must lie"):
        code_density_scores(copying(), batch_size=0)
