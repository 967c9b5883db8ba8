import numpy as np
import pytest

from jaxae.data import synthetic_ratings
from jaxae.data.centring import centre
from jaxae.data.synthetic_ratings import low_rank_ratings


def test_the_sizes_of_biases_factors_and_noise_are_those_promised():
    full = low_rank_ratings(1, users=400, items=300, per_user=6000, rank=2, noise=0.1)
    seen = full.matrix.toarray()
    common = np.flatnonzero((np.diff(full.transposed.matrix.indptr)) == 400)
    assert len(common) > 50  # so many draws reach whole columns of popular items
    rest = seen[:, common] - seen[:, common].mean()
    rest = rest - rest.mean(0) - rest.mean(1, keepdims=True)
    lengths = np.linalg.svd(rest, compute_uv=False)
    assert lengths[1] > 3 * lengths[2]  # two factors
    biases = centre(full, user_weight=0.1, item_weight=0.1)
    assert biases.users.std() == pytest.approx(0.7, abs=0.1)
    assert biases.mean == pytest.approx(6.0, abs=0.3)
    assert rest.std() == pytest.approx(1.0, abs=0.25)


def test_pairs_are_distinct_seeded_and_drawn_in_pieces(monkeypatch):
    first = low_rank_ratings(2, users=50, items=20, per_user=8)
    assert first.matrix.has_canonical_format
    again = low_rank_ratings(2, users=50, items=20, per_user=8)
    np.testing.assert_array_equal(first.matrix.toarray(), again.matrix.toarray())
    counts = np.bincount(first.entries[1], minlength=20)
    assert counts[:5].sum() > 2 * counts[-5:].sum()
    monkeypatch.setattr(synthetic_ratings, "_USERS", 16)
    pieces = low_rank_ratings(2, users=50, items=20, per_user=8)
    assert pieces.matrix.shape == (50, 20)
    assert np.diff(pieces.matrix.indptr).min() >= 1


@pytest.mark.parametrize("name", ["users", "items", "per_user", "rank"])
def test_sizes_below_one(name):
    with pytest.raises(ValueError, match=f"{name} must lie"):
        low_rank_ratings(0, **{"users": 5, "items": 5, "per_user": 2, name: 0})
