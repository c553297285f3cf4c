"""Rows that repeat an earlier one: the same but for case and spaces, or nearly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, repeat
from typing import ClassVar, Literal

from bezoar_core.errors import DataError
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.types import DatasetRef, NonEmptyStr
from bezoar_plugins.filters.rouge import Pool
from bezoar_plugins.filters.row_texts import row_texts
from bezoar_plugins.near_duplicates import Seen, Similarity, suspects

ROUGE_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """Keep the first of rows that repeat one another; the rest are `duplicate` or `near_duplicate`.

    A row is compared with the rows kept before it; the detail of a dropped row names the most similar one by its
    number, and how similar it is. A `duplicate` differs in case and spaces alone. `near_duplicate` rows are, by
    default, those that share 0.7 of their distinct pairs of neighbouring words (Jaccard): candidates come from MinHash
    in 32 bands of 4 (Broder 1997), which miss a pair at the threshold in 2 of 10,000 cases and fewer above it, and each
    candidate is verified exactly.
    """

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 1

    data: DatasetRef
    """Rows with text."""
    columns: tuple[NonEmptyStr, ...] = ()
    """Compared, as one text; none named: `instruction` (with `context`) and `response`, or `inputs` and
    `explained_targets`."""
    threshold: Similarity | None = 0.7
    """A row at least so similar to an earlier one is dropped; null: only one that is the same."""
    measure: Literal["jaccard", "rouge_l"] = "jaccard"
    """`jaccard` is of pairs of words. `rouge_l` is the F-measure of ROUGE-L, as in Self-Instruct: nothing narrows its
    candidates down without losing some, so every row is compared with every row kept, and more than 20,000 rows are
    refused."""

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order. Goes through the rows twice."""
        near, flags = self._index(rows)
        same: dict[bytes, int] = {}
        compared: list[int] = []
        for number, (row, flagged) in enumerate(zip(rows, flags, strict=False), start=1):
            if not flagged:
                yield Keep(row)
                continue
            text = self._text(number, row)
            key = blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()
            if key in same:
                yield Drop(row, "duplicate", f"repeats row {same[key]}")
            elif near is not None and (found := near.nearest(text)):
                earlier, similarity = found
                yield Drop(row, "near_duplicate", f"repeats row {compared[earlier]}: {self.measure} {similarity:.3f}")
            else:
                same[key] = number
                if near is not None:
                    near.add(text)
                    compared.append(number)
                yield Keep(row)

    def _index(self, rows: Iterable[Row]) -> tuple[Seen | Pool | None, Iterator[bool]]:
        """Return what finds near-duplicates, and for each row whether it may repeat another or be repeated."""
        if self.threshold is None:
            return None, repeat(True)
        if self.measure == "jaccard":
            return Seen(self.threshold), iter(suspects(self._texts(rows), self.threshold))
        if any(True for _ in islice(rows, ROUGE_ROWS, None)):
            raise DataError(
                f"more than {ROUGE_ROWS:,} rows are too many to compare each with each",
                where=self.data.name,
                tip="`measure: jaccard` takes seconds for them",
            )
        return Pool(self.threshold), repeat(True)

    def _texts(self, rows: Iterable[Row]) -> Iterator[str]:
        return (self._text(number, row) for number, row in enumerate(rows, start=1))

    def _text(self, number: int, row: Row) -> str:
        return "\n".join(row_texts(row, number, self.columns, self.data.name).values())


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the dedup filter."""
    return [Dedup]
