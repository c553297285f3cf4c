"""The mix: proportions, draws, the input a row came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import DataError
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters.mix import Mix, largest, shares


def mix(sizes: Mapping[str, int], weights: Mapping[str, float] | None = None, count: int | None = None) -> Mix:
    return Mix(data=tuple(dataset(name, size) for name, size in sizes.items()), weights=weights, count=count)


def dataset(name: str, size: int) -> DatasetRef:
    return DatasetRef(name, lambda: rows_of(name, size))


def rows_of(name: str, size: int) -> list[Row]:
    return [{"instruction": f"{name} {n}"} for n in range(size)]


async def decide(step: Mix, seed: int = 1) -> list[Keep | Drop]:
    rows = [row for ref in step.data for row in ref.rows()]
    ask = ScriptedAsk(lambda request: "")
    decisions = [decision async for decision in step.decide(iter(rows), ask, KeyedDraw(seed))]
    assert [one.row["instruction"] for one in decisions] == [row["instruction"] for row in rows], "one a row, in order"
    return decisions


def kept(decisions: Sequence[Keep | Drop]) -> Counter[str]:
    return Counter(str(one.row["mixed_from"]) for one in decisions if isinstance(one, Keep))


@pytest.mark.parametrize(
    ("sizes", "weights", "count", "wanted"),
    [
        ({"a": 10, "b": 3}, {"a": 1, "b": 1}, None, {"a": 3, "b": 3}),
        ({"a": 10, "b": 3}, {"a": 3, "b": 1}, None, {"a": 9, "b": 3}),
        ({"a": 10, "b": 3}, {"a": 3, "b": 1}, 8, {"a": 6, "b": 2}),
        ({"a": 5, "b": 5}, {"a": 2, "b": 1}, None, {"a": 5, "b": 2}),
        ({"a": 40, "b": 40, "c": 40}, {"a": 0.1, "b": 0.2, "c": 0.7}, 10, {"a": 1, "b": 2, "c": 7}),
        ({"a": 10, "b": 3}, None, None, {"a": 10, "b": 3}),
        ({"a": 20, "b": 10}, None, 6, {"a": 4, "b": 2}),
    ],
)
async def test_each_input_gives_its_share(
    sizes: Mapping[str, int], weights: Mapping[str, float] | None, count: int | None, wanted: Mapping[str, int]
) -> None:
    decisions = await decide(mix(sizes, weights, count))
    assert kept(decisions) == wanted
    assert {one.reason for one in decisions if isinstance(one, Drop)} <= {"not_drawn"}
    assert all(str(one.row["instruction"]).startswith(str(one.row["mixed_from"])) for one in decisions)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 500)), min_size=1, max_size=5),
    st.data(),
)
def test_the_set_is_the_largest_and_no_input_gives_more_than_it_has(
    inputs: list[tuple[int, int]], data: st.DataObject
) -> None:
    sizes = {str(n): size for n, (size, _) in enumerate(inputs)}
    weights = {str(n): Fraction(weight, 100) for n, (_, weight) in enumerate(inputs)}
    total, most = sum(weights.values()), largest(sizes, weights)
    assert all(most * weight / total <= sizes[name] for name, weight in weights.items())
    assert any((most + 1) * weight / total > sizes[name] for name, weight in weights.items())
    count = data.draw(st.integers(0, most))
    given = shares(count, weights)
    assert sum(given.values()) == count
    assert all(given[n] <= sizes[n] and abs(given[n] - count * weights[n] / total) < 1 for n in sizes)


async def test_draws_follow_the_seed_and_a_larger_count_takes_the_same_rows_and_more() -> None:
    def taken(decisions: Sequence[Keep | Drop]) -> set[str]:
        return {str(one.row["instruction"]) for one in decisions if isinstance(one, Keep)}

    sizes = {"a": 200, "b": 100}
    few = taken(await decide(mix(sizes, count=30)))
    assert few == taken(await decide(mix(sizes, count=30)))
    assert few != taken(await decide(mix(sizes, count=30), seed=2))
    assert few < taken(await decide(mix(sizes, count=60)))
    assert few != {f"{name} {n}" for name, size in sizes.items() for n in range(size // 10)}, "not the first rows"


async def test_what_cannot_be_mixed_is_said() -> None:
    with pytest.raises(DataError, match="there are 6 rows in these proportions, and `count` asks for 7") as error:
        await decide(mix({"a": 10, "b": 3}, {"a": 1, "b": 1}, 7))
    assert "`a` holds 10, `b` holds 3" in str(error.value)
    with pytest.raises(DataError, match="b:1: row has a column `mixed_from` already"):
        taken = Mix(data=(dataset("a", 2), DatasetRef("b", lambda: [{"instruction": "x", "mixed_from": "y"}])))
        await decide(taken)


def test_weights_and_inputs_must_agree() -> None:
    with pytest.raises(ValueError, match="has none for `b`; knows no input `c`"):
        mix({"a": 1, "b": 1}, {"a": 1, "c": 1})
    with pytest.raises(ValueError, match="names no input, or one twice"):
        Mix(data=(DatasetRef("a"), DatasetRef("a")))
