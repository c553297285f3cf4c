"""A row of whichever scheme as the conversation it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from bezoar_core.errors import DataError
from bezoar_core.records import Message, Role, Row
from bezoar_core.types import Json
from bezoar_plugins.stages.hh import Unusable, transcript

SHAPES: tuple[tuple[str, ...], ...] = (
    ("messages",),
    ("instruction", "response"),
    ("inputs", "explained_targets"),
    ("chosen",),
)
"""The columns a row is recognised by, in this order."""

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")


def conversation(row: Row, where: str) -> tuple[Message, ...] | Unusable:
    """Return a row's conversation, which ends with an answer; its texts are taken as they are.

    `messages` (role and content), `instruction` and `response` (with `system`, and `context` after a blank line, where
    the row has them), `inputs` and `explained_targets` (with `system_message`), or `chosen` as an HH transcript.
    Raises `DataError` at `where` for a row of another shape.
    """
    shape = next((columns for columns in SHAPES if all(row.get(column) is not None for column in columns)), None)
    if shape is None:
        known = "; ".join(" and ".join(f"`{column}`" for column in columns) for columns in SHAPES)
        has = ", ".join(f"`{column}`" for column in row)
        raise DataError(f"row is no conversation: it has the columns {has}", where=where, tip=f"wanted: {known}")
    if shape == ("messages",):
        return _messages(row["messages"], where)
    if shape == ("chosen",):
        return transcript(_text(row, "chosen", where))
    if shape == ("instruction", "response"):
        system, prompt = _text(row, "system", where), _text(row, "instruction", where)
        context = _text(row, "context", where)
        prompt = f"{prompt}\n\n{context}" if prompt.strip() and context.strip() else prompt
        return _exchange(system, prompt, _text(row, "response", where))
    system, prompt = _text(row, "system_message", where), _text(row, "inputs", where)
    return _exchange(system, prompt, _text(row, "explained_targets", where))


def _exchange(system: str, prompt: str, answer: str) -> tuple[Message, ...] | Unusable:
    if not prompt.strip():
        return Unusable("empty_prompt")
    if not answer.strip():
        return Unusable("empty_answer")
    opening = (Message("system", system),) if system.strip() else ()
    return (*opening, Message("user", prompt), Message("assistant", answer))


def _messages(turns: Json, where: str) -> tuple[Message, ...] | Unusable:
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise DataError("`messages` is no list", where=where, tip='write [{"role": "user", "content": "..."}, ...]')
    made = tuple(_message(turn, where) for turn in turns)
    spoken = made[1:] if made and made[0].role == "system" else made
    for number, message in enumerate(spoken):
        if message.role != ("assistant" if number % 2 else "user"):
            return Unusable("turns_do_not_alternate", f"turn {number + 1} is of `{message.role}`")
        if not message.content.strip():
            last = number == len(spoken) - 1
            return Unusable("empty_answer" if last and number % 2 else "empty_turn", f"turn {number + 1} says nothing")
    if not spoken or spoken[-1].role != "assistant":
        return Unusable("no_answer", "it does not end with an `assistant` turn")
    return made


def _message(turn: Json, where: str) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    for known in _ROLES:
        if role == known and isinstance(content, str):
            return Message(known, content)
    raise DataError(
        "a message has no `role` of `system`, `user` or `assistant`, or no text as `content`",
        where=where,
        tip='write {"role": "user", "content": "..."}',
    )


def _text(row: Row, column: str, where: str) -> str:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise DataError(f"column `{column}` is `{type(value).__name__}`, not text", where=where)
    return value or ""
