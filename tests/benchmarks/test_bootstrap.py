"""The interval against scipy's, and what it says where there is little."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bezoar_plugins.benchmarks.bootstrap import interval


def test_it_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    rng = random.Random(1)
    groups = [[float(rng.randint(1, 10)) for _ in range(rng.choice((1, 2)))] for _ in range(80)]
    sums, counts = np.array([sum(g) for g in groups]), np.array([len(g) for g in groups], dtype=float)
    theirs = bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = interval(groups, random.Random(3)) or (0.0, 0.0)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert low < sums.sum() / counts.sum() < high


def test_turns_of_one_question_count_as_one() -> None:
    values = [1.0, 10.0] * 20
    apart = interval([[value] for value in values], random.Random(1)) or (0.0, 0.0)
    paired = interval([[value, value] for value in values], random.Random(1)) or (0.0, 0.0)
    assert paired == pytest.approx(apart), "a second turn that repeats the first tells nothing new"


def test_the_seed_decides() -> None:
    groups = [[n * n / 7] for n in range(40)]
    assert interval(groups, random.Random(1)) == interval(groups, random.Random(1))
    assert interval(groups, random.Random(1)) != interval(groups, random.Random(2))


def test_little_and_none() -> None:
    assert interval([], random.Random(1)) is None
    assert interval([[5.0, 6.0]], random.Random(1)) is None
    assert interval([[5.0], []], random.Random(1)) is None, "an empty group is none"
    assert interval([[5.0], [5.0]], random.Random(1)) == (5.0, 5.0)
