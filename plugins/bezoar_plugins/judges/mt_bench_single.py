"""MT-Bench's single-answer judge: one reply, graded from 1 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from string import Formatter
from typing import ClassVar

from bezoar_core.errors import DataError, RequestFailed, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Judge
from bezoar_core.records import (
    Completion,
    Failed,
    Feature,
    Item,
    Message,
    Refused,
    Row,
    Sampling,
    Scored,
    Unparsed,
    Verdict,
)
from bezoar_core.types import DatasetRef, Json, ModelRef, PositiveInt

LOWEST, HIGHEST = 1, 10
PREFILL = "Rating: [["
# The brackets belong to the choice: without them "1" would begin "10" and never score below it.
CHOICES = tuple(f"{rating}]]" for rating in range(LOWEST, HIGHEST + 1))

# A verdict stands free: `x[[1]]` is an index of a list, `[[1, 2], [3]]` a matrix, `[1]` a citation.
_VERDICT = re.compile(r"(?<![\w\[\])])\[\[([^\[\]\n]*)\]\](?!\])")
_RATING = re.compile(r"10(?:\.0+)?|[1-9](?:\.[0-9]+)?")
# `[[5]]/[[10]]`, `[[6]] or [[7]]`: two ratings told as one are none.
_JOINT = re.compile(r"[ \t*_`]{0,8}(?:/|-|\u2013|,|or|to|and|of|out of)?[ \t*_`]{0,8}", re.IGNORECASE)

_SLOTS_TIP = (
    "one turn fills `question`, `answer` and `ref_answer_1`; two fill `question_1`, `question_2`, `answer_1`, "
    "`answer_2`, `ref_answer_1` and `ref_answer_2`"
)


@dataclass(frozen=True, kw_only=True)
class Template:
    """One of FastChat's judge prompts, rendered as FastChat renders it."""

    name: str
    system: str
    text: str
    slots: frozenset[str]

    def render(self, fields: Mapping[str, str]) -> str:
        """Return the user's message; what fills a slot is never read as a template again."""
        return self.text.format(**{slot: fields[slot] for slot in self.slots})


@dataclass(frozen=True, kw_only=True)
class MtBenchSingle:
    """Grade an answer from 1 to 10 with the judge prompts of MT-Bench (arXiv 2306.05685), filled as FastChat does.

    An item has `question_1` and `answer_1`, for a second turn `question_2` and `answer_2`, and for a question with a
    reference `ref_answer_1` (and `ref_answer_2`). FastChat takes the first number in brackets, double or single, and
    stores -1 for none; here the last `[[rating]]` counts, and what is no rating from 1 to 10 is unparsed.
    """

    name: ClassVar[str] = "mt-bench-single"
    version: ClassVar[int] = 1

    model: ModelRef
    """Judges."""
    prompts: DatasetRef
    """FastChat's `judge_prompts.jsonl`: single-v1 and single-math-v1, each also with -multi-turn."""
    choices: bool = False
    """Only score the ten ratings, with no explanation before: for a local model that keeps no format."""
    max_tokens: PositiveInt = 2048
    """For the explanation and the rating."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the model's client must have."""
        return {self.model: frozenset({"choices", "prefill"})} if self.choices else {}

    async def judge(self, item: Item, ask: Ask) -> Verdict:
        """Return the rating of the item's last answer as a float; `data` has the template's name and the prompt."""
        template = self.template(item.fields)
        prompt = template.render(_slots(item.fields))
        asked: dict[str, Json] = {"template": template.name, "user_prompt": prompt}
        system = [Message("system", template.system)] if template.system else []
        try:
            reply = await ask(
                self.model,
                [*system, Message("user", prompt)],
                sampling=Sampling(max_tokens=8 if self.choices else self.max_tokens, temperature=0.0),
                prefill=PREFILL if self.choices else "",
                choices=CHOICES if self.choices else (),
            )
        except RequestFailed as error:
            return Failed(kind=error.kind, message=error.message, data=asked)
        return _verdict(reply, PREFILL if self.choices else "", item.fields.values(), asked)

    def template(self, fields: Mapping[str, str]) -> Template:
        """Return the judge prompt for an item with these fields."""
        kind = "single-math-v1" if "ref_answer_1" in fields else "single-v1"
        name = f"{kind}-multi-turn" if "answer_2" in fields else kind
        found = self._templates.get(name)
        if found is None:
            tip = nearest(name, sorted(self._templates))
            raise DataError(f"there is no judge prompt `{name}`", where=self.prompts.name, tip=tip)
        unfilled = sorted(found.slots - set(_slots(fields)))
        if unfilled:
            message = f"judge prompt `{name}` has a slot `{unfilled[0]}` that nothing fills"
            raise DataError(message, where=self.prompts.name, tip=_SLOTS_TIP)
        return found

    @cached_property
    def _templates(self) -> Mapping[str, Template]:
        templates = (_template(row, f"{self.prompts.name}:{n}") for n, row in enumerate(self.prompts.rows(), start=1))
        return {template.name: template for template in templates}


def read(reply: str, quoted: Iterable[str] = (), data: Mapping[str, Json] | None = None) -> Scored | Unparsed:
    """Return the rating in the last `[[...]]` of a reply, where it is one from 1 to 10.

    A text of `quoted` that the reply repeats word for word does not count as the judge's own.
    """
    asked = dict(data or {})
    own = reply
    for text in quoted:
        if "[[" in text:
            own = own.replace(text.strip(), " ")
    verdicts = list(_VERDICT.finditer(own))
    if not verdicts:
        return Unparsed(reply=reply, complaint="no `[[rating]]`", data=asked)
    last = verdicts[-1][1]
    if _RATING.fullmatch(last) is None:
        complaint = f"the last verdict, `{last[:40]}`, is no rating from {LOWEST} to {HIGHEST}"
        return Unparsed(reply=reply, complaint=complaint, data=asked)
    if any(_joint(own, *pair) for pair in pairwise(verdicts[-2:])):
        return Unparsed(reply=reply, complaint="the last verdict is two ratings", data=asked)
    rating = float(last)
    return Scored(value=rating, data={**asked, "rating": rating}, reply=reply)


def _joint(text: str, first: re.Match[str], second: re.Match[str]) -> bool:
    return first[1] != second[1] and _JOINT.fullmatch(text, first.end(), second.start()) is not None


def _verdict(reply: Completion, prefill: str, quoted: Iterable[str], asked: Mapping[str, Json]) -> Verdict:
    data: dict[str, Json] = {**asked, "judge_model": reply.model}
    if reply.scores:
        data["scores"] = list(reply.scores)
    text = prefill + reply.text
    if reply.finish in ("refused", "filtered"):
        return Refused(reply=text, data=data)
    if reply.finish == "length":
        return Unparsed(reply=text, complaint="the reply was cut off at `max_tokens`", data=data)
    return read(text, quoted, data)


def _slots(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name the fields as FastChat's templates do: a first turn alone has `question` and `answer`."""
    if "answer_2" in fields:
        return fields
    first = {"question_1": "question", "answer_1": "answer"}
    return {first.get(name, name): text for name, text in fields.items()}


def _template(row: Row, place: str) -> Template:
    texts = {column: row.get(column) for column in ("name", "system_prompt", "prompt_template")}
    where = str(getattr(row, "place", place))
    for column, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"a judge prompt has a text `{column}`, this row has none", where=where)
    name, system, text = (str(value) for value in texts.values())
    try:
        slots = frozenset(slot for _, slot, _, _ in Formatter().parse(text) if slot is not None)
    except ValueError as error:
        raise DataError(f"judge prompt `{name}` cannot be read: {error}", where=where) from None
    return Template(name=name, system=system, text=text, slots=slots)


@hookimpl
def bezoar_judges() -> Sequence[type[Judge]]:
    """Return MT-Bench's single-answer judge."""
    return [MtBenchSingle]
