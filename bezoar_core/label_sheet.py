"""The sheet people fill in: a CSV with a row's texts and without the judge's verdict."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bezoar_core.errors import DataError, UsageError
from bezoar_core.labels import ANSWERS, Label
from bezoar_core.store import write_atomically

FILLED = ("label", "author", "note")
_LONGEST = 32_000
"""Characters of a cell: spreadsheets cut or refuse more than 32,767."""
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
"""What a spreadsheet takes for the start of a formula, in full width too."""


@dataclass(frozen=True)
class Filled:
    """A sheet that was read: its labels, and how many of its rows have none."""

    labels: tuple[Label, ...]
    empty: int


def write_sheet(path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write the texts of `rows` (by id) with empty columns to fill in; raises `UsageError` where the file exists."""
    if path.exists():
        tip = "it may hold somebody's labels: read it with `--read`, or name another file with `--out`"
        raise UsageError(f"`{path}` exists already", tip=tip)
    columns = list(dict.fromkeys(column for texts in rows.values() for column in texts))
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, quoting=csv.QUOTE_ALL)
    writer.writerow(["row", *columns, *FILLED])
    for row, texts in rows.items():
        writer.writerow([row, *(_cell(texts.get(column, "")) for column in columns), *("" for _ in FILLED)])
    path.parent.mkdir(parents=True, exist_ok=True)
    # spreadsheets know UTF-8 by its mark
    write_atomically(path, sheet.getvalue().encode("utf-8-sig"))


def _cell(text: str) -> str:
    """Return text that no spreadsheet runs as a formula; it is for reading only and never read back."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [{len(text) - _LONGEST} more characters]"
    risky = shown[:1] in {"\t", "\r", "\n"} or shown.lstrip()[:1] in {*_FORMULA}
    return "'" + shown if risky else shown


def read_sheet(path: Path, known: Collection[str], step: str) -> Filled:
    """Return the labels on a sheet whose rows are all among `known`; raises `DataError` with every fault's line."""
    records = _records(path)
    place, header = next(records, (f"{path.name}:1", []))
    lacking = [column for column in ("row", "label", "author") if column not in header]
    if lacking:
        message = "no column " + ", ".join(f"`{column}`" for column in lacking)
        raise DataError(message, where=place, tip="keep the first line as `bezoar label` wrote it")
    time = datetime.now(UTC).isoformat(timespec="seconds")
    faults: list[str] = []
    labels: dict[tuple[str, str], Label] = {}
    empty = 0
    for place, cells in records:
        texts = {column: cell.strip() for column, cell in zip(header, cells, strict=False)}
        row, author = texts.get("row", ""), " ".join(texts.get("author", "").split())
        if row not in known:
            faults.append(f"{place}: `{row}` is no row of `{step}`")
        if not texts.get("label"):
            empty += 1
            continue
        answer = ANSWERS.get(texts["label"].casefold())
        if answer is None:
            faults.append(f"{place}: `label` is `{texts['label']}`: write `accept` or `reject`, or leave it empty")
            continue
        if not author:
            faults.append(f"{place}: a label without `author`: write who says so")
        label = Label(row=row, label=answer, author=author, time=time, note=texts.get("note", ""))
        if labels.setdefault((row, author), label).label != answer:
            faults.append(f"{place}: `{row}` is labelled twice by `{author}`, and not the same")
    if faults:
        noun = "fault" if len(faults) == 1 else "faults"
        raise DataError(f"{len(faults)} {noun} in the labels\n" + "\n".join(faults), tip="nothing of it was kept")
    return Filled(tuple(labels.values()), empty)


def _records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the records that are not empty, each with the line it begins on."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"`{path}` does not exist") from None
    except UnicodeDecodeError as error:
        tip = "save it as CSV in UTF-8"
        raise DataError(f"byte {error.start} is not UTF-8", where=path.name, tip=tip) from None
    first = text.partition("\n")[0]
    # some spreadsheets save a CSV with another mark between the cells
    mark = next((mark for mark in ",;\t" if mark in first), ",")
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield f"{path.name}:{line}", cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"no CSV: {error}", where=f"{path.name}:{line}") from None
