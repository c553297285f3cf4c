"""Agreement of a judge with people, against the formula of weighted kappa written out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pytest

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError
from bezoar_core.records import Request, Sample, Score, Subject
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, JudgeRef, ModelRef
from bezoar_plugins.benchmarks.agreement import agreement_score, read_golden
from bezoar_plugins.benchmarks.mt_bench import MtBench
from bezoar_plugins.fastchat_files import Question
from bezoar_plugins.judges.mt_bench_single import MtBenchSingle

QUESTIONS = (
    Question(id=1, category="writing", turns=("Why?", "And then?")),
    Question(id="b", category="writing", turns=("How?",)),
)


def sample(value: float | None, human: float) -> Sample:
    outcome = "unparsed" if value is None else "scored"
    return Sample(item="g", metric="m", outcome=outcome, value=value, data={"human_rating": human})


def scored(pairs: Sequence[tuple[float | None, float]]) -> Score:
    return agreement_score("mt", [sample(*pair) for pair in pairs], random.Random(1))


def written_out(pairs: Sequence[tuple[float, float]]) -> float:
    """1 - mean squared difference over the mean squared difference of all with all."""
    by_chance = fmean((a - b) ** 2 for a, _ in pairs for _, b in pairs)
    return 1 - fmean((a - b) ** 2 for a, b in pairs) / by_chance


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_the_formulas(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [(rng.choice([1.0, 2.5, 4.0, 7.0, 8.5, 10.0]), float(rng.randint(1, 10))) for _ in range(40)]
    score = scored(pairs)
    assert score.value == pytest.approx(written_out(pairs)) and score.n == 40
    assert score.low is not None and score.high is not None and score.low < score.value < score.high
    assert score.data["same_rating"] == fmean(a == b for a, b in pairs)
    assert score.data["judge_above_people"] == pytest.approx(fmean(a - b for a, b in pairs))
    assert scored(pairs) == score, "seeded"


def test_full_agreement_is_one_and_none_can_be_said_of_constants() -> None:
    assert scored([(float(n), float(n)) for n in range(1, 11)]).value == 1.0
    constant = scored([(7.0, 7.0)] * 5)
    assert (constant.value, constant.low, constant.high, constant.n) == (None, None, None, 5)
    assert constant.data["same_rating"] == 1.0
    nothing = scored([(None, 7.0)])
    assert (nothing.value, nothing.n, nothing.missing["unparsed"]) == (None, 0, 1)


GOOD = {"question_id": 1, "turn": 1, "answer": "So.", "rating": 7}


def test_rated_answers_are_read() -> None:
    rows = [GOOD, {**GOOD, "turn": 2, "first_answer": "Before."}, {"question_id": "b", "answer": "", "rating": 1.5}]
    first, second, third = read_golden(rows, "people", QUESTIONS)
    assert (first.question.id, first.answers, first.rating, first.turn) == (1, ("So.",), 7.0, 1)
    assert (second.answers, second.turn) == (("Before.", "So."), 2)
    assert (third.question.id, third.answers, third.rating) == ("b", ("",), 1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": 3}, "people:1: `question_id` 3 is none of the questions"),
        ({"turn": 3}, "people:1: `turn` is a number from 1 to 2, not 3"),
        ({"turn": "1"}, "people:1: `turn` is a number from 1 to 2, not '1'"),
        ({"turn": 2}, "people:1: a rated answer to turn 2 has a text in first_answer and answer"),
        ({"answer": None}, "people:1: a rated answer to turn 1 has a text in answer"),
        ({"rating": 11}, "people:1: `rating` is a number from 1 to 10, not 11"),
        ({"rating": True}, "people:1: `rating` is a number from 1 to 10, not True"),
        ({"rating": "7"}, "people:1: `rating` is a number from 1 to 10, not '7'"),
    ],
)
def test_what_is_no_rated_answer_is_told(change: Mapping[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_golden([{**GOOD, **change}], "people", QUESTIONS)  # type: ignore[dict-item]


async def test_the_judge_grades_them_once_and_not_for_each_model(tmp_path: Path) -> None:
    rows = [{"question_id": 1, "category": "writing", "turns": ["Why?", "And then?"]}]
    prompts = [
        {"name": "single-v1", "system_prompt": "grade", "prompt_template": "{question} {answer}"},
        {"name": "single-v1-multi-turn", "system_prompt": "grade", "prompt_template": "{answer_1} {answer_2}"},
    ]
    people = [{**GOOD, "rating": n, "answer": f"worth {n}"} for n in (2, 5, 9)]
    people.append({**GOOD, "turn": 2, "first_answer": "worth 1", "answer": "worth 4", "rating": 4})
    judge = MtBenchSingle(model=ModelRef("gpt"), prompts=DatasetRef("prompts", lambda: prompts))
    bench = MtBench(
        models=(ModelRef("a"), ModelRef("b")),
        judge=JudgeRef("mt", judge),
        questions=DatasetRef("questions", lambda: rows),
        golden=DatasetRef("people", lambda: people),
    )

    def answer(request: Request) -> Reply:
        return f"Rating: [[{request.messages[-1].content[-1]}]]" if len(request.messages) == 2 else "worth 6"

    measured = {}
    for name in ("a", "b"):
        ask = ScriptedAsk(answer)
        source = bench.measure(Subject(name=name, ref=ModelRef(name)), ask, KeyedDraw(1), tmp_path)
        measured[name] = [one async for one in source]
        assert len(ask.requests) == 4, "no golden answer is asked of a measured model"
    ask = ScriptedAsk(answer)
    found = [one async for one in bench.compare(measured, ask, KeyedDraw(1), tmp_path)]
    assert [name for name, _ in ask.requests] == ["gpt"] * 4
    golden = [one for one in found if isinstance(one, Sample)]
    assert [(s.value, s.data["human_rating"], s.data["turn"]) for s in golden] == [
        (2.0, 2.0, 1),
        (5.0, 5.0, 1),
        (9.0, 9.0, 1),
        (4.0, 4.0, 2),
    ]
    (score,) = (one for one in found if isinstance(one, Score) and one.metric == "judge_agreement")
    assert (score.model, score.value, score.n) == ("mt", 1.0, 4)
