"""Orca with a scripted teacher: system messages, sub-collections, every reason for dropping, order, stopping."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

import pytest
from scheme_runs import ScrambledAsk, run_scheme

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import BezoarError, BudgetSpent, RequestFailed
from bezoar_core.records import REQUEST_FAILED, Completion, Dropped, Request, Row
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.schemes.orca import (
    ALLOWED,
    SYSTEM_MESSAGES,
    TASK_SOURCES,
    Orca,
    allowed_messages,
    is_multiple_choice,
    mixed,
    system_messages,
)

TEACHER, SEEDS = ModelRef("teacher"), DatasetRef("flan")
ALL = Orca(teacher=TEACHER, seeds=SEEDS, count=1000)
OPTIONS = "\n\nOPTIONS:\n- yes\n- no"


def row(number: int, source: str, inputs: str = "", template: str = "zs_noopt") -> Row:
    return {
        "inputs": inputs or f"Question {number} of {source}?",
        "targets": f"target {number}",
        "task_source": source,
        "task_name": f"task_{number % 3}",
        "template_type": template,
    }


ROWS = [row(n, source) for n in range(10) for source in ("CoT", "NIv2", "P3", "Flan2021")]


def explain(request: Request) -> Reply:
    return f"The answer to {request.messages[-1].content} in many words."


def test_sixteen_messages_the_first_of_them_empty() -> None:
    messages = system_messages()
    assert sorted(messages) == list(range(1, 17)) and len(set(messages.values())) == 16
    assert messages[1] == "" and all(messages[n] for n in range(2, 17))
    assert not any("{{" in text for text in messages.values()) and SYSTEM_MESSAGES.slots == {}
    assert {n for allowed in ALLOWED.values() for n in allowed} == set(range(1, 17)), "every message is used"


async def test_a_row_has_its_seed_the_system_message_and_the_reply() -> None:
    ask = ScriptedAsk(explain)
    made = await run_scheme(ALL, [row(7, "P3")], ask)
    (kept,) = made.kept
    system = kept["system_message"]
    assert kept == {
        "original_index": 0,
        "inputs": "Question 7 of P3?",
        "targets": "target 7",
        "task_source": "P3",
        "task_name": "task_1",
        "template_type": "zs_noopt",
        "system_message": system,
        "explained_targets": "The answer to Question 7 of P3? in many words.",
        "dataset_source": "t0",
    }
    roles = [message.role for message in ask.requests[0][1].messages]
    assert roles == (["system", "user"] if system else ["user"])
    assert "target 7" not in str(ask.requests[0][1].messages)
    given = {**row(7, "P3"), "original_index": 1234, "dataset_source": "t0_submix_original"}
    (again,) = (await run_scheme(ALL, [given], ask)).kept
    assert (again["original_index"], again["dataset_source"]) == (1234, "t0_submix_original")


async def test_a_sub_collection_gets_the_messages_it_allows_and_no_others() -> None:
    ask = ScriptedAsk(explain)
    rows = [row(n, source) for n in range(150) for source in ("CoT", "NIv2", "T0", "Flan2021")]
    rows += [row(n, "Flan2021", f"Is it {n}?{OPTIONS}", "zs_opt") for n in range(150)]
    made = await run_scheme(ALL, rows, ask)
    numbers = {text: number for number, text in system_messages().items()}
    used: dict[tuple[object, bool], set[int]] = {}
    for kept in made.kept:
        key = (kept["task_source"], "OPTIONS" in str(kept["inputs"]))
        used.setdefault(key, set()).add(numbers[str(kept["system_message"])])
    assert used == {
        ("CoT", False): {6, 11, 16},
        ("NIv2", False): {1, 2, 5, 7, 9, 12, 13, 14, 15},
        ("T0", False): {1, 2, 3, 5, 7},
        ("Flan2021", False): {3, 4, 7},
        ("Flan2021", True): {3, 4, 7, 8, 10},
    }
    empty = [request for _, request in ask.requests if len(request.messages) == 1]
    assert len(empty) == sum(kept["system_message"] == "" for kept in made.kept) > 0


@pytest.mark.parametrize(
    ("inputs", "choice"),
    [
        ("Is it so?\n\nOPTIONS:\n- yes\n- no", True),
        ("Which is it? Choose from:\n * red\n * green", True),
        ("Which metal?\n(A) iron\n(B) wood", True),
        ("Which metal? (a) iron; (b) wood", True),
        ("Which metal?\nA. iron\nB. wood", True),
        ("Options:\n1. walk\n2. run", True),
        ("Is it so?\n\nOPTIONS:\n- yes", False),
        ("Shopping list:\n- bread\n- milk", False),
        ("Plan A. Then plan B. Then rest.", False),
        ("What options: none at all.", False),
        ("A: When is it ready?\nB: In an hour.\n\nSummarise this dialogue.", False),
        ("Translate: Good morning.", False),
    ],
)
def test_multiple_choice_shows_its_options(inputs: str, choice: bool) -> None:
    assert is_multiple_choice(inputs) is choice
    assert ({8, 10} <= set(allowed_messages("flan2021", inputs))) is choice
    assert allowed_messages("cot", inputs) == [6, 11, 16]


async def test_nothing_is_dropped_without_its_reason() -> None:
    rows = [
        row(0, "CoT"),
        {**row(1, "CoT"), "inputs": "  "},
        row(2, "CoT", "word " * 2000),
        row(3, "CoT", template="fs_opt"),
        row(4, "CoT", template="chat"),
        row(5, "Dialog"),
        *(row(n, "CoT") for n in range(6, 12)),
    ]
    replies: dict[str, Reply] = {
        "Question 6 of CoT?": " ",
        "Question 7 of CoT?": Completion(text="and on and", finish="length"),
        "Question 8 of CoT?": Completion(text="No.", finish="refused"),
        "Question 9 of CoT?": "question 9 of cot",
        "Question 10 of CoT?": "...",
        "Question 11 of CoT?": RequestFailed("the server is gone", kind="server"),
    }
    made = await run_scheme(
        ALL, rows, ScriptedAsk(lambda request: replies.get(request.messages[-1].content, explain(request)))
    )
    assert [kept["inputs"] for kept in made.kept] == ["Question 0 of CoT?"]
    assert made.reasons == {
        "empty_seed": 1,
        "seed_too_long": 1,
        "few_shot_template": 1,
        "other_template": 1,
        "unknown_task_source": 1,
        "empty_response": 1,
        "truncated": 1,
        "refused": 1,
        "echo": 1,
        "too_short": 1,
        REQUEST_FAILED: 1,
    }
    unknown = {"original_index": 5, "dataset_source": "", **rows[5]}
    assert made.because("unknown_task_source") == [{k: v for k, v in unknown.items() if k != "targets"}]
    (long,) = made.because("seed_too_long")
    assert long["original_index"] == 2 and long["inputs"] == ("word " * 20)[:100] + "..."


async def test_cut_replies_and_few_shot_templates_can_be_kept() -> None:
    scheme = replace(ALL, keep_truncated=True, templates=("zs", "fs"))
    made = await run_scheme(
        scheme, [row(3, "CoT", template="fs_opt")], ScriptedAsk(lambda _: Completion(text="and on", finish="length"))
    )
    assert [kept["explained_targets"] for kept in made.kept] == ["and on"]


async def test_sub_collections_are_mixed_by_their_shares() -> None:
    even = await run_scheme(replace(ALL, count=20), ROWS, ScriptedAsk(explain))
    assert Counter(kept["task_source"] for kept in even.kept) == dict.fromkeys(("CoT", "NIv2", "P3", "Flan2021"), 5)
    scheme = replace(ALL, count=16, shares={"cot": 1, "niv2": 2, "t0": 4, "flan2021": 1})
    mixed = await run_scheme(scheme, ROWS, ScriptedAsk(explain))
    assert Counter(kept["task_source"] for kept in mixed.kept) == {"CoT": 2, "NIv2": 4, "P3": 8, "Flan2021": 2}
    indices = [kept["original_index"] for kept in even.kept if kept["task_source"] == "CoT"]
    assert indices != sorted(indices, key=int), "within a sub-collection the order is drawn"


def test_a_mix_holds_the_shares_as_far_as_each_goes() -> None:
    rows = {name: [{"n": n} for n in range(size)] for name, size in {"cot": 3, "niv2": 30, "t0": 30}.items()}
    mix = [(collection, row["n"]) for collection, row in mixed(rows, {"niv2": 2.0})]
    assert [name for name, _ in mix[:8]] == ["niv2", "cot", "niv2", "t0"] * 2
    for name, sample in rows.items():
        assert [n for collection, n in mix if collection == name] == list(range(len(sample)))
    assert Counter(name for name, _ in mix[12:]) == {"niv2": 24, "t0": 27}


async def test_a_sample_is_drawn_from_the_whole_of_a_collection_in_one_pass() -> None:
    passes: list[int] = []

    class Once(Sequence[Row]):
        def __iter__(self) -> Iterator[Row]:
            passes.append(1)
            return (row(n, ("CoT", "NIv2", "P3", "Flan2021")[n % 4]) for n in range(8000))

        def __len__(self) -> int:
            return 8000

        def __getitem__(self, at: object) -> NoReturn:
            raise TypeError

    scheme = replace(ALL, count=400)
    made = await run_scheme(scheme, Once(), ScriptedAsk(explain))
    assert passes == [1]
    places = [int(str(kept["original_index"])) for kept in made.kept]
    assert len(set(places)) == 400 and 3600 < sum(places) / 400 < 4400
    assert places != sorted(places)
    assert made == await run_scheme(scheme, Once(), ScriptedAsk(explain))
    assert made != await run_scheme(scheme, Once(), ScriptedAsk(explain), seed=7)


async def test_memory_does_not_grow_with_the_seeds() -> None:
    class Mirror(list[Row]):
        def __iter__(self) -> Iterator[Row]:
            padding = "of all the words there are " * 30
            for n in range(20_000):
                yield row(n, ("CoT", "NIv2")[n > 10_000], f"{n} {padding}", ("zs_opt", "fs_opt")[n % 2])

    asked, peak, unfit = [], 0, 0

    def answer(request: Request) -> Reply:
        asked.append(request.messages[-1].content[:5])
        return "So it is."

    scheme = replace(ALL, count=20)
    tracemalloc.start()
    try:
        async for outcome in scheme.generate(Mirror(), ScriptedAsk(answer), KeyedDraw(1), lambda: 20 - len(asked)):
            unfit += isinstance(outcome, Dropped)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert unfit == 10_000 and len(asked) >= 20
    assert peak < 1_000_000, "of 17 MB of seeds"


async def test_the_prefill_is_part_of_the_reply() -> None:
    scheme = replace(ALL, prefill="Let us see:", stop=("\n\n",))
    ask = ScriptedAsk(lambda _: " it is two.")
    made = await run_scheme(scheme, [row(0, "CoT")], ask)
    assert made.kept[0]["explained_targets"] == "Let us see: it is two."
    assert (ask.requests[0][1].prefill, ask.requests[0][1].stop) == ("Let us see:", ("\n\n",))
    assert scheme.needs() == {TEACHER: {"prefill", "stop"}} and ALL.needs() == {TEACHER: frozenset()}


async def test_what_comes_out_does_not_depend_on_which_reply_comes_first() -> None:
    def answer(request: Request) -> Reply:
        text = request.messages[-1].content
        return "..." if len(text) % 3 == 0 else f"{text} {len(request.messages)}"

    scheme = replace(ALL, count=12)
    straight = await run_scheme(scheme, ROWS, ScriptedAsk(answer))
    assert len(straight.kept) == 12 and straight.reasons["too_short"]
    for seed in range(5):
        assert await run_scheme(scheme, ROWS, ScrambledAsk(ScriptedAsk(answer), seed)) == straight


async def test_it_stops_at_count_and_at_the_limit() -> None:
    ask = ScriptedAsk(explain)
    assert len((await run_scheme(replace(ALL, count=3), ROWS, ask)).kept) == 3 == len(ask.requests)
    ask = ScriptedAsk(lambda _: "...")
    made = await run_scheme(replace(ALL, max_tasks=6), ROWS, ask)
    assert made.reasons == {"too_short": 6} and len(ask.requests) == 6


async def test_without_a_seed_it_says_so() -> None:
    with pytest.raises(BezoarError, match="no seed can be used"):
        await run_scheme(ALL, [row(0, "CoT", template="fs_opt")], ScriptedAsk(explain))


async def test_a_spent_budget_is_not_swallowed() -> None:
    def answer(request: Request) -> Reply:
        raise BudgetSpent("the budget is spent")

    with pytest.raises(BudgetSpent):
        await run_scheme(ALL, ROWS, ScriptedAsk(answer))


def test_the_forecast_is_bounded_by_rows_and_limit() -> None:
    forecast = replace(ALL, count=8).forecast(20)
    assert forecast is not None and forecast.requests == (8, 20)
    limited = replace(ALL, count=8, max_tasks=20).forecast(None)
    assert limited is not None and limited.requests == (8, 20)
    assert ALL.forecast(None).requests == ALL.forecast(10**9).requests == (1000, 4000)


def test_the_names_of_the_mirrors_are_known() -> None:
    assert {source: TASK_SOURCES[source.casefold()] for source in ("CoT", "NIv2", "P3", "T0", "Flan2021")} == {
        "CoT": "cot",
        "NIv2": "niv2",
        "P3": "t0",
        "T0": "t0",
        "Flan2021": "flan2021",
    }
