"""Text that is not ours, made harmless to show: what cannot be seen is spelt out."""

from __future__ import annotations

import unicodedata

_FORMATTING = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\ufeff")
_TAGS = range(0xE0000, 0xE0080)
"""Letters that no font shows: a way to hide a text in another."""


def visible(text: str) -> str:
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
