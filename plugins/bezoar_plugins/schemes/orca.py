"""Orca: FLAN queries answered under system messages that ask for explanations."""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import ClassVar, Literal

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Scheme, Want
from bezoar_core.prompts import Prompt
from bezoar_core.records import REQUEST_FAILED, Dropped, Feature, Forecast, Kept, Message, Row, Sampling
from bezoar_core.types import (
    DatasetRef,
    Fraction,
    Json,
    ModelRef,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from bezoar_plugins.schemes.dolly import cell
from bezoar_plugins.schemes.features import features
from bezoar_plugins.schemes.flaws import gist, reply_flaw, seed_flaw, words
from bezoar_plugins.schemes.reservoir import Reservoir

Collection = Literal["cot", "niv2", "t0", "flan2021"]

SYSTEM_MESSAGES = Prompt("bezoar_plugins.schemes", "prompts/orca/system_messages.txt")

ALLOWED: Mapping[Collection, tuple[int, ...]] = {
    "cot": (6, 11, 16),
    "niv2": (1, 2, 5, 7, 9, 12, 13, 14, 15),
    "t0": (1, 2, 3, 5, 7),
    "flan2021": (3, 4, 7, 8, 10),
}
MULTIPLE_CHOICE_ONLY = frozenset({8, 10})
TASK_SOURCES: Mapping[str, Collection] = {
    "cot": "cot",
    "niv2": "niv2",
    "p3": "t0",
    "t0": "t0",
    "flan2021": "flan2021",
}

_CARRIED = ("task_source", "task_name", "template_type", "dataset_source")
_SYSTEM_TOKENS = 60
_BEGINNING = 100
_SPARE = 4
_HEADING = re.compile(r"\b(?:options|choices|(?:pick|choose|select) from|possible answers)\b[^\n]*:", re.IGNORECASE)
_LETTER = re.compile(r"(?:^\s*([a-z])[.)]|\(([a-z])\))\s*\S", re.IGNORECASE | re.MULTILINE)
_LISTED = re.compile(r"^\s*(?:[-*\u2022]|\(?\d[.)])\s*\S", re.MULTILINE)


def is_multiple_choice(inputs: str) -> bool:
    """Tell whether a FLAN query lists its answers: an A and a B, or two items under a heading such as `OPTIONS:`."""
    letters = {(match[1] or match[2]).casefold() for match in _LETTER.finditer(inputs)}
    if {"a", "b"} <= letters:
        return True
    heading = _HEADING.search(inputs)
    return heading is not None and len(_LISTED.findall(inputs, heading.end())) >= 2


def allowed_messages(collection: Collection, inputs: str) -> Sequence[int]:
    """Return the numbers of the system messages under which a query may be asked."""
    choice = is_multiple_choice(inputs)
    return [number for number in ALLOWED[collection] if choice or number not in MULTIPLE_CHOICE_ONLY]


def system_messages() -> Mapping[int, str]:
    """Return the sixteen system messages by their number; the first is empty."""
    numbered = (line.partition(".") for line in SYSTEM_MESSAGES.text.splitlines())
    return {int(number): text.strip() for number, _, text in numbered}


@dataclass(frozen=True)
class _Query:
    """One seed that can be asked about, and the system message it is asked under."""

    number: int
    collection: Collection
    row: Row
    inputs: str
    system: str

    def made(self, reply: str = "") -> Row:
        """Return the row it makes."""
        return {
            "original_index": self.row["original_index"],
            "inputs": self.inputs,
            "targets": self.row["targets"],
            "task_source": self.row["task_source"],
            "task_name": self.row["task_name"],
            "template_type": self.row["template_type"],
            "system_message": self.system,
            "explained_targets": reply,
            "dataset_source": self.row["dataset_source"] or self.collection,
        }


@dataclass(frozen=True, kw_only=True)
class Orca:
    """Ask each FLAN query under a system message of its sub-collection and keep the reply as its explained target.

    After Orca (arXiv 2306.02707) as OpenBezoar (arXiv 2404.12195) runs it: sixteen system messages (here in our
    words), of which a sub-collection allows some, those that speak of the other answers for multiple choice only;
    zero-shot templates. Orca took 150K queries from CoT, 440K from NIv2, 2.5M from Flan 2021 and 2M from T0 (`P3` in
    the mirrors); what OpenBezoar took is unknown, so `shares` says it and is even by default. Ours: a query is multiple
    choice if it shows its options, and the teacher never sees `targets`.

    The seeds are read once, before the first request, and from each sub-collection an even sample is drawn; then the
    samples are mixed by `shares`. The samples lie in temporary files (`TMPDIR`), so memory does not grow with the
    seeds. An unfit seed is dropped with the beginning of its text and the `original_index` it is found by.
    """

    name: ClassVar[str] = "orca"
    version: ClassVar[int] = 2
    prompts: ClassVar[tuple[Prompt, ...]] = (SYSTEM_MESSAGES,)
    columns: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "task_source", "task_name", "template_type"})

    teacher: ModelRef
    """Answers."""
    seeds: DatasetRef | tuple[DatasetRef, ...]
    """Rows of the FLAN submixes; all that the dataset's `first` lets through are read, as a stream."""
    count: PositiveInt
    """How many rows to make."""
    shares: Mapping[Collection, PositiveFloat] = field(default_factory=dict)
    """How the sub-collections are mixed, as weights; one that is not named weighs 1."""
    templates: tuple[str, ...] = ("zs",)
    """How an admitted `template_type` may begin: `zs` for zero-shot, `fs` for few-shot."""
    max_tasks: PositiveInt | None = None
    """At most so many queries; four times `count` where none is given."""
    seed_tokens: PositiveInt = 1024
    """Longer queries are dropped; tokens are estimated (`dolly.token_count`)."""
    min_words: NonNegativeInt = 1
    """Shorter replies are dropped."""
    temperature: NonNegativeFloat | None = 0.7
    """None leaves it to the provider."""
    top_p: Fraction | None = None
    """None leaves it to the provider."""
    max_tokens: PositiveInt = 1024
    """For a reply."""
    prefill: str = ""
    """Begins the reply; it is part of the explained target."""
    stop: tuple[str, ...] = ()
    """Ends the reply."""
    keep_truncated: bool = False
    """Keep replies that ran out of tokens."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the teacher's client must have."""
        return {self.teacher: features(self.prefill, self.stop)}

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return what it takes if every reply is fit, and if every query is asked."""
        most = min(self._most(), rows) if rows is not None else self._most()
        least = min(self.count, most)
        return Forecast(
            requests=(least, most),
            input_tokens=(least, most * (self.seed_tokens + _SYSTEM_TOKENS)),
            output_tokens=(least, most * self.max_tokens),
        )

    async def generate(self, seeds: Iterable[Row], ask: Ask, draw: Draw, want: Want) -> AsyncIterator[Kept | Dropped]:
        """Yield unfit seeds, then one outcome a query, the sub-collections mixed."""
        with ExitStack() as files:
            drawn: dict[Collection, Reservoir] = {}
            for number, row in enumerate(seeds):
                collection = TASK_SOURCES.get(cell(row, "task_source").casefold())
                index = row.get("original_index")
                inputs = cell(row, "inputs")
                known: dict[str, Json] = {column: cell(row, column) for column in _CARRIED}
                known["original_index"] = index if isinstance(index, int) else number
                flaw = self._seed_flaw(inputs, cell(row, "template_type"))
                if flaw or collection is None:
                    beginning = inputs if len(inputs) <= _BEGINNING else f"{inputs[:_BEGINNING]}..."
                    yield Dropped({**known, "inputs": beginning}, flaw or "unknown_task_source")
                    continue
                if collection not in drawn:
                    file = files.enter_context(TemporaryFile())
                    drawn[collection] = Reservoir(file, self._most(), draw("sample", collection))
                drawn[collection].add({**known, "number": number, "inputs": inputs, "targets": cell(row, "targets")})
            if not drawn:
                raise BezoarError(
                    "no seed can be used", tip="see `templates` and `seed_tokens`; the rows may be of few shots"
                )
            messages = system_messages()
            queries = (_query(collection, row, messages, draw) for collection, row in mixed(drawn, self.shares))
            work = partial(self._explain, ask, draw)
            async for outcome in in_order(work, islice(queries, self._most()), want, failed=_lost):
                yield outcome

    def _most(self) -> int:
        return self.max_tasks or _SPARE * self.count

    def _seed_flaw(self, inputs: str, template: str) -> str | None:
        if template.startswith(self.templates):
            return seed_flaw(inputs, self.seed_tokens)
        return "few_shot_template" if template.startswith("fs") else "other_template"

    async def _explain(self, ask: Ask, draw: Draw, query: _Query) -> Kept | Dropped:
        system = [Message("system", query.system)] if query.system else []
        reply = await ask(
            self.teacher,
            [*system, Message("user", query.inputs)],
            sampling=Sampling(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=draw("explain", query.number).getrandbits(31),
            ),
            stop=self.stop,
            prefill=self.prefill,
        )
        text = (self.prefill + reply.text).strip()
        flaw = reply_flaw(reply, keep_truncated=self.keep_truncated)
        if flaw is None and len(words(text)) < self.min_words:
            flaw = "too_short"
        if flaw is None and gist(text) in (gist(query.inputs), gist(query.system)):
            flaw = "echo"
        return Dropped(query.made(text), flaw) if flaw else Kept(query.made(text))


def mixed(
    samples: Mapping[Collection, Iterable[Row]], shares: Mapping[Collection, float]
) -> Iterator[tuple[Collection, Row]]:
    """Yield all rows, the collections by turns such that the first so many hold them in proportion to their shares.

    Once a collection is used up, the others go on. At most one row of each is held.
    """
    streams = {collection: iter(samples[collection]) for collection in ALLOWED if collection in samples}
    turns = [(1 / shares.get(collection, 1.0), rank, collection) for rank, collection in enumerate(streams)]
    places = dict.fromkeys(streams, 1)
    heapq.heapify(turns)
    while turns:
        _, rank, collection = heapq.heappop(turns)
        row = next(streams[collection], None)
        if row is not None:
            yield collection, row
            places[collection] += 1
            heapq.heappush(turns, (places[collection] / shares.get(collection, 1.0), rank, collection))


def _query(collection: Collection, row: Row, messages: Mapping[int, str], draw: Draw) -> _Query:
    number, inputs = row["number"], cell(row, "inputs")
    if not isinstance(number, int):
        raise TypeError("a sampled row has lost its number")
    system = messages[draw("system", number).choice(allowed_messages(collection, inputs))]
    return _Query(number, collection, row, inputs, system)


def _lost(query: _Query, error: RequestFailed) -> Kept | Dropped:
    return Dropped(query.made(), REQUEST_FAILED, str(error))


@hookimpl
def bezoar_schemes() -> Sequence[type[Scheme]]:
    """Return the Orca scheme."""
    return [Orca]
