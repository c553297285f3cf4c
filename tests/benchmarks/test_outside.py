"""Models that FastChat measured, beside ours: what we write is read back, and bad files are told with their line."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastchat_code import fastchat_module

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError, RequestFailed
from bezoar_core.records import Request, Sample, Score, Subject
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, JudgeRef, ModelRef
from bezoar_plugins.benchmarks.mt_bench import MtBench
from bezoar_plugins.judges.mt_bench_pair import MtBenchPair
from bezoar_plugins.judges.mt_bench_single import MtBenchSingle

T = TypeVar("T")
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line.", "And a second."]},
    {"question_id": 82, "category": "writing", "turns": ["Write a word.", "And a longer one."]},
    {"question_id": "own", "category": "cooking", "turns": ["What is broth?"]},
]
PROMPTS = [
    {"name": f"{kind}{turn}", "system_prompt": "Judge.", "prompt_template": text}
    for turn in ("", "-multi-turn")
    for kind, text in (
        ("single-v1", "{answer_2}" if turn else "{answer}"),
        ("pair-v2", "{answer_a_2} or {answer_b_2}" if turn else "{answer_a} or {answer_b}"),
    )
]


async def collected(source: AsyncIterator[T]) -> list[T]:
    return [one async for one in source]


def bench(*models: str, outside: Path | None = None, paired: bool = False, baseline: str | None = None) -> MtBench:
    prompts = DatasetRef("prompts", lambda: PROMPTS)
    return MtBench(
        models=tuple(ModelRef(name) for name in models),
        judge=JudgeRef("mt", MtBenchSingle(model=ModelRef("gpt"), prompts=prompts)),
        pair_judge=JudgeRef("duel", MtBenchPair(model=ModelRef("gpt"), prompts=prompts)) if paired else None,
        questions=DatasetRef("questions", lambda: QUESTIONS),
        baseline=baseline,
        outside=None if outside is None else str(outside),
        max_unparsed=1.0,
    )


def reply(request: Request) -> Reply:
    """Answer with the question; rate by its length, prefer a longer answer, and leave out what is about words."""
    text = request.messages[-1].content
    if request.messages[0].role != "system":
        return RequestFailed("too long", kind="context") if text == "And a longer one." else f"To {text}"
    if " or " in text:
        first, second = text.split(" or ")
        return "[[A]]" if len(first) > len(second) else "[[B]]" if len(second) > len(first) else "[[C]]"
    return "No rating." if "word" in text else f"[[{len(text) % 10 + 1}]]"


async def measured(name: str, out: Path) -> list[Sample]:
    def mine(request: Request) -> Reply:
        made = reply(request)
        own = isinstance(made, str) and request.messages[0].role != "system"
        return f"{name}: {made}" if own else made

    subject = Subject(name=name, ref=ModelRef(name))
    return await collected(bench(name).measure(subject, ScriptedAsk(mine), KeyedDraw(7), out))


async def compared(ours: MtBench, found: Mapping[str, Sequence[Sample]], out: Path) -> dict[Any, Any]:
    """Return the scores by task, model and metric, and the samples by item and models."""
    out.mkdir(parents=True, exist_ok=True)
    made = await collected(ours.compare(found, ScriptedAsk(reply), KeyedDraw(7), out))
    scores = {(one.task, one.model, one.metric): one for one in made if isinstance(one, Score)}
    return scores | {(s.item, s.data["model_1"], s.data["model_2"]): s for s in made if isinstance(s, Sample)}


async def test_what_we_write_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    there.mkdir()
    theirs = {name: await measured(name, tmp_path / name) for name in ("alpha", "beta")}
    written = await compared(bench(*theirs), theirs, there)
    ours = {"gamma": await measured("gamma", tmp_path / "gamma")}
    read = await compared(bench(*ours, outside=there), ours, tmp_path / "all")
    for (_, model, metric), score in written.items():
        again = read["mt-bench (judge mt)", model, metric]
        assert (again.value, again.n, again.missing) == (score.value, score.n, score.missing)
        assert {k: again.data[k] for k in ("worst", "best")} == {k: score.data[k] for k in ("worst", "best")}
        assert again.data["notes"] == ["read from `outside`: not comparable with the ratings of another judge"]
        assert again.data["outside"] is True and again.data["judge"] == "mt" and again.data["unrated"] == 0
    assert written["mt-bench", "alpha", "rating"].missing == {"unparsed": 1, "refused": 0, "failed": 1}
    metrics = {metric for _, model, metric in written if model == "beta"}
    assert {metric for task, model, metric in read if (task, model) == ("mt-bench", "gamma")} == metrics

    show, shown = fastchat_module("show_result"), list[Any]()
    monkeypatch.setattr(show, "print", lambda *values: shown.extend(values), raising=False)
    file = there / "model_judgment" / "mt_single.jsonl"
    show.display_result_single(Namespace(input_file=str(file), bench_name="mt_bench", model_list=None))
    *_, both = (table for table in shown if not isinstance(table, str))
    for model in theirs:
        value = read["mt-bench (judge mt)", model, "rating"].value
        assert both["score"][model] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("baseline", [None, "alpha", "gamma"])
async def test_answers_from_elsewhere_are_compared_with_ours(tmp_path: Path, baseline: str | None) -> None:
    there = tmp_path / "there"
    for name in ("alpha", "be"):
        await measured(name, there)
    shutil.rmtree(there / "model_judgment")
    ours = {name: await measured(name, tmp_path / name) for name in ("gamma", "delta-long")}
    found = await compared(bench(*ours, outside=there, paired=True, baseline=baseline), ours, tmp_path / "all")
    met = {key[1:] for key in found if key[0] == "81/1"}
    with_outside = {(a, b) for a in ours for b in ("alpha", "be")}
    assert (
        met
        == {
            None: {("gamma", "delta-long"), *with_outside},
            "alpha": {("gamma", "alpha"), ("delta-long", "alpha")},
            "gamma": {("delta-long", "gamma"), ("alpha", "gamma"), ("be", "gamma")},
        }[baseline]
    ), "two from outside never meet"
    rates = {model: score for (task, model, metric), score in found.items() if metric == "win_rate"}
    assert set(rates) == {name for pair in met for name in pair} - {baseline}
    assert {name for name in rates if rates[name].data.get("outside")} == set(rates) & {"alpha", "be"}
    assert rates["delta-long"].value == 1.0, "the longest answer"
    assert rates["delta-long"].missing["unanswered"] == len(rates["delta-long"].data["against"])


def written(folder: Path, name: str, *rows: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return folder


RATING = {"question_id": 81, "model": "x", "judge": ["gpt-4", "single-v1"], "judgment": "Fine.", "score": 7, "turn": 1}
ANSWER = {"question_id": 81, "model_id": "x", "choices": [{"index": 0, "turns": ["One.", "Two."]}]}
RATINGS, ANSWERS = "model_judgment/gpt-4_single.jsonl", "model_answer/x.jsonl"


async def test_ratings_of_several_judges_are_kept_apart(tmp_path: Path) -> None:
    rows = [
        RATING,
        {**RATING, "turn": 2, "score": -1, "judgment": "Hm."},
        {**RATING, "question_id": 82, "score": -1, "judgment": "$ERROR$"},
        {**RATING, "question_id": 82, "turn": 2, "score": 11},
        {**RATING, "question_id": 99, "score": 10},
        {**RATING, "judge": ["claude", "single-v1"], "score": 2.5},
        {**RATING, "judge": ["claude", "single-v1"], "score": 5.5},
    ]
    there = written(tmp_path / "there", RATINGS, *rows)
    ours = {"gamma": await measured("gamma", tmp_path)}
    found = await compared(bench(*ours, outside=there), ours, tmp_path / "all")
    score = found["mt-bench (judge gpt-4)", "x", "rating"]
    assert (score.value, score.n) == (7.0, 1), "what our models were not asked does not count"
    assert score.missing == {"unparsed": 2, "refused": 0, "failed": 2} and score.data["unrated"] == 1
    other = found["mt-bench (judge claude)", "x", "rating"]
    assert (other.value, other.n, other.data["unrated"]) == (4.0, 2, 4)
    assert found["mt-bench (judge gpt-4)", "x", "rating/cooking"].value is None


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        (RATINGS, [RATING, "{"], r"single.jsonl:2: is no JSON"),
        (RATINGS, [{**RATING, "judge": "gpt-4"}], r"single.jsonl:1: a rating has a list `judge`"),
        (RATINGS, [{**RATING, "model": None}], r"single.jsonl:1: a rating has a text `model`"),
        (RATINGS, [{**RATING, "turn": 3}], r"single.jsonl:1: a rating has a `turn`, 1 or 2"),
        (RATINGS, [{**RATING, "score": "7"}], r"single.jsonl:1: a rating has a number `score`"),
        (RATINGS, [{**RATING, "question_id": None}], r"single.jsonl:1: a rating has a number or text `question_id`"),
        (RATINGS, [{**RATING, "model": "gamma"}], r"(?s)single.jsonl:1: model `gamma` is also one of `models`.*rename"),
        (ANSWERS, [ANSWER, ANSWER], r"x.jsonl:2: question `81` is answered twice"),
        (ANSWERS, [{"question_id": 81}], r"x.jsonl:1: an answer has a list `choices`"),
        ("model_answer/gamma.jsonl", [ANSWER], r"gamma.jsonl: model `gamma` is also one of `models`"),
        ("other/x.jsonl", [], r"(?s)there: holds no file of answers or ratings.*model_answer/\*\.jsonl"),
    ],
)
async def test_bad_files(tmp_path: Path, file: str, rows: Sequence[object], message: str) -> None:
    there = written(tmp_path / "there", file, *rows)
    ours = {"gamma": await measured("gamma", tmp_path)}
    with pytest.raises(DataError, match=message):
        await compared(bench(*ours, outside=there), ours, tmp_path / "all")


async def test_an_answer_that_fastchat_never_got_is_none(tmp_path: Path) -> None:
    rows = [ANSWER, {**ANSWER, "question_id": 82, "choices": [{"index": 0, "turns": ["$ERROR$", "Two."]}]}]
    there = written(tmp_path / "there", ANSWERS, *rows)
    ours = {"gamma": await measured("gamma", tmp_path)}
    found = await compared(bench(*ours, outside=there, paired=True), ours, tmp_path / "all")
    assert {key[0] for key in found if key[1:] == ("gamma", "x")} == {"81/1", "81/2"}
    assert found["mt-bench", "gamma", "win_rate"].missing["unanswered"] == 3
