"""The tokenizer's own chat template, cut into segments by rendering prefixes of the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bezoar_core.errors import BezoarError
from bezoar_core.prompt_format.segments import Segment
from bezoar_core.records import Message

if TYPE_CHECKING:
    from bezoar_core.prompt_format.encoding import Tokenizer

_TIP = "name another prompt format with `format:` (`openbezoar`, `hh`, ...)"
_LARGEST = 200_000


@dataclass(frozen=True)
class ChatFormat:
    """The model's own template: segments are what each turn adds to the text rendered so far."""

    tokenizer: Tokenizer
    stops: tuple[str, ...]
    name: str = "chat"
    opening: str = ""
    closed: bool = True
    bos: bool = False

    def segments(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return the segments; their joined text is what the template renders."""
        if not messages:
            raise BezoarError("the conversation has no user turn", tip="give at least one `user` message")
        return _split(self.tokenizer, messages)

    def template(self) -> str:
        """Return the tokenizer's template as it is."""
        return _template(self.tokenizer)


def chat_format(tokenizer: Tokenizer) -> ChatFormat:
    """Return the tokenizer's own format; raise where it has no template or one that cannot be split."""
    if len(_template(tokenizer)) > _LARGEST:
        raise BezoarError(f"the tokenizer's chat template is longer than {_LARGEST} characters", tip=_TIP)
    answer = _split(tokenizer, [Message("user", "question"), Message("assistant", "answer")])[1]
    return ChatFormat(tokenizer, stops=(answer.text.removeprefix("answer").strip(),))


def _template(tokenizer: Tokenizer) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise BezoarError("the tokenizer has no chat template", tip=_TIP)
    return template


def _split(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[Segment, ...]:
    whole = _rendered(tokenizer, messages, prompt=messages[-1].role == "user")
    made: list[Segment] = []
    done = 0
    for number, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = _rendered(tokenizer, messages[:number], prompt=True)
        after = _rendered(tokenizer, messages[: number + 1], prompt=False)
        if not after.startswith(before) or not whole.startswith(after):
            raise BezoarError(
                "the tokenizer's chat template renders a turn differently when others follow it", tip=_TIP
            )
        end = len(before) + _turn_length(tokenizer, after[len(before) :], message.content)
        made += [Segment(whole[done : len(before)], False), Segment(whole[len(before) : end], True)]
        done = end
    if done < len(whole):
        made.append(Segment(whole[done:], False))
    return tuple(made)


def _turn_length(tokenizer: Tokenizer, added: str, content: str) -> int:
    """Return how much of `added` is the assistant's: the answer up to and with the special token that ends the turn."""
    body = next((text for text in (content, content.strip()) if added.startswith(text)), None)
    if body is None:
        raise BezoarError("the tokenizer's chat template does not render an answer as it is", tip=_TIP)
    ends = [
        place + len(token)
        for token in tokenizer.all_special_tokens
        if (place := added.find(token, len(body))) >= 0 and not added[len(body) : place].strip()
    ]
    if not ends:
        raise BezoarError("the tokenizer's chat template ends an answer with no special token", tip=_TIP)
    return min(ends)


def _rendered(tokenizer: Tokenizer, messages: Sequence[Message], *, prompt: bool) -> str:
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except TemplateError as error:
        raise BezoarError(f"the tokenizer's chat template refuses the conversation: {error}", tip=_TIP) from error
    return str(text)
