"""The sample on disk: its size, its evenness, its order."""

from __future__ import annotations

from collections import Counter
from random import Random
from tempfile import TemporaryFile

from bezoar_plugins.schemes.reservoir import Reservoir


def sample(rows: int, size: int, seed: int = 1) -> list[object]:
    with TemporaryFile() as file:
        drawn = Reservoir(file, size, Random(seed))
        for number in range(rows):
            drawn.add({"number": number, "text": "a line\nand another \u2028 \u00e9"})
        found = list(drawn)
    assert all(row["text"] == "a line\nand another \u2028 \u00e9" for row in found)
    return [row["number"] for row in found]


def test_it_holds_all_rows_or_so_many() -> None:
    assert sample(0, 5) == []
    assert sorted(sample(4, 5)) == [0, 1, 2, 3]
    assert len(set(sample(100, 5))) == 5


def test_every_row_has_the_same_chance() -> None:
    drawn = Counter(number for seed in range(2000) for number in sample(20, 5, seed))
    assert len(drawn) == 20
    assert all(420 < times < 580 for times in drawn.values()), "500 expected, a standard deviation is 19"


def test_the_order_is_drawn_and_the_same_dice_give_the_same() -> None:
    assert sample(50, 50) != list(range(50))
    assert sample(100, 10) == sample(100, 10) != sample(100, 10, seed=2)
