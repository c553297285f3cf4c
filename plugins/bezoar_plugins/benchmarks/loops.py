"""Whether an answer ends in a loop: a model that says the same again until it is stopped."""

from __future__ import annotations

LONGEST = 200
"""Characters of a stretch that may repeat."""
TIMES = 4
LEAST = 240
"""Characters that the repeats take up together."""


def loops(text: str) -> bool:
    """Return whether the text ends in one stretch, `TIMES` times or more and to the very end; a last one may be cut."""
    body = text.rstrip()
    for period in range(1, LONGEST + 1):
        length = max(TIMES * period, LEAST)
        if len(body) < length:
            return False
        tail = body[-length:]
        if tail[period:] == tail[:-period]:
            return True
    return False
