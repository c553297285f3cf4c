"""Text that is not ours, made harmless to show: what cannot be seen is spelt out, and what is too long is cut."""

from __future__ import annotations

import unicodedata

LONGEST = 4000
"""Characters of one text that a report shows."""

_FORMATTING = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\ufeff")
_TAGS = range(0xE0000, 0xE0080)
"""Letters that no font shows: a way to hide a text in another."""


def clean(text: str) -> str:
    """Return a text in which control characters, and those that turn its direction, are spelt out as `[U+202E]`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    turning = category == "Cf" and unicodedata.bidirectional(character) not in {"BN", "AL", "AN"}
    if category in {"Cc", "Cs"} or character in _FORMATTING or turning or ord(character) in _TAGS:
        return f"[U+{ord(character):04X}]"
    return character


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a cleaned text of at most `longest` characters; one that is longer ends with how long it was."""
    if len(text) <= longest:
        return clean(text)
    return f"{clean(text[:longest])} … [cut: {len(text):,} characters in all]"
