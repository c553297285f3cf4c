from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from bezoar_plugins.stages.batches import ByLength, batches, longest, padding_share

MIXED = [min(256, int(Random(place).lognormvariate(4.3, 0.8)) + 4) for place in range(1203)]
"""Lengths as of a mix of short answers and long ones, cut at 256."""


def random_padding(lengths: list[int], batch: int) -> float:
    order = list(range(len(lengths)))
    Random(0).shuffle(order)
    made = [order[i : i + batch] for i in range(0, len(order), batch)]
    return 1 - sum(lengths) / sum(len(places) * max(lengths[place] for place in places) for places in made)


@pytest.mark.parametrize("batch", [2, 4, 8, 32])
def test_little_of_mixed_lengths_is_padding(batch: int) -> None:
    assert padding_share(MIXED, batch, seed=1) < 0.1
    assert random_padding(MIXED, batch) > 2 * padding_share(MIXED, batch, seed=1)


def test_a_pass_has_every_row_once_and_the_batch_that_is_not_full_last() -> None:
    made = batches(MIXED, 8, Random(3))
    assert sorted(place for places in made for place in places) == list(range(len(MIXED)))
    assert [len(places) for places in made] == [8] * 150 + [3]


def test_an_order_is_that_of_the_seed_and_the_pass_and_batches_come_in_any_length() -> None:
    epoch = 0
    order = ByLength(MIXED, 8, 42, lambda: epoch)
    first = list(order)
    assert first == list(order) == list(ByLength(MIXED, 8, 42, lambda: 0))
    epoch = 1
    assert first != list(order)
    assert first != list(ByLength(MIXED, 8, 43, lambda: 0))
    heads = [MIXED[place] for place in first[:1200:8]]
    falls = sum(a > b for a, b in pairwise(heads))
    assert 0.35 < falls / len(heads) < 0.65


def test_the_longest_batch_has_the_longest_rows() -> None:
    assert longest([3, 9, 1, 9, 5], 3) == [1, 3, 4]
    assert longest([3, 9], 8) == [1, 0]
