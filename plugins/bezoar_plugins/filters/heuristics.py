"""Rules that cost nothing: length, letters, repetition, refusals, unfinished ends, phrases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.types import DatasetRef, Fraction, NonEmptyStr, PositiveInt
from bezoar_plugins.filters.boilerplate import BOILERPLATE, phrase_in
from bezoar_plugins.filters.row_texts import row_texts
from bezoar_plugins.near_duplicates import grams, words

_OPEN = tuple(",;:-(\u2013\u2014")
_DANGLING = frozenset({"a", "an", "and", "because", "but", "if", "of", "or", "that", "the", "to", "which", "with"})


@dataclass(frozen=True, kw_only=True)
class Heuristics:
    """Drop a row when one of its texts breaks a rule; the first rule broken, column by column, is the reason.

    Ours, after the quality rules of Gopher (arXiv 2112.11446, appendix A.1). A rule is off until it is given; all rules
    hold for every column, so columns with different limits take a step each. Words are parted by spaces and by the
    punctuation of prose.
    """

    name: ClassVar[str] = "heuristics"
    version: ClassVar[int] = 1

    data: DatasetRef
    """Rows with text."""
    columns: tuple[NonEmptyStr, ...] = ()
    """Looked at; none named: `instruction` (with `context`) and `response`, or `inputs` and `explained_targets`."""
    min_words: PositiveInt | None = None
    """A text with fewer is dropped as `too_few_words`."""
    max_words: PositiveInt | None = None
    """A text with more is dropped as `too_many_words`."""
    min_letters: Fraction | None = None
    """The share of letters among the characters that are no spaces; less is dropped as `few_letters`."""
    max_repeated_lines: Fraction | None = None
    """The share of lines, empty ones aside, that came before in the text; more is dropped as `repeated_lines`."""
    max_repeated_trigrams: Fraction | None = None
    """The share of runs of three words that came before in the text; more is dropped as `repeated_trigrams`."""
    no_boilerplate: bool = False
    """Drop, as `boilerplate`, a text in which a model refuses or speaks of itself: some 40 English phrases of ours."""
    finished: bool = False
    """Drop, as `unfinished`, a text that ends in the middle: with a comma, colon, semicolon, dash or open bracket, in a
    code fence, or with an English word such as `and`."""
    forbidden: tuple[NonEmptyStr, ...] = ()
    """Phrases; a text with one is dropped as `forbidden`. Case and the punctuation of prose do not matter."""

    def __post_init__(self) -> None:
        limits = (self.min_words, self.max_words, self.min_letters, self.max_repeated_lines, self.max_repeated_trigrams)
        if not (self.no_boilerplate or self.finished or self.forbidden) and all(limit is None for limit in limits):
            raise ValueError("every rule is off: give one, such as `min_words: 3`")
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError(f"no text has at least {self.min_words} and at most {self.max_words} words")
        for phrase in self.forbidden:
            if not words(phrase):
                raise ValueError(f"`forbidden` has {phrase!r}, which holds no word")

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order."""
        for number, row in enumerate(rows, start=1):
            texts = row_texts(row, number, self.columns, self.data.name)
            found = ((column, *broken) for column, text in texts.items() for broken in self._broken(text))
            column, reason, how = next(found, ("", "", ""))
            yield Drop(row, reason, f"`{column}` {how}") if reason else Keep(row)

    def _broken(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the reason of each rule that `text` breaks, with what was measured and the limit."""
        found = words(text)
        if self.min_words is not None and len(found) < self.min_words:
            yield "too_few_words", f"has {len(found)} words, and `min_words` is {self.min_words}"
        if self.max_words is not None and len(found) > self.max_words:
            yield "too_many_words", f"has {len(found)} words, and `max_words` is {self.max_words}"
        if self.min_letters is not None and (share := letters(text)) < self.min_letters:
            yield "few_letters", f"has {share:.3f} letters, and `min_letters` is {self.min_letters}"
        limit = self.max_repeated_lines
        if limit is not None and (share := repeated(list(filter(None, map(str.strip, text.splitlines()))))) > limit:
            yield "repeated_lines", f"repeats {share:.3f} of its lines, and `max_repeated_lines` is {limit}"
        limit = self.max_repeated_trigrams
        if limit is not None and (share := repeated(grams(found, 3))) > limit:
            yield "repeated_trigrams", f"repeats {share:.3f} of its trigrams, and `max_repeated_trigrams` is {limit}"
        if self.no_boilerplate and (phrase := phrase_in(text, BOILERPLATE)):
            yield "boilerplate", f"says `{phrase}`"
        if self.finished and (end := unfinished(text)):
            yield "unfinished", f"ends {end}"
        if phrase := phrase_in(text, self.forbidden):
            yield "forbidden", f"says `{phrase}`"


def letters(text: str) -> float:
    """Return the share of letters among the characters that are no spaces; 0 where there are none."""
    marks = "".join(text.split())
    return sum(map(str.isalpha, marks)) / len(marks) if marks else 0.0


def repeated(parts: Sequence[str]) -> float:
    """Return the share of `parts` that came before; 0 where there are none."""
    return 1 - len(set(parts)) / len(parts) if parts else 0.0


def unfinished(text: str) -> str | None:
    """Return how a text ends in the middle, or None; a text without words does not."""
    end = text.rstrip()
    if sum(line.lstrip().startswith("```") for line in end.splitlines()) % 2:
        return "in a code fence"
    if end.endswith(_OPEN):
        return f"with `{end[-1]}`"
    last = end.rsplit(None, 1)[-1].casefold() if end else ""
    return f"with `{last}`" if last in _DANGLING else None


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the heuristics filter."""
    return [Heuristics]
