"""Rows as stages see them: what is prompt, what is target, what is learned and what is cut off."""

from __future__ import annotations

from collections.abc import Sequence

from bezoar_core.errors import DataError
from bezoar_core.prompt_format import PromptFormat, Tokenizer, encode
from bezoar_core.records import Message, Row, Seen
from bezoar_plugins.stages.answers import parted
from bezoar_plugins.stages.conversations import conversation
from bezoar_plugins.stages.hh import Unusable, pair


def seen_conversation(
    row: Row, where: str, format: PromptFormat, tokenizer: Tokenizer, *, whole: bool, length: int
) -> list[Seen]:
    """Return a conversation, of which the `whole` text is learned or the answers alone, cut to `length` tokens."""
    turns = conversation(row, where)
    if isinstance(turns, Unusable):
        raise _dropped(turns, where)
    encoded = encode(format, turns, tokenizer)
    learned = [True] * len(encoded.ids) if whole else encoded.assistant
    return [Seen(ids=encoded.ids, target=encoded.assistant, learned=learned, kept=length)]


def seen_pair(row: Row, where: str, format: PromptFormat, tokenizer: Tokenizer, *, length: int) -> list[Seen]:
    """Return chosen and rejected, each as `seen_answer` does."""
    read = pair(str(row.get("chosen")), str(row.get("rejected")))
    if isinstance(read, Unusable):
        raise _dropped(read, where)
    answers = (("chosen", read.chosen), ("rejected", read.rejected))
    return [
        seen_answer((*read.prompt, Message("assistant", answer)), format, tokenizer, length=length, title=title)
        for title, answer in answers
    ]


def seen_answer(
    turns: Sequence[Message], format: PromptFormat, tokenizer: Tokenizer, *, length: int, title: str
) -> Seen:
    """Return a conversation of which the last answer is target and learned, cut to `length` tokens."""
    found = parted(encode(format, turns, tokenizer)).example
    return Seen(ids=found.ids, target=found.learned, learned=found.learned, kept=length, title=title)


def _dropped(why: Unusable, where: str) -> DataError:
    return DataError(f"the row is dropped: {why.reason}" + (f", {why.detail}" if why.detail else ""), where=where)
