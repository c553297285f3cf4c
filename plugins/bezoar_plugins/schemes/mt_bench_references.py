"""Reference answers to MT-Bench's questions, written by a model of one's own choice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bezoar_core.errors import DataError, RequestFailed, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Scheme, Want
from bezoar_core.records import REQUEST_FAILED, Dropped, Forecast, Kept, Message, Row, Sampling
from bezoar_core.types import DatasetRef, Json, ModelRef, PositiveInt
from bezoar_plugins.fastchat_files import NO_TIME, Question, read_questions
from bezoar_plugins.schemes.flaws import reply_flaw


@dataclass(frozen=True, kw_only=True)
class MtBenchReferences:
    """Have a model answer both turns of MT-Bench's questions at temperature 0, as the `references` of `mt-bench`.

    FastChat's are GPT-4's, of which 13 are said to be wrong; OpenBezoar's were its judge's (arXiv 2404.12195). The rows
    have FastChat's form. A question with an answer that is empty, cut off or refused is dropped as a whole.
    """

    name: ClassVar[str] = "mt-bench-references"
    version: ClassVar[int] = 1

    teacher: ModelRef
    """Answers."""
    seeds: DatasetRef
    """FastChat's `question.jsonl`, or a file of its form."""
    categories: tuple[str, ...] = ("math", "reasoning", "coding")
    """Answered: those whose judge is shown a reference; none named: all."""
    count: PositiveInt = 30
    """Questions of these categories, at most."""
    max_tokens: PositiveInt = 1024
    """For each answer."""
    keep_truncated: bool = False
    """Keep answers that ran out of tokens."""

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return what it takes if every question of a category is there: two answers each, the first shown again."""
        answers = 2 * (self.count if rows is None else min(self.count, rows))
        return Forecast(
            requests=(0, answers),
            input_tokens=(0, answers * (200 + self.max_tokens // 2)),
            output_tokens=(0, answers * self.max_tokens),
        )

    async def generate(self, seeds: Iterable[Row], ask: Ask, draw: Draw, want: Want) -> AsyncIterator[Kept | Dropped]:
        """Yield one row a question, in the questions' order."""
        chosen = self._chosen(read_questions(seeds, self.seeds.name))

        async def answered(question: Question) -> Kept | Dropped:
            return await self._answered(question, ask)

        async for outcome in in_order(answered, chosen, want, failed=self._lost):
            yield outcome

    def _chosen(self, questions: Iterable[Question]) -> list[Question]:
        found = list(questions)
        known = list(dict.fromkeys(question.category for question in found))
        for category in self.categories:
            if category not in known:
                tip = nearest(category, known)
                raise DataError(f"no question is of category `{category}`", where=self.seeds.name, tip=tip)
        chosen = [question for question in found if not self.categories or question.category in self.categories]
        if len(chosen) > self.count:
            message = f"{len(chosen)} questions are to be answered, and `count` is {self.count}"
            raise DataError(message, where=self.seeds.name, tip=f"set `count: {len(chosen)}`")
        return chosen

    async def _answered(self, question: Question, ask: Ask) -> Kept | Dropped:
        messages: list[Message] = []
        texts: list[str] = []
        for text in question.turns:
            messages.append(Message("user", text))
            sampling = Sampling(max_tokens=self.max_tokens, temperature=0.0)
            reply = await ask(self.teacher, tuple(messages), sampling=sampling)
            messages.append(Message("assistant", reply.text))
            texts.append(reply.text.strip())
            if flaw := reply_flaw(reply, keep_truncated=self.keep_truncated):
                return Dropped(self._row(question, texts), flaw)
        return Kept(self._row(question, texts))

    def _lost(self, question: Question, error: RequestFailed) -> Kept | Dropped:
        return Dropped(self._row(question, []), REQUEST_FAILED, str(error))

    def _row(self, question: Question, texts: list[str]) -> dict[str, Json]:
        digest = hashlib.sha256(json.dumps([self.teacher.name, question.id, texts]).encode()).hexdigest()
        return {
            "question_id": question.id,
            "category": question.category,
            "answer_id": digest[:22],
            "model_id": self.teacher.name,
            "choices": [{"index": 0, "turns": [*texts]}],
            "tstamp": NO_TIME,
        }


@hookimpl
def bezoar_schemes() -> Sequence[type[Scheme]]:
    """Return the reference answers."""
    return [MtBenchReferences]
