"""The rows of the benchmark, by suite."""

from suites import contraction, handson, jacobians, pca, resources, sparse, speed, superposition
from suites.rows import Row

SUITES: dict[str, tuple[Row, ...]] = {
    "quality": (
        *pca.ROWS,
        *handson.ROWS,
        *contraction.ROWS,
        *sparse.ROWS,
        *superposition.ROWS,
    ),
    "speed": (*speed.ROWS, *jacobians.ROWS),
    "resources": resources.ROWS,
}
