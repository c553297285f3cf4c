"""Evol-Instruct: seeds rewritten round by round into harder or rarer instructions, each with an answer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Literal

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Scheme, Want
from bezoar_core.prompts import Prompt
from bezoar_core.records import REQUEST_FAILED, Completion, Dropped, Feature, Forecast, Kept, Message, Row, Sampling
from bezoar_core.types import DatasetRef, Fraction, ModelRef, NonNegativeFloat, NonNegativeInt, PositiveInt
from bezoar_plugins.schemes.dolly import cell, dolly_text
from bezoar_plugins.schemes.features import features
from bezoar_plugins.schemes.flaws import (
    contains,
    gist_hash,
    has_marker,
    leaks,
    refusal,
    reply_flaw,
    seed_flaw,
    text_flaw,
    words,
)
from bezoar_plugins.schemes.stop_words import is_contentless
from bezoar_plugins.schemes.tagged import tagged

Operation = Literal["add_constraints", "deepen", "concretise", "increase_reasoning", "complicate_input"]

PROMPTS = {
    name: Prompt("bezoar_plugins.schemes", f"prompts/evol_instruct/{name}.txt")
    for name in ("add_constraints", "deepen", "concretise", "increase_reasoning", "complicate_input", "breadth")
}
EQUALITY = Prompt("bezoar_plugins.schemes", "prompts/evol_instruct/equality.txt")

_NOT_EQUAL = re.compile(r"\bunequal\b|(?:\bnot|n't)(?:\s+\w+)?\s+equal\b", re.IGNORECASE)
_EQUAL = re.compile(r"\bequal\b", re.IGNORECASE)
_PROMPT_TOKENS = 150
_APOLOGY_WORDS = 80
_TAGS = ("<prompt>", "</prompt>")


@dataclass(frozen=True, slots=True)
class _Member:
    """One item of the pool: the seed's number, its category, the text as evolved so far and the round that made it."""

    number: int
    category: str
    text: str
    epoch: int = 0


@dataclass(frozen=True)
class _Evolution:
    """What is to be done to a member in a round; `operation` is empty in breadth."""

    member: _Member
    epoch: int
    operation: str

    def row(self, instruction: str = "", response: str = "") -> Row:
        """Return the row it makes."""
        return {
            "instruction": instruction,
            "response": response,
            "category": self.member.category,
            "evolution_strategy": "in-depth" if self.operation else "in-breadth",
            "in-depth-evolving_operation": self.operation,
            "epoch": self.epoch,
            "seed_index": self.member.number,
            "parent_epoch": self.member.epoch,
        }


@dataclass(frozen=True, kw_only=True)
class EvolInstruct:
    """Evolve every member of the pool once a round, test the new instruction, and ask for an answer.

    After WizardLM (arXiv 2304.12244), as OpenBezoar (arXiv 2404.12195) runs it over dolly: the context follows the
    instruction after a blank line, seeds are capped at 1,024 tokens, strategy and operation are drawn once per category
    and round, and the question whether a prompt gained anything is asked again where the reply cannot be read. An item
    that fails stays in the pool unchanged. WizardLM draws evenly from five operations in depth and one in breadth, for
    each item anew (`draw: item`): `breadth_share` is that sixth, and `complicate_input`, which OpenBezoar leaves out,
    can be named. Ours: the new prompt comes between tags, and duplicates, overlong and truncated texts are dropped. A
    member waits for its own rounds only; that another got to the same text drops its row but does not hold it back.

    A row's lineage: `seed_index` is the seed's number, from 0; `epoch` the round; `parent_epoch` the round whose text
    was evolved, 0 for the seed itself.
    """

    name: ClassVar[str] = "evol-instruct"
    version: ClassVar[int] = 2
    prompts: ClassVar[tuple[Prompt, ...]] = (*PROMPTS.values(), EQUALITY)
    columns: ClassVar[frozenset[str]] = frozenset({"instruction", "context", "category"})

    teacher: ModelRef
    """Evolves and answers."""
    seeds: DatasetRef | tuple[DatasetRef, ...]
    """Rows in dolly's schema."""
    count: PositiveInt
    """How many rows to make."""
    rounds: PositiveInt = 4
    """How often the pool is gone through."""
    per_category: PositiveInt | None = None
    """Seeds drawn from each category; all of them where none is given."""
    operations: tuple[Operation, ...] = ("add_constraints", "deepen", "concretise", "increase_reasoning")
    """What evolving in depth may do."""
    breadth_share: Fraction = 1 / 6
    """How often is evolved in breadth; in depth else."""
    draw: Literal["category", "item"] = "category"
    """What strategy and operation are drawn for in a round: each category (OpenBezoar), or each item (WizardLM)."""
    max_tasks: PositiveInt | None = None
    """At most so many evolutions; every member in every round where none is given."""
    seed_tokens: PositiveInt = 1024
    """Longer seeds are dropped; tokens are estimated (`dolly.token_count`)."""
    min_words: NonNegativeInt = 3
    """Shorter instructions are dropped."""
    max_words: PositiveInt = 1000
    """Longer instructions are dropped."""
    markers: tuple[str, ...] = ("given prompt", "rewritten prompt", "new prompt", "harder version")
    """Words of our own prompts: an instruction that contains one, in any case, where its seed does not, is dropped."""
    temperature: NonNegativeFloat | None = 1.0
    """For evolving; none leaves it to the provider."""
    top_p: Fraction | None = None
    """For evolving and answering; none leaves it to the provider."""
    max_tokens: PositiveInt = 2048
    """For an evolved instruction."""
    prefill: str = ""
    """Begins the evolved instruction, for a teacher that keeps no format by itself: `<prompt>`."""
    stop: tuple[str, ...] = ()
    """Ends the evolved instruction: `</prompt>`."""
    equality: ModelRef | None = None
    """Says whether an evolved prompt is equal to the one before; the teacher where none is given."""
    equality_tries: PositiveInt = 6
    """So often is it asked until the reply can be read; then the item is rejected."""
    equality_temperature: NonNegativeFloat | None = 0.7
    """For that question; above 0, since asking again is in vain otherwise."""
    equality_tokens: PositiveInt = 16
    """For the reply to that question."""
    equality_prefill: str = ""
    """Begins the reply to that question."""
    answer_temperature: NonNegativeFloat | None = 0.0
    """For answers; none leaves it to the provider."""
    answer_tokens: PositiveInt = 2048
    """For an answer."""
    answer_stop: tuple[str, ...] = ()
    """Ends an answer, which is then whole: a blank line makes a rambling teacher brief."""
    keep_truncated: bool = False
    """Keep answers that ran out of tokens."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the clients must have."""
        needed = {self.teacher: features(self.prefill, self.stop, self.answer_stop)}
        referee = self.equality or self.teacher
        return needed | {referee: needed.get(referee, frozenset()) | features(self.equality_prefill)}

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return what it takes if every evolution is fit, and if every one of them is tried and answered."""
        if rows is None and self.max_tasks is None:
            return None
        every = self.rounds * rows if rows is not None else self.max_tasks
        most = min(every or 0, self.max_tasks or every or 0)
        least = min(self.count, most)
        text = self.seed_tokens + 2 * self.max_words
        return Forecast(
            requests=(3 * least, (2 + self.equality_tries) * most),
            input_tokens=(least * _PROMPT_TOKENS, most * (2 + self.equality_tries) * (_PROMPT_TOKENS + text)),
            output_tokens=(
                3 * least,
                most * (self.max_tokens + self.equality_tries * self.equality_tokens + self.answer_tokens),
            ),
        )

    async def generate(self, seeds: Iterable[Row], ask: Ask, draw: Draw, want: Want) -> AsyncIterator[Kept | Dropped]:
        """Yield unfit seeds, then one outcome a member and round."""
        import asyncio  # late: `bezoar --help` has no use for it

        members: list[_Member] = []
        for number, row in enumerate(seeds):
            text = dolly_text(row)
            if flaw := seed_flaw(text, self.seed_tokens):
                yield Dropped(row, flaw)
            else:
                members.append(_Member(number, cell(row, "category"), text))
        if not members:
            raise BezoarError("no seed can be used", tip="`seed_tokens` may be too low, or every instruction empty")
        pool = self._pool(members, draw)
        known = {gist_hash(member.text) for member in pool}
        seeded = frozenset(known)
        turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

        async def evolve(place_and_epoch: tuple[int, int]) -> Kept | Dropped:
            """Evolve a member after its earlier rounds: a lock is given in the order it was asked for."""
            place, epoch = place_and_epoch
            async with turns[place]:
                one = _Evolution(pool[place], epoch, self._operation(pool[place], epoch, draw))
                try:
                    outcome = await self._evolve(ask, draw, one, seeded)
                except RequestFailed as error:
                    return Dropped(one.row(), REQUEST_FAILED, str(error))
                if isinstance(outcome, Kept):
                    pool[place] = replace(one.member, text=str(outcome.row["instruction"]), epoch=epoch)
                return outcome

        every = ((place, epoch) for epoch in range(1, self.rounds + 1) for place in range(len(pool)))
        async for outcome in in_order(evolve, islice(every, self.max_tasks), want):
            if isinstance(outcome, Kept):
                key = gist_hash(str(outcome.row["instruction"]))
                if key in known:
                    outcome = Dropped(outcome.row, "duplicate")
                known.add(key)
            yield outcome

    def _pool(self, members: Sequence[_Member], draw: Draw) -> list[_Member]:
        """Return the members that take part, the categories by turns, so that a scheme that stops early has of each."""
        groups: dict[str, list[_Member]] = {}
        for member in members:
            groups.setdefault(member.category, []).append(member)
        for category, group in groups.items():
            draw("pool", category).shuffle(group)
        turns = [(turn, group[turn]) for group in groups.values() for turn in range(len(group[: self.per_category]))]
        return [member for _, member in sorted(turns, key=lambda pair: pair[0])]

    def _operation(self, member: _Member, epoch: int, draw: Draw) -> str:
        dice = draw("operation", member.number if self.draw == "item" else member.category, epoch)
        return "" if not self.operations or dice.random() < self.breadth_share else dice.choice(self.operations)

    async def _evolve(self, ask: Ask, draw: Draw, one: _Evolution, seeded: frozenset[int]) -> Kept | Dropped:
        reply = await ask(
            self.teacher,
            [Message("user", PROMPTS[one.operation or "breadth"].fill(instruction=one.member.text))],
            sampling=Sampling(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=draw("evolve", one.member.number, one.epoch).getrandbits(31),
            ),
            stop=self.stop,
            prefill=self.prefill,
            sample=one.epoch,
        )
        text, flaw = self._read(one, reply)
        if flaw is None and gist_hash(text) in seeded:
            flaw = "duplicate"
        flaw = flaw or await self._gain_flaw(ask, draw, one, text)
        if flaw:
            return Dropped(one.row(text), flaw)
        return await self._answer(ask, draw, one, text)

    def _read(self, one: _Evolution, reply: Completion) -> tuple[str, str | None]:
        if flaw := refusal(reply):
            return reply.text, flaw
        found = tagged(reply, "prompt", prefill=self.prefill, stop=self.stop)
        if not found:
            return reply.text, "no_tag"
        text = found[0].text
        markers = [marker for marker in (*_TAGS, *self.markers) if not has_marker(one.member.text, (marker,))]
        flaw = found[0].flaw or text_flaw(text, markers=markers, least=self.min_words, most=self.max_words)
        if flaw is None and leaks(text, PROMPTS[one.operation or "breadth"]):
            flaw = "template"
        if flaw is None and contains(one.member.text, text):
            flaw = "echo"
        return text, flaw

    async def _gain_flaw(self, ask: Ask, draw: Draw, one: _Evolution, text: str) -> str | None:
        """Return `equal`, `equality_unread` or None, asking again while the reply says neither."""
        for attempt in range(self.equality_tries):
            reply = await ask(
                self.equality or self.teacher,
                [Message("user", EQUALITY.fill(first=one.member.text, second=text))],
                sampling=Sampling(
                    max_tokens=self.equality_tokens,
                    temperature=self.equality_temperature,
                    seed=draw("equality", one.member.number, one.epoch, attempt).getrandbits(31),
                ),
                prefill=self.equality_prefill,
                sample=attempt,
            )
            equal = None if refusal(reply) else read_equality(reply.text)
            if equal is not None:
                return "equal" if equal else None
        return "equality_unread"

    async def _answer(self, ask: Ask, draw: Draw, one: _Evolution, text: str) -> Kept | Dropped:
        reply = await ask(
            self.teacher,
            [Message("user", text)],
            sampling=Sampling(
                max_tokens=self.answer_tokens,
                temperature=self.answer_temperature,
                top_p=self.top_p,
                seed=draw("answer", one.member.number, one.epoch).getrandbits(31),
            ),
            stop=self.answer_stop,
        )
        answer = reply.text.strip()
        row = one.row(text, answer)
        flaw = reply_flaw(reply, keep_truncated=self.keep_truncated)
        if flaw is None and "sorry" in words(answer) and len(words(answer)) < _APOLOGY_WORDS:
            flaw = "apology"
        if flaw is None and is_contentless(answer):
            flaw = "contentless"
        if flaw is None and has_marker(answer, _TAGS):
            flaw = "marker"
        return Dropped(row, flaw) if flaw else Kept(row)


def read_equality(reply: str) -> bool | None:
    """Return whether `reply` says that the prompts are equal; None where it says neither.

    "Not equal" contains "equal", so it is looked for first.
    """
    if _NOT_EQUAL.search(reply):
        return False
    return True if _EQUAL.search(reply) else None


@hookimpl
def bezoar_schemes() -> Sequence[type[Scheme]]:
    """Return the Evol-Instruct scheme."""
    return [EvolInstruct]
