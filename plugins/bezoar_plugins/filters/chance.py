"""Which rows chance takes."""

from __future__ import annotations

from array import array
from random import Random


def drawn(generator: Random, count: int, of: int) -> bytearray:
    """Return a 1 for each of `count` rows taken out of `of`; a larger `count` takes the same rows and more."""
    order = array("Q", range(of))
    generator.shuffle(order)
    taken = bytearray(of)
    for number in order[:count]:
        taken[number] = 1
    return taken
