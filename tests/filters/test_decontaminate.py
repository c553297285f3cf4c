"""Rows that repeat a benchmark's items: long runs, short items, near-duplicates, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from filter_runs import decisions, drops

from bezoar_core.errors import BezoarError
from bezoar_core.records import Drop, Item, Keep
from bezoar_core.types import BenchmarkRef, DatasetRef
from bezoar_plugins.filters.decontaminate import Decontaminate

LONG = "A farmer owns 17 sheep, and all but nine of them die in the cold winter; how many sheep are left?"
FOLLOW = "Now suppose that each sheep eats two bales of hay a week. How long do 36 bales last?"


def benchmark(name: str, *fields: Mapping[str, str]) -> BenchmarkRef:
    items = [Item(id=str(number), fields=each) for number, each in enumerate(fields, start=1)]
    return BenchmarkRef(name, lambda: items)


MT = benchmark("mt", {"question_1": LONG, "question_2": FOLLOW}, {"question_1": "What is gravity?"})
ARC = benchmark(
    "arc",
    {"question": "Which of these metals is liquid at room temperature?", "answer": "mercury"},
    {"question": "Who wrote the novel Emma?", "answer": "Jane Austen"},
)


def decontaminate(**fields: Any) -> Decontaminate:  # noqa: ANN401 - whatever fields there are
    return Decontaminate(**{"data": DatasetRef("made"), "columns": ("text",), "against": (MT, ARC), **fields})


RUN = "them die in the cold winter how many sheep are left"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (
            f"Puzzle: ...NINE of {RUN}? Tell me!",
            f"`text` has the words `nine of {RUN}` of mt `1`",
        ),
        (
            "Think first. Now suppose that each sheep eats two bales of hay a week. How big is the barn then? Guess!",
            "`text` has the words `now suppose that each sheep eats two bales of hay a week how` of mt `1`",
        ),
        (
            "Please tell: which of these metals is liquid at room temperature? And which of the others floats on it?",
            "`text` has the words `which of these metals is liquid at room temperature` of arc `1`",
        ),
        ("what is gravity", "`text` is, by 1.000, a near-duplicate of mt `2`"),
        ("Who wrote the English novel Emma?", None),
        ("Please: who wrote the novel Emma?", "`text` is, by 0.800, a near-duplicate of arc `2`"),
        ("Who wrote the novel Emma? Jane Austen", "`text` is, by 1.000, a near-duplicate of arc `2`"),
        (f"Of {RUN}?", None),
        ("Mercury", None),
        ("Jane Austen", None),
        ("", None),
    ],
)
async def test_a_row_is_compared_with_every_item(text: str, detail: str | None) -> None:
    expected = ("contaminated", detail) if detail else None
    assert await drops(decontaminate(), [{"text": text}, {"text": "What is levity?"}]) == [expected, None]


@pytest.mark.parametrize("start", range(5))
async def test_thirteen_words_are_found_wherever_they_begin(start: int) -> None:
    tokens = [f"w{n}" for n in range(18)]
    asked = benchmark("long", {"question": " ".join(tokens)})
    twelve, thirteen = (" ".join(["x y", *tokens[start : start + size], "z " * 40]) for size in (12, 13))
    found = await decisions(decontaminate(against=(asked,)), [{"text": twelve}, {"text": thirteen}])
    assert [type(one) for one in found] == [Keep, Drop]


async def test_the_columns_together_may_repeat_an_item() -> None:
    rows = [{"instruction": "Who wrote", "response": "the novel Emma?"}]
    found = await drops(decontaminate(columns=()), rows)
    assert found == [("contaminated", "`row` is, by 1.000, a near-duplicate of arc `2`")]


async def test_the_card_gets_counts_for_each_benchmark() -> None:
    chosen = decontaminate(against=(MT, ARC, benchmark("clean", {"q": "nobody says this"})))
    rows = [{"text": text} for text in ("What is gravity?", "Fine.", "what is gravity", "Who wrote the novel Emma?")]
    found = await decisions(chosen, rows)
    kept = [one.row for one in found if isinstance(one, Keep)]
    dropped = [one.row for one in found if isinstance(one, Drop)]
    assert kept == [{"text": "Fine."}]
    assert dropped[0] == {"text": "What is gravity?", "contaminated_by": "mt"}
    assert chosen.summarise(kept, dropped) == {
        "contaminated": 3,
        "contaminated: mt": 2,
        "contaminated: arc": 1,
        "contaminated: clean": 0,
    }


def test_no_benchmark_is_misuse() -> None:
    with pytest.raises(ValueError, match="`against` is empty: name a benchmark"):
        decontaminate(against=())


async def test_a_benchmark_without_items_is_an_error() -> None:
    with pytest.raises(BezoarError, match=r"steps\.none: benchmark `none` asks nothing"):
        await drops(decontaminate(against=(MT, benchmark("none"))), [{"text": "a"}])
