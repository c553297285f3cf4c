"""Rows kept as parquet: the columns' types are found in all rows, and the rows are written a group at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import orjson

from bezoar_core.errors import DataError
from bezoar_core.records import Row
from bezoar_core.store import replacing
from bezoar_core.types import Json

if TYPE_CHECKING:
    import pyarrow as pa

Kind: TypeAlias = "str | list[Kind] | dict[str, Kind] | None"
"""A value's type: `text`, `bool`, `int`, `float`, a list of one kind, the kinds of an object's keys; None: unknown."""

_GROUP = 1024
"""Rows held at once, and in a row group."""

_NAMES: Mapping[type, str] = {str: "text", bool: "bool", int: "int", float: "float"}


class _NoType(Exception):
    """Values that no column holds."""


def write_rows(path: Path, rows: Iterable[Row], columns: Collection[str] = (), *, mixed: bool = False) -> None:
    """Write the rows as parquet, whole or not at all: the same rows give the same bytes.

    Rows that can be read again (no iterator) are gone through twice, first for the columns' types, and never held all
    at once. A column missing from a row comes back as None. `columns` come first, and are there even where there is no
    row. A column of several types is a `DataError`; with `mixed` its values are written as JSON text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = list(rows) if isinstance(rows, Iterator) else rows
    kinds, odd = _kinds(again, columns, path.name, mixed=mixed)
    schema = pa.schema([(name, pa.string() if name in odd else _arrow(kind)) for name, kind in kinds.items()])
    with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _grouped(again):
            writer.write_table(_table(group, schema, odd))


def _grouped(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while group := list(islice(source, _GROUP)):
        yield group


def _table(rows: list[Row], schema: pa.Schema, odd: Collection[str]) -> pa.Table:
    """Return rows as a table, by way of JSON: `pa.array` would import pandas, where there is one (60 MB, 0.4 s)."""
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    texts = ({k: orjson.dumps(v).decode() if k in odd else v for k, v in r.items()} for r in rows) if odd else rows
    lines = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in texts)
    parse = ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return read_json(BytesIO(lines), ReadOptions(use_threads=False, block_size=len(lines) + 1), parse)


def _kinds(
    rows: Iterable[Row], columns: Iterable[str], name: str, *, mixed: bool
) -> tuple[Mapping[str, Kind], set[str]]:
    """Return the columns' types in the order they appear, and which are to be written as JSON text."""
    kinds: dict[str, Kind] = dict.fromkeys(columns)
    odd: set[str] = set()
    for row in rows:
        for column, value in row.items():
            before = kinds.setdefault(column, None)
            if value is None or column in odd or (before == "text" and isinstance(value, str) and value.isascii()):
                continue
            try:
                kinds[column] = _both(before, _kind(value))
            except _NoType as error:
                if not mixed:
                    tip = "a column holds one type in every row"
                    raise DataError(f"column `{column}` cannot be kept: {error}", where=name, tip=tip) from None
                odd.add(column)
    for column, kind in kinds.items():
        if column not in odd and _is_nothing(kind):
            if not mixed:
                raise DataError(f"column `{column}` cannot be kept: an object without keys", where=name)
            odd.add(column)
    return kinds, odd


def _kind(value: Json) -> Kind:
    """Return the type of a value."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _kind(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        inner: Kind = None
        for part in value:
            inner = _both(inner, _kind(part))
        return [inner]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _NoType(f"{value} does not fit in 64 bits")
    if isinstance(value, str) and not _is_text(value):
        raise _NoType("half of a surrogate pair is no text")
    found = _NAMES.get(type(value))
    if found is None:
        raise _NoType(f"`{type(value).__name__}` is no JSON")
    return found


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _both(one: Kind, other: Kind) -> Kind:
    """Return the type that holds both."""
    if one is None or one == other:
        return other
    if other is None:
        return one
    if isinstance(one, list) and isinstance(other, list):
        return [_both(one[0], other[0])]
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _both(one.get(key), other.get(key)) for key in {**one, **other}}
    if {str(one), str(other)} == {"int", "float"}:
        return "float"
    raise _NoType(f"it holds {_named(one)} and {_named(other)}")


def _named(kind: Kind) -> str:
    return "a list" if isinstance(kind, list) else "an object" if isinstance(kind, dict) else str(kind)


def _is_nothing(kind: Kind) -> bool:
    """Say whether parquet has no place for a type: an object without keys, at whatever depth."""
    if isinstance(kind, list):
        return _is_nothing(kind[0])
    return isinstance(kind, dict) and (not kind or any(map(_is_nothing, kind.values())))


def _arrow(kind: Kind) -> pa.DataType:
    """Return the type as arrow has it; what is unknown, since it was never there, is text."""
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(key, _arrow(part)) for key, part in kind.items()])
    plain: dict[str, pa.DataType] = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    return plain.get(str(kind), pa.string())
