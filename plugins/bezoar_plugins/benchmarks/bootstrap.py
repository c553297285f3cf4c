"""Intervals by resampling."""

from __future__ import annotations

import random
from collections.abc import Sequence

DRAWS = 10_000
_CHUNK = 1_000


def interval(groups: Sequence[Sequence[float]], rng: random.Random, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile-bootstrap interval of the mean over all values; None for fewer than two groups.

    Whole groups are drawn (the two turns of a question depend on each other), `DRAWS` times, seeded by `rng`.
    """
    import numpy as np

    filled = [group for group in groups if group]
    if len(filled) < 2:
        return None
    sums = np.array([sum(group) for group in filled], dtype=float)
    counts = np.array([len(group) for group in filled], dtype=float)
    generator = np.random.default_rng(rng.getrandbits(64))
    means = []
    for _ in range(DRAWS // _CHUNK):
        drawn = generator.integers(len(filled), size=(_CHUNK, len(filled)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
