"""LaMini: new instructions in the manner of a few examples, then a concise answer to each."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import ClassVar, TypeVar, cast

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Scheme, Want
from bezoar_core.prompts import Prompt
from bezoar_core.records import REQUEST_FAILED, Completion, Dropped, Feature, Forecast, Kept, Message, Row, Sampling
from bezoar_core.rows import require
from bezoar_core.types import (
    DatasetRef,
    Fraction,
    ModelRef,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
)
from bezoar_plugins.near_duplicates import Seen, Similarity
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
)
from bezoar_plugins.schemes.tagged import tagged

SIMILAR = Prompt("bezoar_plugins.schemes", "prompts/lamini/similar.txt")
TOPICAL = Prompt("bezoar_plugins.schemes", "prompts/lamini/topical.txt")
ANSWER = Prompt("bezoar_plugins.schemes", "prompts/lamini/answer.txt")

T = TypeVar("T")

_PROMPT_TOKENS = 150
_UNFIT_AT_ONCE = 64


@dataclass(frozen=True)
class _Task:
    """One request for instructions; `source` says what guided it."""

    number: int
    source: str
    shown: tuple[str, ...]
    template: Prompt
    text: str


@dataclass(frozen=True)
class _Instruction:
    """One instruction made for `task`, the `place`-th of its reply; `flaw` says why it is unfit."""

    task: _Task
    text: str
    place: int = 0
    flaw: str | None = None
    detail: str = ""

    def row(self, response: str = "") -> Row:
        """Return the row it makes."""
        return {"instruction": self.text, "source": self.task.source, "response": response}


@dataclass(frozen=True, kw_only=True)
class LaMini:
    """Ask for instructions like the seeds, drop what is unfit, and ask for a concise answer to each of the rest.

    After LaMini-LM (arXiv 2304.14402): three seeds between tags, 20 new ones asked for, example-guided or
    topic-guided, answered in a separate request. The share of topic-guided requests, temperatures, lengths and the rule
    for duplicates are unknown there: settings here. For duplicates and echoes the words alone count, whatever the case,
    spacing and punctuation; near ones share many pairs of neighbouring words. All are dropped before an answer is asked
    for. `source` says which guide made the row.
    """

    name: ClassVar[str] = "lamini"
    version: ClassVar[int] = 2
    prompts: ClassVar[tuple[Prompt, ...]] = (SIMILAR, TOPICAL, ANSWER)
    columns: ClassVar[frozenset[str]] = frozenset({"instruction"})

    teacher: ModelRef
    """Writes the instructions and the answers."""
    seeds: DatasetRef | tuple[DatasetRef, ...]
    """Rows with an `instruction`; a `context` follows it after a blank line."""
    count: PositiveInt
    """How many rows to make."""
    examples_per_prompt: PositiveInt = 3
    """Seeds shown in a request."""
    ask_for: PositiveInt = 20
    """Instructions asked for in a request."""
    topics: DatasetRef | None = None
    """Rows with a topic each, in `topic_column`; without it every request is example-guided."""
    topic_column: NonEmptyStr = "topic"
    """Where a row of `topics` has its topic."""
    topics_per_prompt: PositiveInt = 3
    """Topics named in a topic-guided request."""
    topic_share: Fraction = 0.5
    """How often a request is topic-guided, where there are topics."""
    max_tasks: PositiveInt | None = None
    """At most so many requests for instructions; as many as `count` where none is given."""
    seed_tokens: PositiveInt = 1024
    """Longer seeds are dropped; tokens are estimated (`dolly.token_count`)."""
    min_words: NonNegativeInt = 3
    """Shorter instructions are dropped."""
    max_words: PositiveInt = 200
    """Longer instructions are dropped."""
    near_duplicate: Similarity | None = 0.7
    """An instruction is dropped that shares so much of its word pairs (Jaccard) with a seed or one made before; none
    drops only those of the same words."""
    markers: tuple[str, ...] = ("<example>", "</example>", "<example", "as an AI language model")
    """Instructions and answers that contain one, in any case, are dropped."""
    temperature: NonNegativeFloat | None = 1.0
    """For instructions; none leaves it to the provider."""
    top_p: Fraction | None = None
    """For instructions and answers; none leaves it to the provider."""
    max_tokens: PositiveInt = 2048
    """For the reply to a request for instructions."""
    prefill: str = ""
    """Begins the reply, for a teacher that keeps no format by itself: `<example>`."""
    stop: tuple[str, ...] = ()
    """Ends the reply: with `ask_for: 1`, `</example>`."""
    answer_temperature: NonNegativeFloat | None = 0.0
    """For answers; none leaves it to the provider."""
    answer_tokens: PositiveInt = 512
    """For an answer."""
    answer_stop: tuple[str, ...] = ()
    """Ends an answer, which is then whole: a blank line makes a rambling teacher brief."""
    keep_truncated: bool = False
    """Keep answers that ran out of tokens."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the teacher's client must have."""
        return {self.teacher: features(self.prefill, self.stop, self.answer_stop)}

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return what it takes if every instruction is fit, and if `max_tasks` is spent."""
        least, most = math.ceil(self.count / self.ask_for), self.max_tasks or self.count
        answers = most * self.ask_for
        shown = self.examples_per_prompt * self.seed_tokens
        return Forecast(
            requests=(least + self.count, most + answers),
            input_tokens=(least * _PROMPT_TOKENS, most * (_PROMPT_TOKENS + shown) + answers * 2 * self.max_words),
            output_tokens=(least + self.count, most * self.max_tokens + answers * self.answer_tokens),
        )

    async def generate(self, seeds: Iterable[Row], ask: Ask, draw: Draw, want: Want) -> AsyncIterator[Kept | Dropped]:
        """Yield unfit seeds, then in turn the unfit instructions and the answers to the fit ones, as they were made."""
        import asyncio  # late: `bezoar --help` has no use for it

        pool: list[str] = []
        known = _Known(self.near_duplicate)
        for number, row in enumerate(seeds):
            text = dolly_text(row)
            if flaw := seed_flaw(text, self.seed_tokens):
                yield Dropped(row, flaw)
            else:
                pool.append(text)
                known.add_seed(number, cell(row, "instruction"), text)
        if not pool:
            raise BezoarError(
                "no seed can be used", tip=f"the dropped rows say why; `seed_tokens` is {self.seed_tokens}"
            )
        topics = _topics(self.topics, self.topic_column) if self.topics else []
        answering = 0
        turn = asyncio.Lock()
        over = False

        def requests() -> int:
            return max(1, math.ceil((want() - answering) / self.ask_for))

        async def next_fit(_: int) -> tuple[Sequence[Dropped], Kept | Dropped | None]:
            """Take instructions until one is fit, which is the next in turn whatever reply came first; answer it."""
            nonlocal answering, over
            unfit: list[Dropped] = []
            async with turn:
                async for one in made:
                    if one.flaw is None:
                        answering += 1
                        break
                    unfit.append(Dropped(one.row(), one.flaw, one.detail))
                    if len(unfit) == _UNFIT_AT_ONCE:
                        return unfit, None
                else:
                    over = True
                    return unfit, None
            return unfit, await self._answer(ask, draw, one)

        tasks = (self._task(number, pool, topics, draw) for number in range(self.max_tasks or self.count))
        replies = in_order(partial(self._imagine, ask, draw), tasks, requests, failed=_lost)
        slots = takewhile(lambda _: not over, itertools.count())
        async with _closing(_checked(replies, known)) as made, _closing(in_order(next_fit, slots, want)) as rows:
            async for unfit, answered in rows:
                for dropped in unfit:
                    yield dropped
                if answered is not None:
                    answering -= 1
                    yield answered

    def _task(self, number: int, pool: Sequence[str], topics: Sequence[str], draw: Draw) -> _Task:
        dice = draw("task", number)
        shown = tuple(dice.sample(pool, min(self.examples_per_prompt, len(pool))))
        examples = "\n".join(f"<example>{text}</example>" for text in shown)
        wanted = "one new instruction" if self.ask_for == 1 else f"{self.ask_for} new instructions"
        if topics and dice.random() < self.topic_share:
            named = ", ".join(dice.sample(topics, min(self.topics_per_prompt, len(topics))))
            text = TOPICAL.fill(examples=examples, topics=named, wanted=wanted)
            return _Task(number, "topic-guided", shown, TOPICAL, text)
        return _Task(number, "example-guided", shown, SIMILAR, SIMILAR.fill(examples=examples, wanted=wanted))

    async def _imagine(self, ask: Ask, draw: Draw, task: _Task) -> Sequence[_Instruction]:
        reply = await ask(
            self.teacher,
            [Message("user", task.text)],
            sampling=Sampling(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=draw("imagine", task.number).getrandbits(31),
            ),
            stop=self.stop,
            prefill=self.prefill,
            sample=task.number,
        )
        return self._read(task, reply)

    def _read(self, task: _Task, reply: Completion) -> Sequence[_Instruction]:
        if flaw := refusal(reply):
            return [_Instruction(task, reply.text, flaw=flaw)]
        found = tagged(reply, "example", prefill=self.prefill, stop=self.stop)
        if not found:
            return [_Instruction(task, reply.text, flaw="no_tag")]
        return [
            _Instruction(task, one.text, place, one.flaw or self._flaw(task, one.text))
            for place, one in enumerate(found)
        ]

    def _flaw(self, task: _Task, text: str) -> str | None:
        if flaw := text_flaw(text, markers=self.markers, least=self.min_words, most=self.max_words):
            return flaw
        if leaks(text, task.template):
            return "template"
        return "echo" if any(contains(text, seed) or contains(seed, text) for seed in task.shown) else None

    async def _answer(self, ask: Ask, draw: Draw, one: _Instruction) -> Kept | Dropped:
        try:
            reply = await ask(
                self.teacher,
                [Message("user", ANSWER.fill(instruction=one.text))],
                sampling=Sampling(
                    max_tokens=self.answer_tokens,
                    temperature=self.answer_temperature,
                    top_p=self.top_p,
                    seed=draw("answer", one.task.number, one.place).getrandbits(31),
                ),
                stop=self.answer_stop,
            )
        except RequestFailed as error:
            return Dropped(one.row(), REQUEST_FAILED, str(error))
        row = one.row(reply.text.strip())
        flaw = reply_flaw(reply, keep_truncated=self.keep_truncated)
        if flaw is None and has_marker(reply.text, self.markers):
            flaw = "marker"
        if flaw is None and leaks(reply.text, ANSWER):
            flaw = "template"
        return Dropped(row, flaw) if flaw else Kept(row)


class _Known:
    """What an instruction may not repeat: the seeds, and the fit instructions made before it."""

    def __init__(self, near: Similarity | None) -> None:
        self._seeds: set[int] = set()
        self._numbers = array("Q")
        self._made: set[int] = set()
        self._near = None if near is None else Seen(near)

    def add_seed(self, number: int, instruction: str, text: str) -> None:
        """Know a seed by its number, with its context and without: an echo seldom repeats a whole context."""
        self._seeds |= {gist_hash(instruction), gist_hash(text)}
        self._numbers.append(number)
        if self._near is not None:
            self._near.add(instruction)

    def check(self, one: _Instruction) -> _Instruction:
        """Return the instruction with its flaw, if it has one; a fit one is known from now on."""
        if one.flaw:
            return one
        key = gist_hash(one.text)
        if key in self._seeds:
            return replace(one, flaw="echo")
        if key in self._made:
            return replace(one, flaw="duplicate")
        found = None if self._near is None else self._near.nearest(one.text)
        if found:
            place, similarity = found
            made = place - len(self._numbers)
            which = f"seed {self._numbers[place]}" if made < 0 else f"instruction {made}"
            return replace(one, flaw="near_duplicate", detail=f"{similarity:.2f} of {which}")
        self._made.add(key)
        if self._near is not None:
            self._near.add(one.text)
        return one


async def _checked(replies: AsyncIterator[Sequence[_Instruction]], known: _Known) -> AsyncIterator[_Instruction]:
    """Yield every instruction in the order of its request and its place in the reply: so the first of two is kept."""
    async with _closing(replies) as opened:
        async for made in opened:
            for one in made:
                yield known.check(one)


def _closing(stream: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """Close an async generator, and so cancel what it has under way, where its reader stops before its end."""
    return aclosing(cast("AsyncGenerator[T, None]", stream))


def _topics(topics: DatasetRef, column: str) -> list[str]:
    """Return the topics, each once and in order, without blank ones."""
    found = dict.fromkeys(cell(row, column) for row in require(topics.rows(), (column,), topics.name))
    listed = [topic for topic in found if topic]
    if not listed:
        raise BezoarError(f"`{topics.name}` has no topic", tip=f"`topic_column` is `{column}`")
    return listed


def _lost(task: _Task, error: RequestFailed) -> Sequence[_Instruction]:
    return [_Instruction(task, "", flaw=REQUEST_FAILED, detail=str(error))]


@hookimpl
def bezoar_schemes() -> Sequence[type[Scheme]]:
    """Return the LaMini scheme."""
    return [LaMini]
