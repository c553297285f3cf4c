"""Renaming: order and values stay, what is in the way is said with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError
from bezoar_core.records import Keep, Row
from bezoar_core.rows import PlacedRow
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters.rename import Rename


async def renamed(names: Mapping[str, str], rows: Sequence[Row]) -> list[Row]:
    step, ask = Rename(data=DatasetRef("mine"), names=names), ScriptedAsk(lambda request: "")
    decisions = [decision async for decision in step.decide(rows, ask, KeyedDraw(1))]
    assert all(isinstance(one, Keep) for one in decisions)
    return [one.row for one in decisions]


async def test_columns_get_other_names_and_keep_order_and_values() -> None:
    rows: list[Row] = [{"id": 1, "prompt": "a", "answer": None}, {"id": 2, "prompt": "b", "answer": "c"}]
    (one, two) = await renamed({"instruction": "prompt", "response": "answer"}, rows)
    assert list(one.items()) == [("id", 1), ("instruction", "a"), ("response", None)]
    assert list(two.items()) == [("id", 2), ("instruction", "b"), ("response", "c")]


async def test_two_columns_may_change_places() -> None:
    assert await renamed({"a": "b", "b": "a"}, [{"a": 1, "b": 2}]) == [{"b": 1, "a": 2}]


async def test_a_column_that_is_in_the_way_or_not_there_is_an_error_with_its_place() -> None:
    fine: Row = {"prompt": "a"}
    with pytest.raises(DataError, match="mine:2: `prompt` cannot become `text`: the row has that column"):
        await renamed({"text": "prompt"}, [fine, {"prompt": "a", "text": "b"}])
    with pytest.raises(DataError, match=r"r.jsonl:4: row has no column `prompt`\n  tip: did you mean `prompts`\?"):
        await renamed({"text": "prompt"}, [fine, PlacedRow({"prompts": "a"}, "r.jsonl:4")])


@pytest.mark.parametrize(
    ("names", "message"), [({}, "`names` is empty"), ({"a": "c", "b": "c"}, "`c` would get two names")]
)
def test_names_that_cannot_be_are_refused(names: Mapping[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rename(data=DatasetRef("mine"), names=names)
