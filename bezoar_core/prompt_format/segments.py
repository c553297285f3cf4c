"""What a prompt format is: a way to render a conversation to segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bezoar_core.errors import BezoarError
from bezoar_core.records import Message


@dataclass(frozen=True)
class Segment:
    """A stretch of text that is tokenised by itself; `assistant` says who wrote it."""

    text: str
    assistant: bool


class PromptFormat(Protocol):
    """A way to render a conversation.

    `stops` are texts that end a reply beside EOS. `opening` is what stands between the prompt and the first character
    of an answer: it belongs to the assistant's segment, so a reply begins with it and a client takes it off. `closed`
    says that the text ends its answers itself: no EOS is added to it. `bos` says that a tokenizer which puts BOS before
    a text does so here.
    """

    @property
    def name(self) -> str:
        """Return the name used in the registry."""
        ...

    @property
    def stops(self) -> tuple[str, ...]:
        """Return the texts that end a reply."""
        ...

    @property
    def opening(self) -> str:
        """Return what comes before the first character of an answer."""
        ...

    @property
    def closed(self) -> bool:
        """Return whether the text ends its answers itself."""
        ...

    @property
    def bos(self) -> bool:
        """Return whether a tokenizer's BOS comes first."""
        ...

    def segments(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return the conversation's segments; one that ends in a user turn ends with an open prompt segment."""
        ...

    def template(self) -> str:
        """Return the same as a Jinja chat template in transformers' dialect."""
        ...


def turns(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str | None]]]:
    """Return the system text and the (user, assistant) pairs; the last answer is None where it is still to come."""
    rest = list(messages)
    system = rest.pop(0).content if rest and rest[0].role == "system" else ""
    if not rest:
        raise BezoarError("the conversation has no user turn", tip="give at least one `user` message")
    for number, message in enumerate(rest):
        wanted = "assistant" if number % 2 else "user"
        if message.role != wanted:
            place = len(messages) - len(rest) + number + 1
            raise BezoarError(
                f"message {place} is a `{message.role}` turn where a `{wanted}` turn belongs",
                tip="one `system` turn may come first, then `user` and `assistant` alternate",
            )
    answers = [message.content for message in rest[1::2]]
    users = [message.content for message in rest[::2]]
    pending: list[str | None] = [*answers] if len(answers) == len(users) else [*answers, None]
    return system, list(zip(users, pending, strict=True))
