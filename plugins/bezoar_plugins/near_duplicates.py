"""Which texts nearly repeat one another: word n-grams, Jaccard, and an index of what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeAlias

from annotated_types import Ge, Le

if TYPE_CHECKING:
    from rensa import RMinHash, RMinHashLSH

Similarity: TypeAlias = Annotated[float, Ge(0.5), Le(1)]
"""A threshold of `Seen`. Below 0.5 nearly every pair would be a candidate."""

PERMUTATIONS = 128
FOUND = 0.999
_SEED = 42
_PROSE = str.maketrans(dict.fromkeys(".,;:!?\"'()[]{}`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u2026", " "))


def words(text: str) -> list[str]:
    """Return a text's words: case-folded, parted by spaces and by the punctuation of prose.

    Signs of arithmetic and code (`+ - * / < = > _ $ # @ % & | ~ ^`) stay, so that "2 + 2" and "2 - 2" differ.
    """
    return text.casefold().translate(_PROSE).split()


def grams(words: Sequence[str], size: int) -> list[str]:
    """Return the runs of `size` words, in order; fewer words are one run, no words none."""
    if len(words) <= size:
        return [" ".join(words)] if words else []
    return list(map(" ".join, zip(*(words[start:] for start in range(size)), strict=False)))


def bigrams(text: str) -> list[str]:
    """Return the pairs of neighbouring words, in order; a sole word counts as one."""
    return grams(words(text), 2)


def jaccard(left: Iterable[str], right: Iterable[str]) -> float:
    """Return the share of the distinct members of either that both have; 0 where neither has any."""
    left, right = set(left), set(right)
    both = len(left & right)
    return both / (len(left) + len(right) - both) if both else 0.0


class Seen:
    """Texts in the order they were added, and which of them a text repeats by `threshold` (Jaccard of word bigrams).

    Candidates are found by MinHash in bands (Broder 1997; Leskovec, Rajaraman and Ullman, chapter 3) and verified
    exactly, so what is returned is right; a text at the very threshold is missed in fewer than 1 of 1,000 cases, one
    above it in fewer. A text without words repeats nothing. The same texts give the same answers in every process.
    A text held costs its length and about 2.5 KB.
    """

    def __init__(self, threshold: Similarity = 0.7) -> None:
        self._threshold = threshold
        self._index = _index(threshold)
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def nearest(self, text: str) -> tuple[int, float] | None:
        """Return the number (from 0) of the most similar text added, the first of equals, and the similarity."""
        own = bigrams(text)
        if not own:
            return None
        numbers = sorted(self._index.query(_sketch(own)))
        found = [(jaccard(own, bigrams(self._texts[number])), number) for number in numbers]
        similarity, number = max(found, key=lambda one: one[0], default=(0.0, 0))
        return (number, similarity) if similarity >= self._threshold else None

    def add(self, text: str) -> None:
        """Add a text: its number is how many there were before."""
        own = bigrams(text)
        if own:
            self._index.insert(len(self._texts), _sketch(own))
        self._texts.append(text)


def suspects(texts: Iterable[str], threshold: Similarity = 0.7) -> list[bool]:
    """Return, for each text, whether `Seen` could find it similar to any other of them.

    Costs a small part of what adding every text to `Seen` would: only suspects need be added. Holds 512 bytes a text.
    """
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_token_sets(_each(texts), PERMUTATIONS, _SEED)
    if matrix.is_empty():
        return []
    flags: list[bool] = _index(threshold).query_duplicate_flags_matrix_one_shot(matrix)
    return flags


def _each(texts: Iterable[str]) -> Iterator[list[str]]:
    for text in texts:
        yield bigrams(text)


def _sketch(tokens: list[str]) -> RMinHash:
    from rensa import RMinHash

    sketch = RMinHash(PERMUTATIONS, _SEED)
    sketch.update(tokens)
    return sketch


def _index(threshold: Similarity) -> RMinHashLSH:
    from rensa import RMinHashLSH

    return RMinHashLSH(threshold, PERMUTATIONS, bands(threshold))


@cache
def bands(threshold: Similarity) -> int:
    """Return the fewest bands of the permutations that find a pair at `threshold` with probability `FOUND`.

    With b bands of r rows a pair of similarity s becomes a candidate with probability 1 - (1 - s^r)^b. At 0.7, 32
    bands of 4 find 0.9998 of the pairs; a pair of unrelated texts that share 2 % of their bigrams comes up once in
    200,000.
    """
    for count in range(1, PERMUTATIONS + 1):
        if PERMUTATIONS % count == 0 and 1 - (1 - threshold ** (PERMUTATIONS // count)) ** count >= FOUND:
            return count
    raise ValueError(f"no bands find pairs at {threshold}")
