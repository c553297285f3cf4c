"""Text that is not ours, made fit for a report: what cannot be seen is spelt out, and what is too long is cut."""

from __future__ import annotations

from bezoar_core.visible import visible

LONGEST = 4000
"""Characters of one text that a report shows."""


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most `longest` characters, made visible; one that is longer ends with how long it was."""
    if len(text) <= longest:
        return visible(text)
    return f"{visible(text[:longest])} … [cut: {len(text):,} characters in all]"
