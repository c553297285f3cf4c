"""Segments to token ids, and to text for servers that take raw prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bezoar_core.errors import BezoarError
from bezoar_core.prompt_format.segments import PromptFormat, Segment
from bezoar_core.records import Message


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    bos_token: str | None
    bos_token_id: int | None
    eos_token: str | None
    eos_token_id: int | None
    chat_template: str | dict[str, str] | None
    all_special_tokens: list[str]

    def __call__(self, text: str, *, add_special_tokens: bool = ...) -> Mapping[str, list[int]]:
        """Return `input_ids` of `text`."""
        ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> object:
        """Return the rendered conversation."""
        ...


@dataclass(frozen=True)
class Encoded:
    """Token ids, and for each whether it is the assistant's (its EOS included)."""

    ids: list[int]
    assistant: list[bool]


def encode(format: PromptFormat, messages: Sequence[Message], tokenizer: Tokenizer, prefill: str = "") -> Encoded:
    """Return the ids of a conversation, each segment tokenised by itself.

    BOS comes first where the tokenizer adds it by itself, EOS after each assistant turn, unless the format says
    otherwise. `prefill` begins the answer after an open prompt.
    """
    ids: list[int] = []
    assistant: list[bool] = []
    segments = format.segments(messages)
    lead = tokenizer.bos_token or "" if format.bos and adds_bos(tokenizer) else ""
    for number, segment in enumerate(segments):
        # BOS goes in as text, as a chat template writes it: some tokenizers read a word after BOS unlike a first word
        text = lead + segment.text if number == 0 else segment.text
        piece = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if segment.assistant and not format.closed:
            piece.append(_eos(tokenizer))
        ids += piece
        assistant += [segment.assistant] * len(piece)
    if prefill:
        piece = list(tokenizer(_begun(format, segments, prefill), add_special_tokens=False)["input_ids"])
        ids += piece
        assistant += [True] * len(piece)
    return Encoded(ids, assistant)


def render(format: PromptFormat, messages: Sequence[Message], prefill: str = "", eos: str = "") -> str:
    """Return the conversation as one text, with `eos` after each assistant turn where the format's text has none."""
    segments = format.segments(messages)
    closing = "" if format.closed else eos
    text = "".join(segment.text + (closing if segment.assistant else "") for segment in segments)
    return text + (_begun(format, segments, prefill) if prefill else "")


def packaged_template(format: PromptFormat, tokenizer: Tokenizer) -> str:
    """Return the chat template to save beside `tokenizer`: it renders the text whose ids `encode` gives."""
    bos = "{{- bos_token -}}\n" if format.bos and adds_bos(tokenizer) else ""
    return bos + format.template()


def adds_bos(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer puts BOS before a text by itself."""
    if tokenizer.bos_token_id is None:
        return False
    return list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]


def _begun(format: PromptFormat, segments: Sequence[Segment], prefill: str) -> str:
    if segments[-1].assistant:
        raise BezoarError("`prefill` begins an answer, but the conversation ends with one")
    return format.opening + prefill


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise BezoarError(
            "the tokenizer has no EOS token, so no answer could end", tip="give its folder an `eos_token`"
        )
    return tokenizer.eos_token_id
