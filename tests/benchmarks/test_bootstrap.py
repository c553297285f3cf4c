"""The interval against sums done by hand, how often it holds the truth, and what it says where there is little."""

from __future__ import annotations

import random
import tracemalloc
from math import sqrt
from statistics import fmean, stdev

import pytest

from bezoar_plugins.benchmarks.bootstrap import interval


def test_of_two_groups_every_draw_can_be_listed() -> None:
    groups = [[1.0, 1.0, 1.0], [4.0]]
    # Drawn: the first twice (1/4), each once (1/2), the second twice (1/4); means of all values 3/3, 7/4 and 8/2.
    assert interval(groups, random.Random(1)) == (1.0, 4.0)
    assert interval(groups, random.Random(1), level=0.4) == (1.75, 1.75)


def test_of_many_values_it_is_the_normal_one() -> None:
    rng = random.Random(1)
    values = [rng.gauss(5, 2) for _ in range(2_000)]
    half = 1.959963984540054 * stdev(values) / sqrt(len(values))
    expected = (fmean(values) - half, fmean(values) + half)
    assert interval([[value] for value in values], rng) == pytest.approx(expected, abs=half / 10)


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(200):
        levels = [rng.gauss(6, 2) for _ in range(40)]  # questions differ, and the turns of one are alike
        low, high = interval([[rng.gauss(level, 1) for _ in range(2)] for level in levels], rng) or (9.0, 9.0)
        held += low <= 6 <= high
    assert 0.90 <= held / 200 <= 0.99


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


def test_many_documents_take_little_memory() -> None:
    groups = [[float(n % 2)] for n in range(10_000)]
    interval(groups[:2], random.Random(1))  # what is imported is not what is measured
    tracemalloc.start()
    interval(groups, random.Random(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, "all draws at once are 800 MB"
