"""A model in the place of a person who accepts or rejects rows of training data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bezoar_core.errors import RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Judge
from bezoar_core.prompts import Prompt
from bezoar_core.records import (
    Completion,
    Failed,
    Feature,
    Item,
    Message,
    Refused,
    Sampling,
    Scored,
    Unparsed,
    Verdict,
)
from bezoar_core.types import Json, ModelRef, NonNegativeFloat, PositiveInt

VERDICT = Prompt("bezoar_plugins.judges", "prompts/human_proxy/verdict.txt")
CHOICE = Prompt("bezoar_plugins.judges", "prompts/human_proxy/choice.txt")
AGAIN = Prompt("bezoar_plugins.judges", "prompts/human_proxy/again.txt")
CHOICES = ("Accept", "Reject")

_BLOCK = re.compile(
    r"^\[(instruction|response) ([0-9a-f]{16})\]$.*?(?:^\[end of \1 \2\]$|\Z)", re.MULTILINE | re.DOTALL
)
_FENCE = re.compile(r"^(```|~~~).*?(?:^\1[^\S\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_STATUS_LINE = re.compile(r"\**status\**\s*:.*", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(r"\**status\**\s*:\**\s*\**(accept|reject)\**\.?", re.IGNORECASE | re.ASCII)
_RATING = re.compile(r"\**rating\**\s*:\**\s*\**(10|[1-9])(?:\s*/\s*10)?\**\.?", re.IGNORECASE | re.ASCII)
_REASON = re.compile(r"\**reason\**\s*:\**\s*(.*)", re.IGNORECASE | re.ASCII)
_DECLINED = re.compile(
    r"\W*(?:(?:i['\u2019]m |i am )?(?:very |so )?sorry\b"
    r"|(?:i can['\u2019]t|i cannot|i won['\u2019]t|(?:i['\u2019]m|i am) (?:unable|not able) to)"
    r" (?:answer|assess|assist|comply|do|evaluate|help|judge|provide|rate)\b)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class HumanVerdict:
    """Whether a row may be trained on; `rating` is 1 to 10, or None where the judge only chose."""

    accept: bool
    rating: int | None = None
    reason: str = ""

    @property
    def data(self) -> Mapping[str, Json]:
        """Return the verdict as JSON."""
        return {"status": CHOICES[not self.accept], "rating": self.rating, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class HumanProxy:
    """Ask for a status, a rating and a reason on fixed lines, and read the last verdict strictly.

    After OpenBezoar (arXiv 2404.12195), which asked GPT-4 for the same three and trained on what it accepted. Ours: the
    row stands between lines with a mark that depends on the row, so that no response can close its block, a verdict
    that the reply only quotes does not count, and one that cannot be read is asked for again.
    """

    name: ClassVar[str] = "human-proxy"
    version: ClassVar[int] = 2
    prompts: ClassVar[tuple[Prompt, ...]] = (VERDICT, CHOICE, AGAIN)

    model: ModelRef
    """Judges."""
    choices: bool = False
    """Only let it choose between Accept and Reject: no rating, no reason, and the scores of both are recorded."""
    temperature: NonNegativeFloat | None = 0.0
    """None leaves it to the provider."""
    max_tokens: PositiveInt = 256
    """For a verdict."""
    prefill: str = ""
    """Begins the verdict, for a judge that keeps no format by itself: `Status:`."""
    stop: tuple[str, ...] = ()
    """Ends the verdict."""
    tries: PositiveInt = 3
    """How often to ask at most. A reply without a readable verdict is answered with what is wrong with it; after the
    last try the row counts as not judged, never as accepted."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the model's client must have."""
        if self.choices:
            return {self.model: frozenset({"choices"})}
        used: tuple[tuple[Feature, bool], ...] = (("prefill", bool(self.prefill)), ("stop", bool(self.stop)))
        return {self.model: frozenset(feature for feature, on in used if on)}

    async def judge(self, item: Item, ask: Ask) -> Verdict:
        """Return the verdict on `instruction` (after `system`, where there is one) and `response`."""
        system, instruction = item.fields.get("system", ""), item.fields["instruction"]
        shown = f"{system}\n\n{instruction}" if system else instruction
        response = item.fields["response"]
        prompt = CHOICE if self.choices else VERDICT
        text = prompt.fill(nonce=nonce(shown, response), instruction=shown, response=response)
        talk = [Message("user", text)]
        for left in reversed(range(self.tries)):
            try:
                reply = await self._ask(talk, ask)
            except RequestFailed as error:
                return Failed(kind=error.kind, message=str(error))
            verdict = self._read(reply, response)
            if not isinstance(verdict, Unparsed) or not left:
                break
            # a provider may refuse a turn without text
            said = verdict.reply.strip() or "(nothing)"
            talk += [Message("assistant", said), Message("user", AGAIN.fill(complaint=verdict.complaint))]
        return verdict

    async def _ask(self, talk: Sequence[Message], ask: Ask) -> Completion:
        return await ask(
            self.model,
            talk,
            sampling=Sampling(max_tokens=self.max_tokens, temperature=self.temperature),
            stop=() if self.choices else self.stop,
            prefill="" if self.choices else self.prefill,
            choices=CHOICES if self.choices else (),
        )

    def _read(self, reply: Completion, answer: str) -> Scored | Unparsed | Refused:
        if reply.finish in ("refused", "filtered"):
            return Refused(reply=reply.text)
        if self.choices:
            return _chosen(reply)
        return read(self.prefill + reply.text, answer=answer, whole=reply.finish != "length")


def nonce(instruction: str, response: str) -> str:
    """Return the mark of a row: 16 hex digits that no text can hold of itself, the same in every run."""
    content = json.dumps([HumanProxy.name, instruction, response])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read(reply: str, *, answer: str = "", whole: bool = True) -> Scored | Unparsed | Refused:
    """Return the last verdict of a reply: a status line, right after it a rating line, then a reason if there is one.

    What is only quoted does not count: lines behind `>`, code fences, the prompt's marked blocks, and verdicts that
    stand in `answer`. The last line of a reply that is not `whole` was cut off: it counts only if it is the reason. A
    reply without a status that opens with an apology, or with "I cannot judge" or the like, is a refusal.
    """
    lines = [line.strip() for line in _FENCE.sub("", _BLOCK.sub("", reply)).split("\n") if line.strip()]
    if not (whole or reply.endswith("\n")) and lines and not _REASON.fullmatch(lines[-1]):
        lines.pop()
    for place in reversed(range(len(lines))):
        if _STATUS_LINE.fullmatch(lines[place]) and not _stands_in(answer, lines[place:]):
            return _verdict(reply, lines[place : place + 3])
    if _DECLINED.match(reply):
        return Refused(reply=reply)
    return Unparsed(reply=reply, complaint="no line with a status")


def _stands_in(answer: str, lines: Sequence[str]) -> bool:
    """Tell whether the verdict that `lines` begin with, as far as it goes, is a quotation from `answer`."""
    length = 1
    for pattern in (_RATING, _REASON):
        if length < len(lines) and pattern.fullmatch(lines[length]):
            length += 1
    return " ".join(" ".join(lines[:length]).split()) in " ".join(answer.split())


def _verdict(reply: str, lines: Sequence[str]) -> Scored | Unparsed:
    status = _STATUS.fullmatch(lines[0])
    if status is None:
        return Unparsed(reply=reply, complaint="the last status is neither Accept nor Reject")
    rating = _RATING.fullmatch(lines[1]) if len(lines) > 1 else None
    if rating is None:
        return Unparsed(reply=reply, complaint="no whole rating from 1 to 10 right after the last status")
    reason = _REASON.fullmatch(lines[2]) if len(lines) > 2 else None
    value = HumanVerdict(
        accept=status[1].casefold() == "accept", rating=int(rating[1]), reason=reason[1] if reason else ""
    )
    return Scored(value=value, data=value.data, reply=reply)


def _chosen(reply: Completion) -> Scored | Unparsed:
    text = reply.text.strip()
    if text not in CHOICES:
        return Unparsed(reply=reply.text, complaint="neither Accept nor Reject")
    value = HumanVerdict(accept=text == "Accept")
    data: dict[str, Json] = {**value.data, "scores": list(reply.scores)}
    return Scored(value=value, data=data, reply=reply.text)


@hookimpl
def bezoar_judges() -> Sequence[type[Judge]]:
    """Return the human proxy."""
    return [HumanProxy]
