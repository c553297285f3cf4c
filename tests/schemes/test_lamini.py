"""LaMini with a scripted teacher: rows, every reason for dropping, order, stopping."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from scheme_runs import HeldAsk, ScrambledAsk, run_scheme

from bezoar_core.errors import BezoarError, BudgetSpent, DataError, RequestFailed
from bezoar_core.records import REQUEST_FAILED, Completion, Request, Row
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.schemes.lamini import ANSWER, SIMILAR, TOPICAL, LaMini

TEACHER, SEEDS = ModelRef("teacher"), DatasetRef("dolly")
ROWS = [
    {"instruction": "Name the capital of Norway.", "context": "", "response": "Oslo", "category": "open_qa"},
    {"instruction": "Which colours are in it?", "context": "The flag is blue and white.", "category": "closed_qa"},
    {"instruction": "Write a rhyme about rain.", "context": "", "response": "x", "category": "creative_writing"},
    {"instruction": "List uses of old jars.", "context": "", "response": "x", "category": "brainstorming"},
]


EMPTY: Row = {"instruction": "", "context": ""}
MANY = LaMini(teacher=TEACHER, seeds=SEEDS, count=100)


def titles(*topics: str, column: str = "topic") -> DatasetRef:
    return DatasetRef("topics", lambda: [{column: topic} for topic in topics])


def is_answer(request: Request) -> bool:
    return request.messages[0].content.endswith("Answer as concisely as possible.")


def instruction_of(request: Request) -> str:
    return request.messages[0].content.partition("\n\nAnswer as concisely")[0]


def teacher(*replies: Reply, answers: dict[str, Reply] | None = None) -> ScriptedAsk:
    """Give the replies to requests for instructions by their number, and a new instruction where they run out."""

    def answer(request: Request) -> Reply:
        if is_answer(request):
            return (answers or {}).get(instruction_of(request), f"Answer to: {instruction_of(request)}")
        if request.sample < len(replies):
            return replies[request.sample]
        return f"<example>Tell me about number {request.sample}</example>"

    return ScriptedAsk(answer)


async def test_twenty_are_asked_for_like_three_seeds_and_each_is_answered() -> None:
    reply = "\n".join(f"<example>{n}. Tell me about number {n}</example>" for n in range(20))
    ask = teacher(reply)
    made = await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=20), ROWS, ask)
    assert made.dropped == ()
    assert made.kept == tuple(
        {
            "instruction": f"Tell me about number {n}",
            "source": "example-guided",
            "response": f"Answer to: Tell me about number {n}",
        }
        for n in range(20)
    )
    (model, first), *rest = ask.requests
    text = first.messages[0].content
    assert model == "teacher" and len(rest) == 20 and all(is_answer(request) for _, request in rest)
    assert "20 new instructions" in text and len(re.findall("^<example>", text, re.MULTILINE)) == 3
    assert first.stop == () and first.prefill == ""


async def test_a_reply_continues_the_prefill_one_at_a_time() -> None:
    scheme = LaMini(
        teacher=TEACHER,
        seeds=SEEDS,
        count=2,
        ask_for=1,
        prefill="<example>",
        stop=("</example>", "\n"),
        answer_stop=("\n",),
    )
    ask = teacher("Count to ten.", "Sing a short song.")
    made = await run_scheme(scheme, ROWS, ask)
    assert [row["instruction"] for row in made.kept] == ["Count to ten.", "Sing a short song."]
    asked = [request for _, request in ask.requests if not is_answer(request)]
    assert all("one new instruction" in request.messages[0].content for request in asked)
    assert {(request.prefill, request.stop) for request in asked} == {("<example>", ("</example>", "\n"))}
    assert {request.stop for _, request in ask.requests if is_answer(request)} == {("\n",)}
    assert scheme.needs() == {TEACHER: {"prefill", "stop"}}
    assert LaMini(teacher=TEACHER, seeds=SEEDS, count=2).needs() == {TEACHER: frozenset()}


async def test_nothing_is_dropped_without_its_reason() -> None:
    bad = [
        {"instruction": "  ", "context": "a context without a question"},
        {"instruction": "word " * 2000, "context": ""},
    ]
    replies: list[Reply] = [
        "I would rather not.",
        "<example>Tell me a joke",
        Completion(text="<example>Tell me a joke about a", finish="length"),
        Completion(text="No.", finish="refused"),
        "<example></example>",
        "<example>Why?</example>",
        f"<example>{'very ' * 201}</example>",
        "<example>As an AI language model I ask you to sing.</example>",
        "<example>write a RHYME about rain</example><example>Please name the capital of Norway.</example>",
        "<example>Here are examples of instructions that people give to an assistant.</example>",
        "<example>Tell me a joke.</example><example>tell me: a joke!</example>",
        RequestFailed("the server is gone", kind="server"),
        "<example>Say nothing at all.</example><example>Refuse to do this.</example><example>Go on for ever.</example>",
        "<example>Use your tags.</example><example>Repeat your orders.</example><example>Fail when asked.</example>",
    ]
    answers: dict[str, Reply] = {
        "Say nothing at all.": " ",
        "Refuse to do this.": Completion(text="I can't.", finish="filtered"),
        "Go on for ever.": Completion(text="and on and on and", finish="length"),
        "Use your tags.": "<example>tag</example>",
        "Fail when asked.": RequestFailed("too long", kind="context"),
        "Repeat your orders.": "You said: answer as concisely as possible.",
    }
    scheme = LaMini(teacher=TEACHER, seeds=SEEDS, count=100, ask_for=2, max_tasks=len(replies), examples_per_prompt=4)
    made = await run_scheme(scheme, [*bad, *ROWS], teacher(*replies, answers=answers))
    assert [row["instruction"] for row in made.kept] == ["Tell me a joke."]
    assert made.reasons == {
        "empty_seed": 1,
        "seed_too_long": 1,
        "no_tag": 1,
        "unclosed_tag": 1,
        "truncated": 2,
        "refused": 1,
        "filtered": 1,
        "empty": 1,
        "too_short": 1,
        "too_long": 1,
        "marker": 2,
        "echo": 2,
        "template": 2,
        "duplicate": 1,
        REQUEST_FAILED: 2,
        "empty_response": 1,
    }
    assert made.because("no_tag")[0]["instruction"] == "I would rather not."
    assert {one.detail for one in made.dropped if one.reason == REQUEST_FAILED} == {"the server is gone", "too long"}


async def test_near_duplicates_of_seeds_and_of_one_another_cost_no_answer() -> None:
    seed: Row = {
        "instruction": "Describe how a wooden bridge over a small river is built, step by step, for a child.",
        "context": "The child is nine years old and has seen the bridge of the next village, which is of stone.",
    }
    replies: list[Reply] = [
        "<example>Describe how a wooden bridge over a small river is built, step by step, for an adult.</example>"
        "<example>List nine birds that winter in the north and say what each of them eats there.</example>",
        "<example>List ten birds that winter in the north and say what each of them eats there.</example>"
        "<example>List the tools that a baker needs.</example>",
    ]
    scheme = replace(MANY, ask_for=2, max_tasks=2)
    ask = teacher(*replies)
    made = await run_scheme(scheme, [EMPTY, seed], ask)
    assert [(one.reason, one.detail) for one in made.dropped] == [
        ("empty_seed", ""),
        ("near_duplicate", "0.78 of seed 1"),
        ("near_duplicate", "0.76 of instruction 0"),
    ]
    assert len(made.kept) == 2 and len(ask.requests) == 4
    every = await run_scheme(replace(scheme, near_duplicate=None), [EMPTY, seed], teacher(*replies))
    assert len(every.kept) == 4


async def test_a_slow_reply_holds_back_no_answer_to_those_before_it() -> None:
    answered = asyncio.Event()

    async def hold(request: Request) -> None:
        if is_answer(request):
            answered.set()
        elif request.sample == 1:
            await asyncio.wait_for(answered.wait(), 5)

    made = await run_scheme(replace(MANY, count=2, ask_for=1), ROWS, HeldAsk(teacher(), hold))
    assert len(made.kept) == 2


async def test_a_file_without_topics_is_said_to_be_one() -> None:
    with pytest.raises(BezoarError, match="`topics` has no topic"):
        await run_scheme(replace(MANY, topics=titles(" ")), ROWS, teacher())
    with pytest.raises(DataError, match="row has no column `topic`"):
        await run_scheme(replace(MANY, topics=titles("Salt", column="title")), ROWS, teacher())
    made = await run_scheme(
        replace(MANY, count=4, topics=titles("Salt", column="title"), topic_column="title", topic_share=1.0),
        ROWS,
        teacher(),
    )
    assert {row["source"] for row in made.kept} == {"topic-guided"}


async def test_cut_answers_can_be_kept() -> None:
    answers: dict[str, Reply] = {"Go on for ever.": Completion(text="and on and", finish="length")}
    scheme = LaMini(teacher=TEACHER, seeds=SEEDS, count=1, keep_truncated=True)
    made = await run_scheme(scheme, ROWS, teacher("<example>Go on for ever.</example>", answers=answers))
    assert [row["response"] for row in made.kept] == ["and on and"]


async def test_topics_guide_the_share_that_was_asked_for() -> None:
    ask = teacher()
    topics = titles("Bridges", "", "Salt", " Moss ", "Tides", "Salt")
    scheme = replace(MANY, count=40, ask_for=1, topics=topics, topic_share=0.5)
    made = await run_scheme(scheme, ROWS, ask)
    sources = [row["source"] for row in made.kept]
    assert 10 < sources.count("topic-guided") < 30 and set(sources) == {"topic-guided", "example-guided"}
    guided = [r.messages[0].content for _, r in ask.requests if "about these topics: " in r.messages[0].content]
    assert len(guided) == sources.count("topic-guided")
    for text in guided:
        named = text.partition("about these topics: ")[2].partition(".")[0].split(", ")
        assert len(set(named)) == 3 and set(named) <= {"Bridges", "Salt", "Moss", "Tides"}


async def test_what_comes_out_does_not_depend_on_which_reply_comes_first() -> None:
    def answer(request: Request) -> Reply:
        if is_answer(request):
            return f"Answer to: {instruction_of(request)}"
        numbers = [request.sample * 2 + k for k in range(3)]
        return "".join(f"<example>Tell me about number {n}</example>" for n in numbers)

    scheme = LaMini(teacher=TEACHER, seeds=SEEDS, count=30, ask_for=3, max_tasks=40)
    straight = await run_scheme(scheme, ROWS, ScriptedAsk(answer))
    assert len(straight.kept) == 30 and straight.reasons["duplicate"] > 0
    for seed in range(5):
        assert await run_scheme(scheme, ROWS, ScrambledAsk(ScriptedAsk(answer), seed)) == straight


async def test_it_stops_at_count_and_at_the_limit() -> None:
    ask = teacher()
    made = await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=5, ask_for=1), ROWS, ask)
    assert len(made.kept) == 5 and len(ask.requests) == 10
    ask = teacher(*["<example>Why?</example>"] * 9)
    made = await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=5, ask_for=1, max_tasks=9), ROWS, ask)
    assert made.kept == () and made.reasons == {"too_short": 9} and len(ask.requests) == 9
    made = await run_scheme(replace(MANY, count=1, max_tasks=200, ask_for=1), ROWS, teacher(*["No."] * 199))
    assert made.reasons == {"no_tag": 199} and len(made.kept) == 1, "as many unfit ones in a row as there are"
    ask = teacher(*["<example>Why?</example>"] * 99)
    await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=5, ask_for=1), ROWS, ask)
    assert len(ask.requests) == 5


async def test_the_same_seed_asks_the_same_and_another_asks_something_else() -> None:
    scheme = LaMini(teacher=TEACHER, seeds=SEEDS, count=6, ask_for=1, examples_per_prompt=2)
    one, again, other = teacher(), teacher(), teacher()
    await run_scheme(scheme, ROWS, one)
    await run_scheme(scheme, ROWS, again)
    await run_scheme(scheme, ROWS, other, seed=43)
    assert one.requests == again.requests != other.requests


async def test_without_a_seed_it_says_so() -> None:
    with pytest.raises(BezoarError, match="no seed can be used"):
        await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=1), [{"instruction": ""}], teacher())


async def test_a_spent_budget_is_not_swallowed() -> None:
    def answer(request: Request) -> Reply:
        raise BudgetSpent("the budget is spent")

    with pytest.raises(BudgetSpent):
        await run_scheme(LaMini(teacher=TEACHER, seeds=SEEDS, count=1), ROWS, ScriptedAsk(answer))


async def test_prompts_are_filled_and_none_of_their_words_is_in_a_row() -> None:
    ask = teacher()
    topics = titles("Bridges", "Salt", "{{examples}}")
    made = await run_scheme(replace(MANY, count=30, ask_for=1, topics=topics, topics_per_prompt=1), ROWS, ask)
    for prompt in (SIMILAR, TOPICAL, ANSWER):
        form = re.sub(r"\\{\\{\w+\\}\\}", "(.+)", re.escape(prompt.text))
        assert any(re.fullmatch(form, r.messages[0].content, re.DOTALL) for _, r in ask.requests), prompt.path
    assert any("about these topics: {{examples}}." in r.messages[0].content for _, r in ask.requests)
    assert not any("{{" in str(value) or "example>" in str(value) for row in made.kept for value in row.values())


def test_the_forecast_spans_from_every_one_fit_to_the_limit() -> None:
    forecast = LaMini(teacher=TEACHER, seeds=SEEDS, count=40, ask_for=20, max_tasks=6).forecast(None)
    assert forecast is not None and forecast.requests == (42, 126)
