"""Other names for columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bezoar_core.errors import DataError, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.types import DatasetRef, NonEmptyStr
from bezoar_plugins.filters.place import place


@dataclass(frozen=True, kw_only=True)
class Rename:
    """Give columns other names; every row passes, and its columns stay in their order."""

    name: ClassVar[str] = "rename"
    version: ClassVar[int] = 1

    data: DatasetRef
    """The rows."""
    names: Mapping[NonEmptyStr, NonEmptyStr]
    """New name: old name. Every row must have the old one, and nothing else of the new one's name."""

    def __post_init__(self) -> None:
        twice = [old for old, count in Counter(self.names.values()).items() if count > 1]
        if not self.names:
            raise ValueError("`names` is empty: write `new: old`")
        if twice:
            raise ValueError(f"`{twice[0]}` would get two names")

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield every row under its new names; raise `DataError` at the first whose columns do not allow it."""
        renamed = {old: new for new, old in self.names.items()}
        for number, row in enumerate(rows, start=1):
            for new, old in self.names.items():
                if old not in row:
                    where = place(row, self.data.name, number)
                    raise DataError(f"row has no column `{old}`", where=where, tip=nearest(old, list(row)))
                if new in row and new not in renamed:
                    where = place(row, self.data.name, number)
                    tip = f"give `{new}` another name too, or drop it before with `select`"
                    raise DataError(f"`{old}` cannot become `{new}`: the row has that column", where=where, tip=tip)
            yield Keep({renamed.get(column, column): value for column, value in row.items()})


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the filter that renames columns."""
    return [Rename]
