"""What the tests of figures share."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def rendered(tmp_path):
    """Saves a figure, as a user would, and says whether something came of it."""

    def render(figure):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / "figure.png")
        return (tmp_path / "figure.png").stat().st_size > 1000

    return render
