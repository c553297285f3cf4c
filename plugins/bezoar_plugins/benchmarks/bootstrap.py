"""Intervals by resampling."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
_AT_ONCE = 1_000_000  # values resampled, so that a task of 10,000 documents takes megabytes


def interval(groups: Sequence[Sequence[float]], rng: random.Random, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile-bootstrap interval of the mean over all values; None for fewer than two groups.

    Whole groups are drawn (the two turns of a question depend on each other), `RESAMPLES` times, seeded by `rng`.
    """
    from scipy.stats import bootstrap

    filled = [group for group in groups if group]
    if len(filled) < 2:
        return None
    found = bootstrap(
        ([sum(group) for group in filled], [float(len(group)) for group in filled]),
        _ratio,
        paired=True,
        method="percentile",
        confidence_level=level,
        n_resamples=RESAMPLES,
        batch=batch(len(filled)),
        rng=generator(rng),
    ).confidence_interval
    return float(found.low), float(found.high)


def batch(groups: int) -> int:
    """Return how many resamples of so many groups are worked on at once."""
    return max(1, _AT_ONCE // groups)


def generator(rng: random.Random) -> np.random.Generator:
    """Return numpy's generator, seeded by `rng`."""
    import numpy as np

    return np.random.default_rng(rng.getrandbits(64))


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
    means: np.ndarray = sums.sum(axis=axis) / counts.sum(axis=axis)
    return means
