"""What is read of a row, by its shape or by name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bezoar_core.errors import DataError
from bezoar_core.records import Row
from bezoar_plugins.filters.row_texts import exchange, row_texts


@pytest.mark.parametrize(
    ("row", "columns", "texts"),
    [
        ({"instruction": "a", "response": "b", "system": "s"}, (), {"instruction": "a", "response": "b"}),
        ({"instruction": "a", "context": "c", "response": None}, (), {"instruction": "a\n\nc", "response": ""}),
        ({"inputs": "a", "explained_targets": "b"}, (), {"instruction": "a", "response": "b"}),
        (
            {"instruction": None, "response": None, "inputs": "a", "explained_targets": "b"},
            (),
            {"instruction": "a", "response": "b"},
        ),
        ({"chosen": "a", "rejected": None}, ("rejected", "chosen"), {"rejected": "", "chosen": "a"}),
    ],
)
def test_texts_come_by_shape_or_by_name(row: Row, columns: Sequence[str], texts: dict[str, str]) -> None:
    assert row_texts(row, 1, columns, "rows") == texts


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"chosen": "a"}, (), "rows:row 2: nothing to read in this row"),
        ({"chosen": "a"}, (), "or `inputs` and `explained_targets`; or name `columns`"),
        ({"chosen": "a"}, ("chosn",), "rows:row 2: row has no column `chosn`\n  tip: did you mean `chosen`?"),
        ({"chosen": 3}, ("chosen",), "rows:row 2: `chosen` holds 3\n  tip: name a column of text in `columns`"),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_with_its_number(row: Row, columns: Sequence[str], message: str) -> None:
    with pytest.raises(DataError) as error:
        row_texts(row, 2, columns, "rows")
    assert message in str(error.value)


def test_a_row_of_neither_shape_is_no_exchange() -> None:
    assert exchange({"instruction": "a"}) is None
    assert exchange({"inputs": "a", "explained_targets": "b", "system_message": "s"}) == {
        "instruction": "a",
        "response": "b",
        "system": "s",
    }
