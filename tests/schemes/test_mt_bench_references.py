"""Reference answers of one's own: FastChat's form, taken by `mt-bench`; and GPT-4's doubtful ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from mt_bench_data import MtBenchData, mt_bench_data
from scheme_runs import ScrambledAsk

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError, RequestFailed
from bezoar_core.records import Completion, Dropped, Kept, Request, Row
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, Json, ModelRef
from bezoar_plugins.benchmarks.doubtful_references import DOUBTFUL, doubtful
from bezoar_plugins.fastchat_files import read_references
from bezoar_plugins.schemes.mt_bench_references import MtBenchReferences

DOUBTED = {104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130}


@pytest.fixture(scope="module")
def data() -> MtBenchData:
    return mt_bench_data()


def scheme(data: MtBenchData, **fields: object) -> MtBenchReferences:
    given = {"teacher": ModelRef("claude"), "seeds": data.ref("questions")}
    return MtBenchReferences(**{**given, **fields})  # type: ignore[arg-type]


async def made(scheme: MtBenchReferences, ask: ScriptedAsk | ScrambledAsk) -> list[Kept | Dropped]:
    source = scheme.generate(scheme.seeds.rows(), ask, KeyedDraw(1), lambda: 100)
    return [one async for one in source]


def reply(request: Request) -> Reply:
    return f"\n It is {len(request.messages)}, {len(request.messages[-1].content)} \n"


async def test_both_turns_of_the_three_categories_are_answered_at_temperature_0(data: MtBenchData) -> None:
    ask = ScriptedAsk(reply)
    kept = [one.row for one in await made(scheme(data), ScrambledAsk(ask, 3)) if isinstance(one, Kept)]
    asked = [row for row in data.question_rows if row["category"] in ("math", "reasoning", "coding")]
    assert [row["question_id"] for row in kept] == [row["question_id"] for row in asked] and len(kept) == 30
    assert {name for name, _ in ask.requests} == {"claude"} and len(ask.requests) == 60
    assert {request.sampling.temperature for _, request in ask.requests} == {0.0}
    assert {request.sampling.max_tokens for _, request in ask.requests} == {1024}
    first, second = (str(turn) for turn in asked[0]["turns"])  # type: ignore[attr-defined]
    begun = [request for _, request in ask.requests if request.messages[0].content == first]
    texts = sorted([message.content for message in request.messages] for request in begun)
    assert texts == [[first], [first, reply(Request(messages=begun[0].messages[:1])), second]]


async def test_rows_have_the_form_of_fastchats_references(data: MtBenchData) -> None:
    outcomes = await made(scheme(data), ScriptedAsk(reply))
    rows: Sequence[Row] = [one.row for one in outcomes]
    for row in rows:
        theirs = data.reference_rows[row["question_id"]]
        assert set(row) == {*theirs, "category"}
        (choice,) = row["choices"]  # type: ignore[misc]
        assert set(choice) == set(theirs["choices"][0])  # type: ignore[index, arg-type]
        assert choice["turns"] == [turn.strip() for turn in choice["turns"]] and len(choice["turns"]) == 2
        assert row["model_id"] == "claude" and row["tstamp"] == 0
    assert len({str(row["answer_id"]) for row in rows}) == 30
    read = read_references(rows, "mine")
    assert read["101"][0].startswith("It is 1, ") and read["101"][1].startswith("It is 3, ")
    assert [one.row for one in await made(scheme(data), ScriptedAsk(reply))] == rows


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Completion(text="It is", finish="length"), "truncated"),
        (Completion(text=" "), "empty_response"),
        (Completion(text="No.", finish="refused"), "refused"),
        (RequestFailed("too long", kind="context"), "request_failed"),
    ],
)
async def test_half_an_answer_is_no_reference(data: MtBenchData, second: Reply, reason: str) -> None:
    ask = ScriptedAsk(lambda request: second if len(request.messages) == 3 else reply(request))
    outcomes = await made(scheme(data, categories=("math",)), ask)
    assert [one.reason for one in outcomes if isinstance(one, Dropped)] == [reason] * 10


async def test_what_cannot_be_chosen_is_told(data: MtBenchData) -> None:
    with pytest.raises(DataError, match=r"(?s)no question is of category `maths`.*did you mean `math`"):
        await made(scheme(data, categories=("maths",)), ScriptedAsk(reply))
    with pytest.raises(DataError, match=r"(?s)80 questions are to be answered, and `count` is 30.*`count: 80`"):
        await made(scheme(data, categories=()), ScriptedAsk(reply))
    twice: list[dict[str, Json]] = [{"question_id": 1, "category": "math", "turns": ["Why?"]}] * 2
    with pytest.raises(DataError, match="mine:2: question `1` is there twice"):
        await made(scheme(data, seeds=DatasetRef("mine", lambda: twice)), ScriptedAsk(reply))


def test_the_doubtful_ones_are_known_by_their_words(data: MtBenchData) -> None:
    turns = {number: list(row["choices"][0]["turns"]) for number, row in data.reference_rows.items()}  # type: ignore[index]
    assert {number for number, texts in turns.items() if doubtful(texts)} == DOUBTED
    assert len(DOUBTFUL) == len(DOUBTED) == 13
    assert not doubtful([turns[104][0], turns[104][1] + "!"]), "another answer to the same question"
