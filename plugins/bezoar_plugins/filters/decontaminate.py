"""Rows that repeat what a benchmark of the registry asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bezoar_core.errors import BezoarError
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Metrics, Row
from bezoar_core.types import BenchmarkRef, DatasetRef, NonEmptyStr
from bezoar_plugins.filters.row_texts import row_texts
from bezoar_plugins.near_duplicates import Seen, Similarity, grams, words

RUN = 13
_SHORTEST_RUN = 8
_SHORTEST_TEXT = 3
_ANCHOR = 7  # any 13 words in a row hold 7 that begin at a multiple of 7

COLUMN = "contaminated_by"


@dataclass(frozen=True, kw_only=True)
class Decontaminate:
    """Drop, as `contaminated`, a row that repeats an item of a benchmark; a column `contaminated_by` names that.

    A row repeats an item when a column shares a run of 13 words with one of the item's fields (as in GPT-3, arXiv
    2005.14165, appendix C), or holds all of a field of 8 to 12 words; or when a column, or all columns together, is a
    near-duplicate of a field or of the whole item, as in the filter `dedup`. Fields of fewer than 3 words (`B`,
    `Paris`) count only as part of the whole. Words are case-folded and parted by spaces and the punctuation of prose.
    """

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 1

    against: tuple[BenchmarkRef, ...]
    """Benchmarks of the registry: their items as configured there. They need not have run."""
    data: DatasetRef
    """Rows with text."""
    columns: tuple[NonEmptyStr, ...] = ()
    """Compared; none named: `instruction` (with `context`) and `response`, or `inputs` and `explained_targets`."""
    threshold: Similarity = 0.7
    """The share of distinct pairs of neighbouring words from which on texts are near-duplicates."""

    def __post_init__(self) -> None:
        if not self.against:
            raise ValueError("`against` is empty: name a benchmark")

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order."""
        asked = self._asked()
        for number, row in enumerate(rows, start=1):
            texts = row_texts(row, number, self.columns, self.data.name)
            found = asked.repeated(texts)
            if found is None:
                yield Keep(row)
            else:
                place, how = found
                yield Drop({**row, COLUMN: place.benchmark}, "contaminated", f"{how} {place.benchmark} `{place.item}`")

    def _asked(self) -> _Asked:
        asked = _Asked(Seen(self.threshold))
        for ref in self.against:
            before = len(asked.places)
            for item in ref.items():
                asked.add(_Place(ref.name, item.id), list(item.fields.values()))
            if len(asked.places) == before:
                raise BezoarError(f"benchmark `{ref.name}` asks nothing", where=f"steps.{ref.name}")
        return asked

    def summarise(self, kept: Iterable[Row], dropped: Iterable[Row]) -> Metrics:
        """Return how many rows repeat a benchmark, over all and for each."""
        found = Counter(str(row[COLUMN]) for row in dropped)
        return {"contaminated": found.total(), **{f"contaminated: {ref.name}": found[ref.name] for ref in self.against}}


@dataclass(frozen=True)
class _Place:
    benchmark: str
    item: str


@dataclass(frozen=True)
class _Asked:
    """The texts that benchmarks ask, by what a row may share with them."""

    near: Seen
    places: list[_Place] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    anchors: dict[str, list[int]] = field(default_factory=dict)

    def add(self, place: _Place, fields: Sequence[str]) -> None:
        """Add the fields of an item, and where there are several, all of them as one text."""
        for text in dict.fromkeys([*fields, "\n".join(fields)]):
            found = words(text)
            if len(found) < _SHORTEST_TEXT and len(fields) > 1 and text in fields:
                continue
            if text in fields and len(found) >= _SHORTEST_RUN:
                for anchor in grams(found, _ANCHOR)[::_ANCHOR]:
                    self.anchors.setdefault(anchor, []).append(len(self.texts))
            self.near.add(text)
            self.places.append(place)
            self.texts.append(text)

    def repeated(self, columns: Mapping[str, str]) -> tuple[_Place, str] | None:
        """Return the first item that a row's columns repeat, and how."""
        for column, text in columns.items():
            found = words(text)
            for number in sorted({n for anchor in grams(found, _ANCHOR) for n in self.anchors.get(anchor, ())}):
                run = _shared(found, words(self.texts[number]))
                if run:
                    return self.places[number], f"`{column}` has the words `{run}` of"
        for column, text in [*columns.items(), ("row", "\n".join(columns.values()))]:
            nearest = self.near.nearest(text)
            if nearest:
                number, similarity = nearest
                return self.places[number], f"`{column}` is, by {similarity:.3f}, a near-duplicate of"
        return None


def _shared(found: Sequence[str], asked: Sequence[str]) -> str | None:
    """Return the first run of `asked` that `found` has too: of 13 words, or all of `asked` where it is shorter."""
    size = min(RUN, len(asked))
    held = set(grams(found, size))
    return next((run for run in grams(asked, size) if run in held), None)


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the decontaminate filter."""
    return [Decontaminate]
