"""A scripted model: what it says is in the registry, and the same request always gets the same reply."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar

import orjson

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Client
from bezoar_core.records import Completion, Feature, FinishReason, Request, Usage
from bezoar_core.types import Json, NonEmptyStr

_HAS: frozenset[Feature] = frozenset({"choices", "prefill", "stop", "logprobs", "raw", "temperature", "top_p", "seed"})

_SLOT = re.compile(r"\{(last|hash)\}")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Replies with `reply` where the conversation contains `when`; of several rules for one text, one is drawn."""

    when: NonEmptyStr
    reply: str


@dataclass(frozen=True, kw_only=True)
class Echo:
    """Answers from a script, for rehearsals and tests.

    The first of `rules` that fits answers, else one of `replies`, drawn by a hash of the request. In both, `{last}` is
    the last message and `{hash}` eight characters that differ between requests. A request with `choices` gets the one
    the script names, else a drawn one, with scores. A token is a word.
    """

    name: ClassVar[str] = "echo"
    version: ClassVar[int] = 1
    local: ClassVar[bool] = False
    free: ClassVar[bool] = True

    rules: tuple[Rule, ...] = ()
    replies: tuple[str, ...] = ("{last}",)

    @property
    def supports(self) -> frozenset[Feature]:
        """Return every feature."""
        return _HAS

    def identity(self) -> Mapping[str, Json]:
        """Return the script."""
        return {"rules": [[rule.when, rule.reply] for rule in self.rules], "replies": list(self.replies)}

    async def complete(self, request: Request) -> Completion:
        """Return the scripted reply."""
        mark = _mark(request)
        text = self._script(request, mark)
        scores = _scores(request.choices, text, mark)
        finish: FinishReason = "stop"
        if scores:
            text = request.choices[scores.index(max(scores))]
        else:
            text, finish = _cut(text.removeprefix(request.prefill), request)
        prompt = sum(len(message.content.split()) for message in request.messages)
        usage = Usage(input_tokens=prompt, output_tokens=len(text.split()))
        return Completion(text=text, finish=finish, usage=usage, model="echo", scores=scores)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to free."""

    def _script(self, request: Request, mark: str) -> str:
        whole = "\n".join(message.content for message in request.messages)
        when = next((rule.when for rule in self.rules if rule.when in whole), None)
        said = self.replies if when is None else [rule.reply for rule in self.rules if rule.when == when]
        slots = {"last": request.messages[-1].content if request.messages else "", "hash": mark[:8]}
        reply = said[int(mark, 16) % len(said)] if said else ""
        return _SLOT.sub(lambda slot: slots[slot[1]], reply)  # in one pass: what fills a slot may hold braces


def _mark(request: Request) -> str:
    return hashlib.sha256(orjson.dumps(request)).hexdigest()


def _scores(choices: Sequence[str], scripted: str, mark: str) -> tuple[float, ...]:
    """Return the log-probabilities of `choices`: drawn, but the scripted one is the likeliest."""
    weights = [
        1000 if choice == scripted.strip() else 1 + hashlib.sha256(f"{mark}{choice}".encode()).digest()[0]
        for choice in choices
    ]
    return tuple(log(weight / sum(weights)) for weight in weights)


def _cut(text: str, request: Request) -> tuple[str, FinishReason]:
    """End the text at the first stop, or after `max_tokens` words."""
    stops = [place for stop in request.stop if (place := text.find(stop)) >= 0]
    if stops:
        text = text[: min(stops)]
    words = list(_WORD.finditer(text))
    most = request.sampling.max_tokens
    return (text, "stop") if len(words) <= most else (text[: words[most - 1].end()], "length")


@hookimpl
def bezoar_clients() -> Sequence[type[Client]]:
    """Register the client."""
    return [Echo]
