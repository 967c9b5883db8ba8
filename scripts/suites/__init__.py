"""The rows of the benchmark, by suite."""

from suites import (
    adversarial,
    boltzmann,
    coding,
    contraction,
    deep,
    features,
    generative,
    generative_speed,
    handson,
    hashing,
    jacobians,
    labels,
    pca,
    resources,
    sparse,
    speed,
    stacks,
    superposition,
    sweep_noise,
    sweep_scale,
    sweeps,
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
        *sweep_noise.ROWS,
        *generative.ROWS,
        *hashing.ROWS,
        *adversarial.ROWS,
        *coding.ROWS,
    ),
    "speed": (
        *speed.ROWS,
        *jacobians.ROWS,
        *boltzmann.SPEED_ROWS,
        *sweeps.ROWS,
        *generative_speed.ROWS,
    ),
    "resources": (*resources.ROWS, *sweep_scale.ROWS),
}
