"""Rows in and out: streamed from files that others wrote, kept as parquet by us."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bezoar_core.errors import DataError, nearest
from bezoar_core.records import Row
from bezoar_core.row_files import check_alone, chosen, rows_of
from bezoar_core.store import replacing
from bezoar_core.types import Json

if TYPE_CHECKING:
    import pyarrow as pa


class PlacedRow(dict[str, Json]):
    """A row that knows where it was read: `place` is `file:row`."""

    __slots__ = ("place",)

    def __init__(self, row: Mapping[str, Json], place: str) -> None:
        super().__init__(row)
        self.place = place


def read_rows(
    path: Path,
    *,
    name: str | None = None,
    subset: str | None = None,
    files: str | None = None,
    split: str | None = None,
    first: int | None = None,
    where: Mapping[str, str | int | float | bool] | None = None,
) -> Iterator[PlacedRow]:
    """Yield the rows of a file, or of a folder's files in the order of their names.

    In a folder, `subset` names a folder in it, `files` is a glob, and `split` picks files by the Hub's naming. `where`
    keeps rows whose columns equal its values, and `first` the first so many of those. `name` stands for `path` in
    messages.
    Raises `DataError` with `file:row`.
    """
    shown = name or str(path)
    if subset is not None:
        path, shown = path / subset, f"{shown}/{subset}"
    if path.is_dir():
        sources = [(p, f"{shown}/{p.relative_to(path).as_posix()}") for p in chosen(path, shown, files, split)]
    elif path.exists():
        check_alone(path, shown, files, split)
        sources = [(path, shown)]
    else:
        raise DataError("does not exist", where=shown, tip="a path is relative to the registry's folder")
    rows = (PlacedRow(row, f"{place}:{number}") for file, place in sources for number, row in rows_of(file, place))
    return islice((row for row in rows if _matches(row, where)) if where else rows, first)


def _matches(row: PlacedRow, where: Mapping[str, str | int | float | bool]) -> bool:
    for column, value in where.items():
        if column not in row:
            raise DataError(f"row has no column `{column}`", where=row.place, tip=nearest(column, list(row)))
        if row[column] != value:
            return False
    return True


def require(rows: Iterable[Row], columns: Iterable[str], name: str) -> Iterator[Row]:
    """Yield the rows; raise `DataError` with the place of the first that lacks one of `columns`.

    `name` and the row's number are the place of a row that does not know its own.
    """
    wanted = tuple(columns)
    for number, row in enumerate(rows, start=1):
        for column in wanted:
            if column not in row:
                place = row.place if isinstance(row, PlacedRow) else f"{name}:{number}"
                raise DataError(f"row has no column `{column}`", where=place, tip=nearest(column, list(row)))
        yield row


def read_parquet(path: Path) -> Iterator[PlacedRow]:
    """Yield the rows of a parquet file."""
    return read_rows(path, name=path.name)


class Rows(Iterable[Row]):
    """Rows that may be gone through any number of times: each pass reads them anew."""

    def __init__(self, read: Callable[[], Iterator[Row]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Row]:
        return self._read()


def write_rows(path: Path, rows: Iterable[Row], columns: Collection[str] = (), *, mixed: bool = False) -> None:
    """Write the rows as parquet, whole or not at all: the same rows give the same bytes.

    Rows that can be read again (no iterator) are gone through twice, first for the columns' types, and never held all
    at once. A column missing from a row comes back as None. `columns` come first, and are there even where there is no
    row. A column of several types is a `DataError`; with `mixed` its values are written as JSON text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = list(rows) if isinstance(rows, Iterator) else rows
    types, odd = _types(again, columns, path.name, mixed=mixed)
    schema = pa.schema([(name, type_) for name, type_ in types.items()])
    try:
        with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _batched(again, _GROUP):
                texts = [{k: orjson.dumps(v).decode() if k in odd else v for k, v in r.items()} for r in group]
                arrays = [pa.array([row.get(field.name) for row in texts], field.type) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    except pa.ArrowException as error:
        raise DataError(f"cannot be kept as parquet: {error}", where=path.name) from None


_GROUP = 4096
"""Rows held at once, and in a row group."""


def _batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch


def _types(
    rows: Iterable[Row], columns: Iterable[str], name: str, *, mixed: bool
) -> tuple[Mapping[str, pa.DataType], set[str]]:
    """Return the columns' types in the order they appear, and which are to be written as JSON text."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = dict.fromkeys(columns, pa.null())
    odd: set[str] = set()
    for batch in _batched(rows, _GROUP):
        for column in dict.fromkeys(column for row in batch for column in row):
            before = types.setdefault(column, pa.null())
            if column in odd:
                continue
            try:
                values: list[Any] = [row.get(column) for row in batch]
                found: pa.DataType = pa.array(values).type
                types[column] = _united(before, found)
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
                if not mixed:
                    message = f"column `{column}` cannot be kept: {error}"
                    raise DataError(message, where=name, tip="a column holds one type in every row") from None
                odd.add(column)
    odd |= {column for column, type_ in types.items() if mixed and not _has_place(type_)}
    texts = odd | {column for column, type_ in types.items() if type_ == pa.null()}
    return {column: pa.string() if column in texts else type_ for column, type_ in types.items()}, odd


def _has_place(type_: pa.DataType) -> bool:
    """Say whether parquet has a place for a type: it has none for an object without keys, at whatever depth."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(pa.table({"column": pa.array([], type_)}), pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return True


def _united(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if one == other or one == pa.null():
        return other
    schemas = [pa.schema([("column", type_)]) for type_ in (one, other)]
    united: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    return united
