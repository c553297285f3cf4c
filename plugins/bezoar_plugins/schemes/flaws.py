"""What makes a seed, a text or a reply unfit: each flaw a short stable word, the reason of a `Dropped` row."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from bezoar_core.prompts import Prompt
from bezoar_core.records import Completion
from bezoar_plugins.schemes.dolly import token_count

_WORD = re.compile(r"[^\W_]+")
_SLOT = re.compile(r"\{\{\w+\}\}")
_LEAK = 5


def words(text: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def gist(text: str) -> str:
    """Return what two texts share that differ in case, spacing and punctuation only."""
    return " ".join(words(text)) or " ".join(text.split())


def gist_hash(text: str) -> int:
    """Return 64 bits of the gist, the same in every process: what is kept of a text to know it again."""
    return int.from_bytes(hashlib.blake2b(gist(text).encode(), digest_size=8).digest(), "big")


def contains(text: str, part: str) -> bool:
    """Tell whether `part` stands in `text`, whatever the case, spacing and punctuation."""
    return f" {gist(part)} " in f" {gist(text)} "


def seed_flaw(text: str, most_tokens: int) -> str | None:
    """Return `empty_seed`, `seed_too_long` or None."""
    if not text:
        return "empty_seed"
    if len(text.encode()) <= most_tokens:  # no token is shorter than a byte: spares the count
        return None
    return "seed_too_long" if token_count(text) > most_tokens else None


def text_flaw(text: str, *, markers: Sequence[str], least: int, most: int) -> str | None:
    """Return `empty`, `marker`, `too_short`, `too_long` (in words) or None; markers are found in any case."""
    if not text:
        return "empty"
    if has_marker(text, markers):
        return "marker"
    length = len(words(text))
    if length < least:
        return "too_short"
    return "too_long" if length > most else None


def has_marker(text: str, markers: Sequence[str]) -> bool:
    """Tell whether one of `markers` occurs in `text`, in any case."""
    folded = text.casefold()
    return any(marker.casefold() in folded for marker in markers)


def leaks(text: str, prompt: Prompt) -> bool:
    """Tell whether five words in a row of `text` are the prompt's own, not of what filled its slots."""
    return not _runs(tuple(words(text))).isdisjoint(_own_runs(prompt))


@lru_cache
def _own_runs(prompt: Prompt) -> frozenset[tuple[str, ...]]:
    return frozenset().union(*(_runs(tuple(words(part))) for part in _SLOT.split(prompt.text)))


def _runs(listed: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(listed[at : at + _LEAK] for at in range(len(listed) - _LEAK + 1))


def refusal(reply: Completion) -> str | None:
    """Return `refused` (by the model), `filtered` (by its provider) or None: the text of either is no reply."""
    return reply.finish if reply.finish in ("refused", "filtered") else None


def reply_flaw(reply: Completion, *, keep_truncated: bool) -> str | None:
    """Return `refused`, `filtered`, `truncated`, `empty_response` or None."""
    if flaw := refusal(reply):
        return flaw
    if reply.finish == "length" and not keep_truncated:
        return "truncated"
    return None if reply.text.strip() else "empty_response"
