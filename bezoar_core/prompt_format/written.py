"""The formats that are written out here: what differs between them is data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from bezoar_core.prompt_format.segments import Segment, turns
from bezoar_core.records import Message

DEFAULT_SYSTEM = (
    "You are given an instruction that states a task, in some cases together with an input the task is about. "
    "Reply with a response that carries the task out."
)
"""The system text of a conversation that brings none, or an empty one."""


def _jinja(name: str) -> str:
    text = files(__package__).joinpath(f"templates/{name}.jinja").read_text(encoding="utf-8")
    return f"{{%- set default_system = {json.dumps(DEFAULT_SYSTEM)} -%}}\n{text.rstrip()}"


@dataclass(frozen=True, kw_only=True)
class TurnFormat:
    """A format that goes on turn by turn: `first` opens with a system text, `later` is every other prompt.

    `first` and `later` have the slots `{system}` and `{user}`; `closing` ends an assistant turn in the text itself.
    """

    name: str
    first: str
    later: str
    stops: tuple[str, ...]
    opening: str = ""
    closing: str = ""
    default_system: str = ""

    @property
    def closed(self) -> bool:
        """Return whether the text ends its answers itself."""
        return bool(self.closing)

    @property
    def bos(self) -> bool:
        """Return whether a tokenizer's BOS comes first."""
        return not self.closing

    def segments(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return a prompt segment and an assistant segment a turn."""
        given, pairs = turns(messages)
        system = given or self.default_system
        made: list[Segment] = []
        for number, (user, answer) in enumerate(pairs):
            pattern = self.first if system and number == 0 else self.later
            made.append(Segment(pattern.format(system=system, user=user), False))
            if answer is not None:
                made.append(Segment(self.opening + answer + self.closing, True))
        return tuple(made)

    def template(self) -> str:
        """Return the same as a Jinja chat template."""
        return _jinja(self.name)


@dataclass(frozen=True, kw_only=True)
class DialogueFormat:
    """The dialogue as one context: earlier answers are part of the prompt, the last one is the response.

    The form in which OpenBezoar's authors put MT-Bench's two turns to their models (arXiv 2404.12195).
    """

    name: str = "openbezoar-dialogue"
    stops: tuple[str, ...] = ("\n\n### System:", "\n\n### Context:", "\nHuman:")
    opening: str = ""
    closed: bool = False
    bos: bool = True

    def segments(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return one prompt segment with the whole dialogue, and the response where there is one."""
        system, pairs = turns(messages)
        lines: list[str] = []
        for number, (user, answer) in enumerate(pairs, start=1):
            lines.append(f"Human: {user}")
            if answer is not None and number < len(pairs):
                lines.append(f"Assistant: {answer}")
        context = "\n".join(lines)
        prompt = f"### System:\n{system or DEFAULT_SYSTEM}\n\n### Context:\n{context}\n\n### Response:"
        response = pairs[-1][1]
        return (Segment(prompt, False), *([] if response is None else [Segment(response, True)]))

    def template(self) -> str:
        """Return the same as a Jinja chat template."""
        return _jinja(self.name)


WRITTEN: tuple[TurnFormat | DialogueFormat, ...] = (
    # OpenBezoar's modified Alpaca prompt (arXiv 2404.12195); one System, then Instruction and Response repeat
    TurnFormat(
        name="openbezoar",
        first="### System:\n{system}\n\n### Instruction:\n{user}\n\n### Response:",
        later="\n\n### Instruction:\n{user}\n\n### Response:",
        stops=("\n\n### System:", "\n\n### Instruction:"),
        default_system=DEFAULT_SYSTEM,
    ),
    # the transcripts of HH-RLHF as they are released (arXiv 2204.05862)
    TurnFormat(
        name="hh",
        first="{system}\n\nHuman: {user}\n\nAssistant:",
        later="\n\nHuman: {user}\n\nAssistant:",
        opening=" ",
        stops=("\n\nHuman:", "\n\nAssistant:"),
    ),
    DialogueFormat(),
    # h2oGPT's Falcon models: special tokens are part of the text
    TurnFormat(
        name="falcon-h2o",
        first="<|prompt|>{system}\n\n{user}<|endoftext|><|answer|>",
        later="<|prompt|>{user}<|endoftext|><|answer|>",
        closing="<|endoftext|>",
        stops=("<|endoftext|>", "<|prompt|>"),
    ),
)
