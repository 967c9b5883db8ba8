import numpy as np
import pytest

from jaxae.data.ratings import ratings_from
from jaxae.deploy.rating_rows import row_of


@pytest.fixture(scope="module")
def known():
    return ratings_from([0, 0, 1], ["jaws", "heat", "alien"], [1.0, 2.0, 3.0])


def test_all_forms_give_the_same_row_with_zeros_that_are_ratings(known):
    mask = np.array([1.0, 0.0, 1.0])
    forms = (
        {"jaws": 0.0, "alien": 4.0},
        {"alien": 4, "jaws": 0},
        {"x": np.array([[4.0, 9.0, 0.0]]), "mask": mask[None]},
        {"x": np.array([4.0, 9.0, 0.0]), "mask": mask},
    )
    for form in forms:
        row = row_of(known, form)
        assert row.entries[1].tolist() == [0, 2]
        assert row.entries[2].tolist() == [4.0, 0.0]
        assert row_of(known, row) is row
    assert row_of(known, {}).size == 0
    assert row_of(known, {"x": np.ones(3)}).size == 3


@pytest.mark.parametrize(
    ("ratings", "match"),
    [
        ({"up": 1.0}, r"items \['up'\] are not among the 3"),
        ({"jaws": np.inf}, "finite"),
        ({"x": np.ones((2, 3))}, r"shape \(1, 3\); got \(2, 3\)"),
        ({"x": np.ones(3), "mask": np.ones(2)}, "batch of one user"),
        (ratings_from([0], ["jaws"]), "1 users and 1 items"),
    ],
)
def test_what_is_no_row(known, ratings, match):
    with pytest.raises(ValueError, match=match):
        row_of(known, ratings)
