"""Where a row stands, as an error names it."""

from __future__ import annotations

from bezoar_core.records import Row
from bezoar_core.rows import PlacedRow


def place(row: Row, name: str, number: int) -> str:
    """Return the file and number of a row that knows them, otherwise `name` and `number`."""
    return row.place if isinstance(row, PlacedRow) else f"{name}:{number}"
