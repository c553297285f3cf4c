"""The selection: conditions, shares, two parts that divide the rows, columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.rows import PlacedRow
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters.select import Select

DATA = DatasetRef("dolly")
ROWS: list[Row] = [{"n": n, "kind": "abc"[n % 3], "good": n % 2 == 0} for n in range(60)]


async def decide(step: Select, rows: Sequence[Row] = ROWS, seed: int = 1) -> list[Keep | Drop]:
    ask = ScriptedAsk(lambda request: "")
    decisions = [decision async for decision in step.decide(rows, ask, KeyedDraw(seed))]
    assert len(decisions) == len(rows)
    return decisions


def kept(decisions: Sequence[Keep | Drop]) -> list[int]:
    return [int(str(one.row["n"])) for one in decisions if isinstance(one, Keep)]


def reasons(decisions: Sequence[Keep | Drop]) -> Counter[str]:
    return Counter(one.reason for one in decisions if isinstance(one, Drop))


async def test_columns_that_must_have_a_value_or_one_of_several() -> None:
    decisions = await decide(Select(data=DATA, where={"kind": ("a", "c"), "good": True}))
    assert kept(decisions) == [n for n in range(60) if n % 3 != 1 and n % 2 == 0]
    assert reasons(decisions) == {"not_matching": 40}


async def test_true_is_not_one() -> None:
    rows: list[Row] = [{"n": 0, "x": 1}, {"n": 1, "x": True}]
    assert kept(await decide(Select(data=DATA, where={"x": 1}), rows)) == [0]
    assert kept(await decide(Select(data=DATA, where={"x": True}), rows)) == [1]


async def test_the_first_rows_are_counted_among_those_that_match() -> None:
    decisions = await decide(Select(data=DATA, where={"kind": "b"}, first=4))
    assert kept(decisions) == [1, 4, 7, 10]
    assert reasons(decisions) == {"not_matching": 40, "after_first": 16}


async def test_a_share_is_exact_and_follows_the_seed() -> None:
    step = Select(data=DATA, where={"good": True}, share=0.3)
    decisions = await decide(step)
    assert len(kept(decisions)) == 9 and reasons(decisions) == {"not_matching": 30, "not_drawn": 21}
    assert kept(decisions) == kept(await decide(step)) != kept(await decide(step, seed=2))
    assert kept(decisions) != list(range(0, 18, 2)), "not the first rows"


@pytest.mark.parametrize("validation", [0.0, 0.1, 0.25, 0.5, 1.0])
async def test_two_steps_divide_the_rows_whatever_their_seeds(validation: float) -> None:
    def part(name: Literal["train", "validation"]) -> Select:
        return Select(data=DATA, where={"good": True}, split=name, validation=validation)

    train, held = kept(await decide(part("train"), seed=1)), kept(await decide(part("validation"), seed=2))
    assert sorted([*train, *held]) == list(range(0, 60, 2))
    assert len(held) == round(validation * 30)


async def test_another_split_seed_divides_otherwise() -> None:
    splits = {
        tuple(kept(await decide(Select(data=DATA, split="validation", split_seed=seed, validation=0.5))))
        for seed in (0, 0, 1, 2)
    }
    assert len(splits) == 3


async def test_equal_rows_are_in_one_part_wherever_they_stand() -> None:
    rows = [{"n": n} for n in range(30)] * 3
    for name, other in (("train", "validation"), ("validation", "train")):
        parts = {
            part: set(kept(await decide(Select(data=DATA, split=part, validation=0.4), rows)))  # type: ignore[arg-type]
            for part in (name, other)
        }
        assert not parts[name] & parts[other] and parts[name] | parts[other] == set(range(30))


async def test_only_the_columns_asked_for_stay_in_their_order() -> None:
    decisions = await decide(Select(data=DATA, first=2, keep=("kind", "n")))
    assert [list(one.row.items()) for one in decisions if isinstance(one, Keep)] == [
        [("kind", "a"), ("n", 0)],
        [("kind", "b"), ("n", 1)],
    ]
    assert decisions[2] == Drop(ROWS[2], "after_first"), "a dropped row is whole"


@pytest.mark.parametrize("step", [Select(data=DATA, where={"kimd": "a"}), Select(data=DATA, keep=("kimd",))])
async def test_an_unknown_column_is_an_error_with_the_rows_place(step: Select) -> None:
    with pytest.raises(DataError, match=r"dolly:1: row has no column `kimd`\n  tip: did you mean `kind`\?"):
        await decide(step)
    with pytest.raises(DataError, match=r"rows.jsonl:7: row has no column"):
        await decide(step, [PlacedRow({"kind": "a", "kimd": "a"}, "rows.jsonl:6"), PlacedRow(ROWS[0], "rows.jsonl:7")])


def test_columns_are_named_once() -> None:
    for keep in ((), ("a", "a")):
        with pytest.raises(ValueError, match="`keep` names no column, or one twice"):
            Select(data=DATA, keep=keep)
