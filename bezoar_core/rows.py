"""Rows read from files and folders, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from bezoar_core.errors import DataError, nearest
from bezoar_core.records import Row
from bezoar_core.row_files import check_alone, chosen, rows_of
from bezoar_core.types import Json


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
