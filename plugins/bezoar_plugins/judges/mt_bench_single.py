"""MT-Bench's single-answer judge: one reply, graded from 1 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Judge
from bezoar_core.records import (
    Feature,
    Item,
    Sampling,
    Scored,
    Unparsed,
    Verdict,
)
from bezoar_core.types import DatasetRef, Json, ModelRef, NonNegativeFloat, PositiveInt
from bezoar_plugins.judges.judge_prompts import Template, read_templates, template_for
from bezoar_plugins.judges.verdicts import Begun, asked_verdict, last_verdict

LOWEST, HIGHEST = 1, 10
PREFILL = "Rating: [["
# The brackets belong to the choice: without them "1" would begin "10" and never score below it.
CHOICES = tuple(f"{rating}]]" for rating in range(LOWEST, HIGHEST + 1))

_RATING = re.compile(r"10(?:\.0+)?|[1-9](?:\.[0-9]+)?")
_SLOTS_TIP = (
    "one turn fills `question`, `answer` and `ref_answer_1`; two fill `question_1`, `question_2`, `answer_1`, "
    "`answer_2`, `ref_answer_1` and `ref_answer_2`"
)


@dataclass(frozen=True, kw_only=True)
class MtBenchSingle:
    """Grade an answer from 1 to 10 with the judge prompts of MT-Bench (arXiv 2306.05685), filled as FastChat does.

    An item has `question_1` and `answer_1`, for a second turn `question_2` and `answer_2`, and for a question with a
    reference `ref_answer_1` (and `ref_answer_2`). FastChat takes the first number in brackets, double or single, and
    stores -1 for none; here the last `[[rating]]` counts; what is no rating from 1 to 10 is unparsed, as is one that
    may be quoted from what was judged.
    """

    name: ClassVar[str] = "mt-bench-single"
    version: ClassVar[int] = 2

    model: ModelRef
    """Judges."""
    prompts: DatasetRef
    """FastChat's `judge_prompts.jsonl`: single-v1 and single-math-v1, each also with -multi-turn."""
    choices: bool = False
    """Only score the ten ratings, with no explanation before: for a local model that keeps no format."""
    max_tokens: PositiveInt = 2048
    """For the explanation and the rating."""
    temperature: NonNegativeFloat = 0.0
    """FastChat's is 0; above it, `repeats` of the benchmark tells how much the ratings of one answer differ."""

    def needs(self) -> Mapping[ModelRef, frozenset[Feature]]:
        """Return the features that the model's client must have."""
        return {self.model: frozenset({"choices", "prefill"})} if self.choices else {}

    async def judge(self, item: Item, ask: Ask) -> Verdict:
        """Return the rating of the item's last answer as a float; `data` has the template's name and the prompt."""
        template, slots = self.template(item.fields), _slots(item.fields)
        sampling = Sampling(max_tokens=8 if self.choices else self.max_tokens, temperature=self.temperature)
        begun = Begun(prefill=PREFILL, choices=CHOICES) if self.choices else Begun()
        return await asked_verdict(ask, self.model, template, slots, sampling, begun, read)

    def template(self, fields: Mapping[str, str]) -> Template:
        """Return the judge prompt for an item with these fields."""
        kind = "single-math-v1" if "ref_answer_1" in fields else "single-v1"
        name = f"{kind}-multi-turn" if "answer_2" in fields else kind
        return template_for(self._templates, name, _slots(fields), self.prompts, _SLOTS_TIP)

    @cached_property
    def _templates(self) -> Mapping[str, Template]:
        return read_templates(self.prompts)


def read(
    reply: str, quoted: Iterable[str] = (), data: Mapping[str, Json] | None = None, told: Iterable[str] = ()
) -> Scored | Unparsed:
    """Return the rating in the last `[[...]]` of a reply, where it is one from 1 to 10 and no quotation.

    `quoted` is what was judged, `told` what the judge was told.
    """
    asked = dict(data or {})
    found, complaint = last_verdict(reply, _RATING, f"rating from {LOWEST} to {HIGHEST}", quoted, told)
    if complaint:
        return Unparsed(reply=reply, complaint=complaint, data=asked)
    rating = float(found)
    return Scored(value=rating, data={**asked, "rating": rating}, reply=reply)


def _slots(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name the fields as FastChat's templates do: a first turn alone has `question` and `answer`."""
    if "answer_2" in fields:
        return fields
    first = {"question_1": "question", "answer_1": "answer"}
    return {first.get(name, name): text for name, text in fields.items()}


@hookimpl
def bezoar_judges() -> Sequence[type[Judge]]:
    """Return MT-Bench's single-answer judge."""
    return [MtBenchSingle]
