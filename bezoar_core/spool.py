"""Rows on their way to an artifact: on the disk, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from bezoar_core.errors import DataError
from bezoar_core.records import Row


class Spool:
    """A file of rows that is appended to, and may be read from the start any number of times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file = path.open("wb", buffering=1 << 16)

    def __len__(self) -> int:
        return self.count

    def append(self, row: Row) -> None:
        """Add a row; raises `DataError` where it holds something that is no JSON."""
        try:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            column = next((name for name, value in row.items() if not _is_json(value)), "")
            raise DataError(
                f"column `{column}` cannot be kept: {error}",
                where=f"row {self.count + 1}",
                tip="a row holds text, numbers, true, false, null, and lists and objects of these",
            ) from None
        self._file.write(line)
        self.count += 1

    def __iter__(self) -> Iterator[Row]:
        self._file.flush()
        with self.path.open("rb") as file:
            for line in file:
                yield orjson.loads(line)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _is_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
