"""Some of the rows, and some of their columns."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import orjson

from bezoar_core.errors import DataError, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.types import DatasetRef, Fraction, Json, NonEmptyStr, NonNegativeInt, PositiveInt
from bezoar_plugins.filters.chance import drawn
from bezoar_plugins.filters.place import place

Value: TypeAlias = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Select:
    """Keep the rows that pass, in this order, `where`, `share`, `split` and `first`, with the columns `keep`."""

    name: ClassVar[str] = "select"
    version: ClassVar[int] = 1

    data: DatasetRef
    """The rows."""
    where: Mapping[str, Value | tuple[Value, ...]] = field(default_factory=dict)
    """Column: the value it must have, or a list of which it must have one."""
    share: Fraction | None = None
    """Keep so much of them, drawn by the step's seed."""
    split: Literal["train", "validation"] | None = None
    """Keep one of two parts. Two steps that differ in nothing but this divide the rows between them. A row's part
    follows from its content, so that equal rows are never in both."""
    validation: Fraction = 0.1
    """The size of the validation part."""
    split_seed: NonNegativeInt = 0
    """Another number, the same in both steps, divides them in another way."""
    first: PositiveInt | None = None
    """Keep so many from the front."""
    keep: tuple[NonEmptyStr, ...] | None = None
    """The columns to keep, in this order; every row must have them."""

    def __post_init__(self) -> None:
        if self.keep is not None and (not self.keep or len(set(self.keep)) < len(self.keep)):
            raise ValueError("`keep` names no column, or one twice")

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order; raise `DataError` at a row without a column that is asked for."""
        taken = self._drawn(rows, draw)
        border = self._border(rows, taken)
        matching = kept = 0
        for number, row in enumerate(rows, start=1):
            if not self._matches(row, number):
                yield Drop(row, "not_matching")
                continue
            matching += 1
            if taken is not None and not taken[matching - 1]:
                yield Drop(row, "not_drawn")
            elif self.split is not None and (self._key(row) < border) != (self.split == "validation"):
                yield Drop(row, "other_part")
            elif self.first is not None and kept >= self.first:
                yield Drop(row, "after_first")
            else:
                kept += 1
                yield Keep(self._cut(row, number))

    def _drawn(self, rows: Iterable[Row], draw: Draw) -> bytearray | None:
        if self.share is None:
            return None
        count = sum(self._matches(row, number) for number, row in enumerate(rows, start=1))
        return drawn(draw("share"), round(self.share * count), count)

    def _border(self, rows: Iterable[Row], taken: bytearray | None) -> int:
        """Return the key below which a row belongs to the validation part."""
        if self.split is None:
            return 0
        matching = (row for number, row in enumerate(rows, start=1) if self._matches(row, number))
        keys = array("Q", (self._key(row) for n, row in enumerate(matching) if taken is None or taken[n]))
        count = round(self.validation * len(keys))
        return sorted(keys)[count - 1] + 1 if count else 0

    def _key(self, row: Row) -> int:
        content = orjson.dumps([self.split_seed, dict(row)], option=orjson.OPT_SORT_KEYS)
        return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")

    def _matches(self, row: Row, number: int) -> bool:
        return all(_is_one_of(self._value(row, column, number), wanted) for column, wanted in self.where.items())

    def _cut(self, row: Row, number: int) -> Row:
        return row if self.keep is None else {column: self._value(row, column, number) for column in self.keep}

    def _value(self, row: Row, column: str, number: int) -> Json:
        if column not in row:
            where = place(row, self.data.name, number)
            raise DataError(f"row has no column `{column}`", where=where, tip=nearest(column, list(row)))
        return row[column]


def _is_one_of(value: Json, wanted: Value | tuple[Value, ...]) -> bool:
    """Compare as the registry writes it: `true` is not 1."""
    among = wanted if isinstance(wanted, tuple) else (wanted,)
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in among)


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the filter that selects rows."""
    return [Select]
