"""Duplicates and near-duplicates: which row stays, what is said of the others, and brute force over 10,000 rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from filter_runs import decisions, drops
from near_texts import similarities, texts

from bezoar_core.errors import DataError
from bezoar_core.records import Drop, Row
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters import dedup as module
from bezoar_plugins.filters.dedup import Dedup

SENTENCE = "the old stone lay by the river under a grey sky all day long"


def dedup(**fields: Any) -> Dedup:  # noqa: ANN401 - whatever fields there are
    return Dedup(**{"data": DatasetRef("made"), "columns": ("text",), **fields})


def rows(*texts: str) -> list[Row]:
    return [{"text": text, "n": number} for number, text in enumerate(texts, start=1)]


async def test_the_first_row_stays_and_the_detail_names_it() -> None:
    near = SENTENCE.replace("grey", "dark")
    made = rows("Yes.", SENTENCE, near, "YES. ", "Yes", "", f" {SENTENCE.upper()}\n", " ", near, "No.")
    assert await drops(dedup(), made) == [
        None,
        None,
        ("near_duplicate", "repeats row 2: jaccard 0.733"),
        ("duplicate", "repeats row 1"),
        ("near_duplicate", "repeats row 1: jaccard 1.000"),
        None,
        ("duplicate", "repeats row 2"),
        ("duplicate", "repeats row 6"),
        ("near_duplicate", "repeats row 2: jaccard 0.733"),
        None,
    ]
    assert [one.row for one in await decisions(dedup(), made)] == made


async def test_without_a_threshold_only_the_same_rows_go() -> None:
    made = rows("Yes.", "yes.", "Yes", SENTENCE, SENTENCE.replace("grey", "dark"))
    assert await drops(dedup(threshold=None), made) == [None, ("duplicate", "repeats row 1"), None, None, None]


async def test_a_higher_threshold_keeps_more() -> None:
    made = rows(SENTENCE, SENTENCE.replace("grey", "dark"))
    assert await drops(dedup(threshold=0.8), made) == [None, None]


async def test_only_the_columns_named_are_compared() -> None:
    made = [{"instruction": "Name a stone.", "response": answer} for answer in ("Agate.", "Beryl.", "agate.")]
    assert await drops(dedup(columns=()), made) == [None, None, ("duplicate", "repeats row 1")]
    found = await drops(dedup(columns=("instruction",)), made)
    assert found == [None, ("duplicate", "repeats row 1"), ("duplicate", "repeats row 1")]


async def test_a_row_is_compared_with_kept_rows_alone() -> None:
    words = [f"w{n}" for n in range(21)]
    drifting = [" ".join(words[: 21 - cut]) for cut in (0, 4, 8)]  # 20, 16, 12 bigrams: 0.8, 0.75, and 0.6 end to end
    assert await drops(dedup(), rows(*drifting)) == [None, ("near_duplicate", "repeats row 1: jaccard 0.800"), None]


async def test_rouge_l_sees_what_pairs_of_words_do_not() -> None:
    made = rows("one x two y three z four w", "one two three four w", "one a two b three c four d e f g")
    assert await drops(dedup(), made) == [None, None, None]
    found = await drops(dedup(measure="rouge_l"), made)
    assert found == [None, ("near_duplicate", "repeats row 1: rouge_l 0.769"), None]


async def test_rouge_l_refuses_more_rows_than_it_can_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUGE_ROWS", 3)
    assert await drops(dedup(measure="rouge_l"), rows("a b", "c d", "e f")) == [None, None, None]
    with pytest.raises(DataError, match="made: more than 3 rows are too many to compare each with each") as error:
        await drops(dedup(measure="rouge_l"), rows("a b", "c d", "e f", "g h"))
    assert "`measure: jaccard` takes seconds" in str(error.value)
    assert await drops(dedup(measure="rouge_l", threshold=None), rows("a", "b", "c", "d")) == [None] * 4


async def test_a_row_that_cannot_be_read_is_an_error_with_its_number() -> None:
    for fields in ({}, {"threshold": None}, {"measure": "rouge_l"}):
        with pytest.raises(DataError, match="made:row 2: row has no column `text`"):
            await drops(dedup(**fields), [{"text": "a"}, {"test": "a"}])


async def test_no_rows_are_no_decisions() -> None:
    assert await drops(dedup(), []) == await drops(dedup(measure="rouge_l"), []) == []


def greedy(made: Sequence[str], threshold: float) -> dict[int, dict[int, float]]:
    """Return, for each row to be dropped, the kept rows before it that it repeats, by brute force."""
    near: dict[int, dict[int, float]] = {}
    for later, earlier, similarity in similarities(made):
        if similarity >= threshold:
            near.setdefault(later, {})[earlier] = similarity
    dropped: dict[int, dict[int, float]] = {}
    for later in sorted(near):
        repeated = {earlier: s for earlier, s in near[later].items() if earlier not in dropped}
        if repeated:
            dropped[later] = repeated
    return dropped


async def test_ten_thousand_rows_against_brute_force() -> None:
    made = texts(10_000, seed=7)
    expected = greedy(made, 0.7)
    close = sum(0.7 <= max(found.values()) < 0.75 for found in expected.values())
    assert len(expected) > 1_500 and close > 150, "there is something to find, much of it near the threshold"
    found = await decisions(dedup(), rows(*made))
    dropped: dict[int, tuple[int, float]] = {}
    for number, one in enumerate(found):
        if isinstance(one, Drop):
            row, similarity = re.fullmatch(r"repeats row (\d+)(?:: jaccard (.*))?", one.detail).groups()  # type: ignore[union-attr]
            dropped[number] = int(row) - 1, float(similarity or 1)
    hits = [number for number in dropped if number in expected]
    recall, precision = len(hits) / len(expected), len(hits) / len(dropped)
    print(f"recall {recall:.4f}, precision {precision:.4f} over {len(expected)} rows")
    assert recall >= 0.99 and precision == 1
    for number, (earlier, similarity) in dropped.items():
        assert similarity == pytest.approx(max(expected[number].values()), abs=5e-4)
        assert expected[number][earlier] == pytest.approx(similarity, abs=5e-4)
