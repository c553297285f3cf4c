"""What a row holds as text: an instruction and the response to it, or the columns a registry names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bezoar_core.errors import DataError, nearest
from bezoar_core.records import Row

_SHAPES = (("instruction", "response"), ("inputs", "explained_targets"))


def exchange(row: Row) -> Mapping[str, str] | None:
    """Return a row's `instruction` (its context after it), `response` and `system`, by the row's shape.

    A row has `instruction` and `response`, or `inputs` and `explained_targets`; None where it has neither.
    """

    def text(column: str) -> str:
        value = row.get(column)
        return value if isinstance(value, str) else ""

    present = [shape for shape in _SHAPES if all(column in row for column in shape)]
    # a file with rows of both shapes has every column in every row
    filled = [shape for shape in present if all(row[column] is not None for column in shape)]
    if not present:
        return None
    if [*filled, *present][0] == _SHAPES[0]:
        parts = [part for part in (text("instruction"), text("context")) if part.strip()]
        return {"instruction": "\n\n".join(parts), "response": text("response"), "system": text("system")}
    return {"instruction": text("inputs"), "response": text("explained_targets"), "system": text("system_message")}


def row_texts(row: Row, number: int, columns: Sequence[str], name: str) -> Mapping[str, str]:
    """Return a row's texts by column; where no columns are named, its `instruction` and its `response`.

    None counts as no text. Raises `DataError` with `name` and the row's `number` where a column is missing or holds
    something else.
    """
    if columns:
        return {column: _text(row, number, column, name) for column in columns}
    found = exchange(row)
    if found is None:
        tip = "it needs `instruction` and `response`, or `inputs` and `explained_targets`; or name `columns`"
        raise DataError("nothing to read in this row", where=f"{name}:row {number}", tip=tip)
    return {column: found[column] for column in ("instruction", "response")}


def _text(row: Row, number: int, column: str, name: str) -> str:
    where = f"{name}:row {number}"
    if column not in row:
        raise DataError(f"row has no column `{column}`", where=where, tip=nearest(column, list(row)))
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"`{column}` holds {value!r:.60}", where=where, tip="name a column of text in `columns`")
    return value
