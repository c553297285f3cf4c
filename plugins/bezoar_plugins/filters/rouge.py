"""ROUGE-L between two texts, and the most similar of many."""

from __future__ import annotations

import re

_TOKEN = re.compile("[a-z0-9]+")
_SURROGATES = 0xD800, 0x800


class Pool:
    """Texts in the order they were added; `nearest` compares with every one, so time grows with their square.

    The figure is the F-measure of ROUGE-L (Lin 2004) as the package rouge-score has it without stemming: 2 L / (m + n)
    over tokens of ASCII letters and digits, L the length of their longest common subsequence. Each distinct token is
    one code point, so that rapidfuzz finds L in machine words. A text without tokens is similar to nothing.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._points: dict[str, str] = {}
        self._coded: list[str] = []

    def nearest(self, text: str) -> tuple[int, float] | None:
        """Return the number (from 0) of the most similar text added, the first of equals, and the similarity."""
        from rapidfuzz.distance import Indel
        from rapidfuzz.process import extractOne

        own = self._code(text)
        if not own:
            return None
        cutoff = self._threshold - 1e-9  # rapidfuzz rounds elsewhere; the figure below decides
        found = extractOne(own, self._coded, scorer=Indel.normalized_similarity, score_cutoff=cutoff)
        similarity = _f_measure(own, found[0]) if found else 0.0
        return (found[2], similarity) if found and similarity >= self._threshold else None

    def add(self, text: str) -> None:
        """Add a text: its number is how many there were before."""
        self._coded.append(self._code(text))

    def similarity(self, left: str, right: str) -> float:
        """Return ROUGE-L of two texts."""
        return _f_measure(self._code(left), self._code(right))

    def _code(self, text: str) -> str:
        return "".join(map(self._point, _TOKEN.findall(text.lower())))

    def _point(self, token: str) -> str:
        first, skipped = _SURROGATES
        number = len(self._points)
        return self._points.setdefault(token, chr(number if number < first else number + skipped))


def _f_measure(left: str, right: str) -> float:
    from rapidfuzz.distance import LCSseq

    return 2 * LCSseq.similarity(left, right) / (len(left) + len(right)) if left and right else 0.0
