"""Evol-Instruct with a scripted teacher: rounds, eliminations, the equality question, order, stopping."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace

import pytest
from scheme_runs import HeldAsk, ScrambledAsk, run_scheme

from bezoar_core.errors import BezoarError, BudgetSpent, RequestFailed
from bezoar_core.records import REQUEST_FAILED, Completion, Request
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.schemes.evol_instruct import EQUALITY, PROMPTS, EvolInstruct, read_equality

TEACHER, REFEREE, SEEDS = ModelRef("teacher"), ModelRef("referee"), DatasetRef("dolly")
CATEGORIES = ("open_qa", "closed_qa", "brainstorming", "creative_writing")
ROWS = [
    {"instruction": f"Ask about thing {n}.", "context": "", "response": "x", "category": CATEGORIES[n % 4]}
    for n in range(12)
]
ALL = EvolInstruct(teacher=TEACHER, seeds=SEEDS, count=1000)


def content(request: Request) -> str:
    return request.messages[0].content


def is_evolution(request: Request) -> bool:
    return content(request).startswith("Here is a prompt that somebody gave")


def is_equality(request: Request) -> bool:
    return content(request).startswith("Compare two prompts.")


def given(request: Request) -> str:
    match = re.search("<prompt>(.*?)</prompt>", content(request), re.DOTALL)
    assert match is not None
    return match[1]


def teacher(
    evolve: dict[str, Reply] | None = None,
    equal: dict[str, list[Reply]] | None = None,
    answers: dict[str, Reply] | None = None,
) -> ScriptedAsk:
    """Evolve "thing 3." into "thing 3 (harder).": `evolve` goes by the given prompt, the others by the evolved one."""

    def answer(request: Request) -> Reply:
        if is_evolution(request):
            text = given(request)
            return (evolve or {}).get(text, f"<prompt>{text.removesuffix('.')} (harder).</prompt>")
        if is_equality(request):
            evolved = content(request).partition("The second prompt: ")[2].partition("\n\n")[0]
            return (equal or {}).get(evolved, ["Not Equal"] * 6)[request.sample]
        return (answers or {}).get(content(request), f"All about it: {content(request)}")

    return ScriptedAsk(answer)


async def test_every_member_evolves_once_a_round_from_where_it_got_to() -> None:
    ask = teacher()
    made = await run_scheme(replace(ALL, rounds=2), ROWS, ask)
    assert made.dropped == () and len(made.kept) == 24
    first, second = made.kept[:12], made.kept[12:]
    assert {row["instruction"] for row in first} == {f"Ask about thing {n} (harder)." for n in range(12)}
    assert {row["instruction"] for row in second} == {f"Ask about thing {n} (harder) (harder)." for n in range(12)}
    assert {row["epoch"] for row in first} == {1} and {row["epoch"] for row in second} == {2}
    assert all(row["response"] == f"All about it: {row['instruction']}" for row in made.kept)
    assert set(made.kept[0]) == {
        "instruction",
        "response",
        "category",
        "evolution_strategy",
        "in-depth-evolving_operation",
        "epoch",
        "seed_index",
        "parent_epoch",
    }
    assert [row["category"] for row in first[:4]] == list(CATEGORIES), "the categories take turns"


async def test_strategy_and_operation_are_drawn_once_a_category_and_round() -> None:
    made = await run_scheme(replace(ALL, rounds=40, breadth_share=0.5), ROWS, teacher())
    drawn = {
        (row["category"], row["epoch"]): (row["evolution_strategy"], row["in-depth-evolving_operation"])
        for row in made.kept
    }
    assert len(made.kept) == 480 and len(drawn) == 160
    for row in made.kept:
        strategy, operation = drawn[row["category"], row["epoch"]]
        assert (row["evolution_strategy"], row["in-depth-evolving_operation"]) == (strategy, operation)
    strategies = Counter(strategy for strategy, _ in drawn.values())
    operations = {operation for strategy, operation in drawn.values() if strategy == "in-depth"}
    assert 50 < strategies["in-breadth"] < 110
    assert operations == {"add_constraints", "deepen", "concretise", "increase_reasoning"}
    assert {operation for strategy, operation in drawn.values() if strategy == "in-breadth"} == {""}


async def test_strategy_and_operation_can_be_drawn_for_each_item() -> None:
    every = ("add_constraints", "deepen", "concretise", "increase_reasoning", "complicate_input")
    made = await run_scheme(replace(ALL, rounds=40, operations=every, draw="item"), ROWS, teacher())
    drawn = Counter(row["in-depth-evolving_operation"] for row in made.kept)
    assert set(drawn) == {*every, ""} and min(drawn.values()) > 50, "a sixth of 480 each"
    in_a_round = {row["in-depth-evolving_operation"] for row in made.kept if row["epoch"] == 1}
    of_a_category = {
        row["in-depth-evolving_operation"] for row in made.kept if (row["epoch"], row["category"]) == (1, "open_qa")
    }
    assert len(in_a_round) > 2 and len(of_a_category) > 1


async def test_a_row_names_its_seed_and_the_round_it_was_evolved_from() -> None:
    ask = teacher({"Ask about thing 2 (harder).": "No tag.", "Ask about thing 1.": "No tag."})
    rows = [
        {"instruction": "", "context": "", "category": "open_qa"},
        *({**row, "category": "open_qa"} for row in ROWS[:4]),
    ]
    made = await run_scheme(replace(ALL, rounds=3), rows, ask)
    texts = {(row["seed_index"], row["epoch"]): str(row["instruction"]) for row in made.kept}
    assert {row["parent_epoch"] for row in made.kept if row["seed_index"] == 1} == {0, 1, 2}
    assert [(r["epoch"], r["parent_epoch"]) for r in made.kept if r["seed_index"] == 3] == [(1, 0)]
    assert [(r["epoch"], r["parent_epoch"]) for r in made.because("no_tag") if r["seed_index"] == 3] == [(2, 1), (3, 1)]
    assert [r["epoch"] for r in made.because("no_tag") if r["seed_index"] == 2] == [1, 2, 3]
    for row in made.kept:
        number, parent = row["seed_index"], row["parent_epoch"]
        assert isinstance(number, int)
        before = texts[number, parent] if parent else str(rows[number]["instruction"])
        assert row["instruction"] == f"{before.removesuffix('.')} (harder)."


async def test_a_slow_reply_holds_back_no_other_member() -> None:
    last = asyncio.Event()

    async def hold(request: Request) -> None:
        if is_evolution(request) and given(request) == "Ask about thing 0.":
            await asyncio.wait_for(last.wait(), 5)
        elif content(request) == f"Ask about thing 1{' (harder)' * 3}.":
            last.set()

    made = await run_scheme(replace(ALL, rounds=3), ROWS, HeldAsk(teacher(), hold))
    assert len(made.kept) == 36
    assert made == await run_scheme(replace(ALL, rounds=3), ROWS, teacher())


async def test_every_prompt_is_used_filled_and_leaves_no_word_in_a_row() -> None:
    ask = teacher()
    every = ("add_constraints", "deepen", "concretise", "increase_reasoning", "complicate_input")
    made = await run_scheme(replace(ALL, rounds=30, operations=every), ROWS, ask)
    for prompt in (*PROMPTS.values(), EQUALITY):
        form = re.sub(r"\\{\\{\w+\\}\\}", "(.+)", re.escape(prompt.text))
        assert any(re.fullmatch(form, content(request), re.DOTALL) for _, request in ask.requests), prompt.path
    assert not any("{{" in content(request) for _, request in ask.requests)
    assert not any("{{" in str(value) or "prompt>" in str(value) for row in made.kept for value in row.values())


async def test_the_context_follows_after_a_blank_line() -> None:
    ask = teacher()
    row = {"instruction": "What is it?", "context": "A stone bridge.", "category": "closed_qa"}
    await run_scheme(replace(ALL, rounds=1), [row], ask)
    assert given(ask.requests[0][1]) == "What is it?\n\nA stone bridge."


async def test_nothing_is_dropped_without_its_reason() -> None:
    def thing(n: int) -> str:
        return f"Ask about thing {n}."

    texts: dict[int, Reply] = {
        0: "I would rather not.",
        1: "<prompt>Ask about",
        2: Completion(text="<prompt>Ask about", finish="length"),
        3: Completion(text="No.", finish="filtered"),
        4: "<prompt> </prompt>",
        5: "<prompt>Why?</prompt>",
        6: f"<prompt>{'very ' * 1001}</prompt>",
        7: "<prompt>#Rewritten Prompt#: ask about thing 7 again</prompt>",
        8: "<prompt>ask about THING 8</prompt>",
        9: "<prompt>That somebody gave to an assistant, for thing 9.</prompt>",
        10: "<prompt>Ask about thing 11 (harder).</prompt>",
        12: RequestFailed("the server is gone", kind="server"),
    }
    rows = [
        *({"instruction": thing(n), "context": "", "category": "open_qa"} for n in range(20)),
        {"instruction": "", "context": "", "category": "open_qa"},
        {"instruction": "word " * 2000, "context": "", "category": "open_qa"},
    ]
    equal: dict[str, list[Reply]] = {
        "Ask about thing 13 (harder).": ["Equal"],
        "Ask about thing 14 (harder).": ["Hm.", "Well.", "", "Perhaps.", "Both.", "Who knows?"],
        "Ask about thing 19 (harder).": ["Hm.", "Well.", "", "Perhaps.", "Both.", "Not Equal."],
    }
    answers: dict[str, Reply] = {
        "Ask about thing 15 (harder).": "I am Sorry, I do not know.",
        "Ask about thing 16 (harder).": "It is what it is... and so on!",
        "Ask about thing 17 (harder).": Completion(text="and on", finish="length"),
        "Ask about thing 18 (harder).": "<prompt>thing</prompt>",
    }
    evolve = {thing(n): reply for n, reply in texts.items()}
    ask = teacher(evolve, equal, answers)
    made = await run_scheme(replace(ALL, rounds=1), rows, ask)
    kept = sorted(str(row["instruction"]) for row in made.kept)
    assert kept == ["Ask about thing 11 (harder).", "Ask about thing 19 (harder)."]
    assert made.reasons == {
        "empty_seed": 1,
        "seed_too_long": 1,
        "no_tag": 1,
        "unclosed_tag": 1,
        "truncated": 2,
        "filtered": 1,
        "empty": 1,
        "too_short": 1,
        "too_long": 1,
        "marker": 2,
        "echo": 1,
        "template": 1,
        "duplicate": 1,
        REQUEST_FAILED: 1,
        "equal": 1,
        "equality_unread": 1,
        "apology": 1,
        "contentless": 1,
    }
    asked = Counter(content(request) for _, request in ask.requests if is_equality(request))
    assert sorted(asked.values())[-2:] == [6, 6] and max(Counter(asked.values())) == 6


async def test_a_long_answer_may_be_sorry() -> None:
    long = "sorry " + "word " * 79
    for answer, kept in ((long, 1), (long.removesuffix("word "), 0)):
        ask = teacher(answers={"Ask about thing 0 (harder).": answer})
        made = await run_scheme(replace(ALL, rounds=1), ROWS[:1], ask)
        assert len(made.kept) == kept


async def test_a_member_that_fails_stays_as_it_was_and_is_tried_again() -> None:
    tries: list[int] = []

    def answer(request: Request) -> Reply:
        if is_evolution(request):
            tries.append(request.sample)
            text = given(request)
            assert text == "Ask about thing 0."
            return "<prompt>Why?</prompt>"
        raise AssertionError("a failed evolution is neither compared nor answered")

    made = await run_scheme(replace(ALL, rounds=3), ROWS[:1], ScriptedAsk(answer))
    assert made.reasons == {"too_short": 3}
    assert tries == [1, 2, 3], "each try is a draw of its own"


async def test_a_text_that_another_member_got_to_first_drops_the_row_alone() -> None:
    ask = teacher({f"Ask about thing {n}.": "<prompt>Ask about nothing.</prompt>" for n in range(2)})
    made = await run_scheme(replace(ALL, rounds=2), ROWS[:2], ask)
    assert [row["instruction"] for row in made.because("duplicate")] == [
        "Ask about nothing.",
        "Ask about nothing (harder).",
    ]
    assert [row["parent_epoch"] for row in made.because("duplicate")] == [0, 1]
    assert len(made.kept) == 2


async def test_a_seed_does_not_enter_the_pool_again() -> None:
    ask = teacher({"Ask about thing 1.": "<prompt>Ask about thing 0.</prompt>"})
    made = await run_scheme(replace(ALL, rounds=2), ROWS[:2], ask)
    assert made.reasons == {"duplicate": 2}
    assert [given(r) for _, r in ask.requests if is_evolution(r)].count("Ask about thing 1.") == 2


@pytest.mark.parametrize(
    ("reply", "equal"),
    [
        ("Equal", True),
        ("EQUAL.", True),
        ("They are equal.", True),
        ("Not Equal", False),
        ("**Not Equal**", False),
        ("They are not exactly equal.", False),
        ("These aren't equal", False),
        ("Unequal", False),
        ("Equal? No: not equal.", False),
        ("Equally good", None),
        ("", None),
        ("The second is harder.", None),
    ],
)
def test_not_equal_is_looked_for_before_equal(reply: str, equal: bool | None) -> None:
    assert read_equality(reply) is equal


async def test_a_refusal_to_compare_is_no_verdict() -> None:
    refused = Completion(text="I cannot call them equal.", finish="refused")
    ask = teacher(
        equal={"Ask about thing 0 (harder).": [refused, Completion(text="Equal", finish="filtered"), "Not Equal"]}
    )
    made = await run_scheme(replace(ALL, rounds=1), ROWS[:1], ask)
    assert len(made.kept) == 1


async def test_another_model_may_compare() -> None:
    scheme = replace(
        ALL, rounds=1, equality=REFEREE, equality_prefill="Answer:", prefill="<prompt>", stop=("</prompt>",)
    )

    def answer(request: Request) -> Reply:
        if is_evolution(request):
            return "Ask more about thing 0."
        return "Not Equal" if is_equality(request) else "All about things."

    ask = ScriptedAsk(answer)
    made = await run_scheme(scheme, ROWS[:1], ask)
    assert made.dropped == ()
    assert [row["instruction"] for row in made.kept] == ["Ask more about thing 0."]
    assert [model for model, _ in ask.requests] == ["teacher", "referee", "teacher"]
    assert [request.prefill for _, request in ask.requests] == ["<prompt>", "Answer:", ""]
    assert scheme.needs() == {TEACHER: {"prefill", "stop"}, REFEREE: {"prefill"}}
    assert ALL.needs() == {TEACHER: frozenset()}
    assert replace(ALL, equality_prefill="x").needs() == {TEACHER: {"prefill"}}


async def test_what_comes_out_does_not_depend_on_which_reply_comes_first() -> None:
    def answer(request: Request) -> Reply:
        if is_evolution(request):
            text = given(request)
            return f"<prompt>Ask about thing {len(text) % 7}{text[-3:]} and more</prompt>"
        if is_equality(request):
            return "Not Equal" if (len(content(request)) + request.sample) % 3 else "Hm."
        return content(request)[::-1]

    scheme = replace(ALL, rounds=3, count=20)
    straight = await run_scheme(scheme, ROWS, ScriptedAsk(answer))
    assert straight.kept and straight.reasons["duplicate"]
    for seed in range(5):
        assert await run_scheme(scheme, ROWS, ScrambledAsk(ScriptedAsk(answer), seed)) == straight


async def test_it_stops_at_count_and_at_the_limit() -> None:
    ask = teacher()
    made = await run_scheme(replace(ALL, count=5), ROWS, ask)
    assert len(made.kept) == 5 and len([1 for _, r in ask.requests if is_evolution(r)]) == 5
    ask = teacher()
    made = await run_scheme(replace(ALL, max_tasks=15), ROWS, ask)
    assert len(made.kept) == 15 and [row["epoch"] for row in made.kept] == [1] * 12 + [2] * 3


async def test_each_category_gives_as_many_seeds_as_it_is_told() -> None:
    made = await run_scheme(replace(ALL, rounds=1, per_category=2), ROWS, teacher())
    assert Counter(row["category"] for row in made.kept) == dict.fromkeys(CATEGORIES, 2)


async def test_without_a_seed_it_says_so() -> None:
    with pytest.raises(BezoarError, match="no seed can be used"):
        await run_scheme(ALL, [{"instruction": "", "context": "", "category": "open_qa"}], teacher())


async def test_a_spent_budget_is_not_swallowed() -> None:
    def answer(request: Request) -> Reply:
        raise BudgetSpent("the budget is spent")

    with pytest.raises(BudgetSpent):
        await run_scheme(ALL, ROWS, ScriptedAsk(answer))


def test_the_forecast_spans_from_every_one_fit_to_every_one_tried() -> None:
    forecast = replace(ALL, count=8, rounds=2).forecast(12)
    assert forecast is not None and forecast.requests == (24, 8 * 24)
    assert ALL.forecast(None) is None
    limited = replace(ALL, max_tasks=5).forecast(None)
    assert limited is not None and limited.requests == (15, 40)
