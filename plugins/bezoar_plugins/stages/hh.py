"""HH-RLHF's transcripts (arXiv 2204.05862): read turn by turn, or set aside with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bezoar_core.records import Message

_MARK = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Unusable:
    """A row that cannot be trained on: `reason` is a short stable word that is counted."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Pair:
    """Two answers to one dialogue, the first preferred."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def transcript(text: str) -> tuple[Message, ...] | Unusable:
    """Read one transcript that a human opens and the assistant closes; whitespace around a turn is not part of it."""
    before, *marked = _MARK.split(text)
    if before.strip() or not marked:
        return Unusable("not_a_transcript", "it does not open with `Human:` after a blank line")
    speakers, texts = marked[::2], [turn.strip() for turn in marked[1::2]]
    for number, speaker in enumerate(speakers):
        expected = "Assistant" if number % 2 else "Human"
        if speaker != expected:
            return Unusable("turns_do_not_alternate", f"turn {number + 1} is `{speaker}:`, not `{expected}:`")
    if speakers[-1] == "Human":
        return Unusable("no_answer", "it ends with a `Human:` turn")
    for number, turn in enumerate(texts):
        if not turn:
            last = number == len(texts) - 1
            return Unusable("empty_answer" if last else "empty_turn", f"turn {number + 1} says nothing")
    return tuple(
        Message("assistant" if speaker == "Assistant" else "user", turn)
        for speaker, turn in zip(speakers, texts, strict=True)
    )


def pair(chosen: str, rejected: str) -> Pair | Unusable:
    """Read a pair of transcripts that differ in their last answer alone."""
    better, worse = transcript(chosen), transcript(rejected)
    if isinstance(better, Unusable):
        return Unusable(better.reason, f"chosen: {better.detail}")
    if isinstance(worse, Unusable):
        return Unusable(worse.reason, f"rejected: {worse.detail}")
    if better[:-1] != worse[:-1]:
        return Unusable("different_prompts", "chosen and rejected do not share their dialogue up to the last answer")
    if better[-1] == worse[-1]:
        return Unusable("same_answers", "chosen and rejected are equal")
    return Pair(better[:-1], better[-1].content, worse[-1].content)
