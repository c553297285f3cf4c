"""Several inputs in set proportions."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from bezoar_core.errors import DataError
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.types import DatasetRef, NonEmptyStr, PositiveFloat, PositiveInt
from bezoar_plugins.filters.chance import drawn
from bezoar_plugins.filters.place import place


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Take from each input its share of the largest set that keeps the weights' proportions, and never a row twice.

    Rows are drawn within an input by the step's seed and the input's name, and stay in the inputs' order. An input
    that has to give more gives the same rows and others.
    """

    name: ClassVar[str] = "mix"
    version: ClassVar[int] = 1

    data: tuple[DatasetRef, ...]
    """The inputs."""
    weights: Mapping[str, PositiveFloat] | None = None
    """Input: its weight against the others. Without weights the inputs are in proportion to their sizes."""
    count: PositiveInt | None = None
    """Take so many rows; as many as there are in these proportions where it is not set."""
    column: NonEmptyStr = "mixed_from"
    """Gets the name of the input that a row came from."""

    def __post_init__(self) -> None:
        names = [ref.name for ref in self.data]
        if len(set(names)) < len(names) or not names:
            raise ValueError("`data` names no input, or one twice")
        if self.weights is None:
            return
        lacking = [name for name in names if name not in self.weights]
        unknown = [name for name in self.weights if name not in names]
        if lacking or unknown:
            faults = [f"has none for `{name}`" for name in lacking]
            raise ValueError("`weights` " + "; ".join([*faults, *(f"knows no input `{name}`" for name in unknown)]))

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, one input after the other; raise `DataError` where there are not `count` rows."""
        sizes = {ref.name: sum(1 for _ in ref.rows()) for ref in self.data}
        quotas = self._quotas(sizes)
        source = iter(rows)
        for name, size in sizes.items():
            taken = drawn(draw("mix", name), quotas[name], size)
            # `taken` first: when it ends, no row of the next input has been read
            for number, (is_taken, row) in enumerate(zip(taken, source, strict=False), start=1):
                if self.column in row:
                    message, tip = f"row has a column `{self.column}` already", "give `column` another name"
                    raise DataError(message, where=place(row, name, number), tip=tip)
                mixed = {**row, self.column: name}
                yield Keep(mixed) if is_taken else Drop(mixed, "not_drawn")

    def _quotas(self, sizes: Mapping[str, int]) -> Mapping[str, int]:
        weights = {n: Fraction(repr(self.weights[n] if self.weights else size)) for n, size in sizes.items()}
        most = largest(sizes, weights)
        if self.count is not None and self.count > most:
            message = f"there are {most} rows in these proportions, and `count` asks for {self.count}"
            held = ", ".join(f"`{name}` holds {size}" for name, size in sizes.items())
            raise DataError(message, where=", ".join(sizes), tip=held)
        return shares(most if self.count is None else self.count, weights)


def largest(sizes: Mapping[str, int], weights: Mapping[str, Fraction]) -> int:
    """Return how many rows there are at most in the proportions of `weights`, no input giving more than it has."""
    total = sum(weights.values())
    return min((math.floor(sizes[name] * total / weight) for name, weight in weights.items() if weight), default=0)


def shares(count: int, weights: Mapping[str, Fraction]) -> Mapping[str, int]:
    """Divide `count` in the proportions of `weights`, by the largest remainders and then by order."""
    total = sum(weights.values()) or Fraction(1)
    exact = {name: count * weight / total for name, weight in weights.items()}
    whole = {name: math.floor(share) for name, share in exact.items()}
    left = count - sum(whole.values())
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[:left]:
        whole[name] += 1
    return whole


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the filter that mixes."""
    return [Mix]
