"""The rows of the benchmark, by suite."""

from suites import (
    boltzmann,
    contraction,
    deep,
    features,
    handson,
    jacobians,
    labels,
    pca,
    resources,
    sparse,
    speed,
    stacks,
    superposition,
)
from suites.rows import Row

SUITES: dict[str, tuple[Row, ...]] = {
    "quality": (
        *pca.ROWS,
        *handson.ROWS,
        *contraction.ROWS,
        *sparse.ROWS,
        *features.ROWS,
        *superposition.ROWS,
        *boltzmann.ROWS,
        *deep.ROWS,
        *labels.ROWS,
        *stacks.ROWS,
    ),
    "speed": (*speed.ROWS, *jacobians.ROWS, *boltzmann.SPEED_ROWS),
    "resources": resources.ROWS,
}
