"""The sheet people fill in: safe in a spreadsheet, strict when it comes back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezoar_core.errors import DataError, UsageError
from bezoar_core.label_sheet import Filled, read_sheet, write_sheet

ROWS = {
    "row-1": {"system": "", "instruction": "Say\nsomething; or, not", "response": "=1+1"},
    "row-2": {"system": "", "instruction": "b", "response": 'He said "c".'},
    "row-3": {"system": "", "instruction": "c", "response": "d"},
}
HEAD = "row,system,instruction,response,label,author,note\n"


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def read(folder: Path, text: str | bytes) -> Filled:
    path = folder / "filled.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sheet(path, ROWS, "kept")


def test_a_sheet_has_the_texts_and_empty_columns_to_fill_in(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.csv"
    write_sheet(path, ROWS)
    head, *body = cells(path)
    assert head == HEAD.strip().split(",")
    assert body[0] == ["row-1", "", "Say\nsomething; or, not", "'=1+1", "", "", ""]
    assert body[1][3] == 'He said "c".' and [row[0] for row in body] == list(ROWS)
    assert read_sheet(path, ROWS, "kept") == Filled((), 3)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@\t\r\n '\"\uff1d")))
def test_no_text_becomes_a_formula(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("sheet") / "sheet.csv"
    write_sheet(path, {"row-1": {"text": text}})
    _, row = cells(path)
    assert row[1] in (text, "'" + text)
    assert row[1][:1] not in {*"=+-@\t\r\n", "\uff1d"} and row[1].lstrip()[:1] not in set("=+-@")


def test_a_long_text_is_cut_to_what_a_cell_holds_and_says_so(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", {"row-1": {"text": "x" * 200_000}})
    text = cells(tmp_path / "sheet.csv")[1][1]
    assert len(text) < 32_767 and text.endswith("x [168000 more characters]")


def test_a_sheet_that_exists_is_not_written_over(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.csv", ROWS)
    with pytest.raises(UsageError, match="exists already"):
        write_sheet(tmp_path / "sheet.csv", ROWS)


def test_part_of_a_sheet_may_be_filled_in(tmp_path: Path) -> None:
    filled = read(
        tmp_path, HEAD + 'row-1,,x,y, Accept ,"Ada  L.",so it is\nrow-2,,x,y,,bob,\nrow-3,,,,REJECT,bob,\n,,,,,,\n'
    )
    assert [(one.row, one.label, one.author, one.note) for one in filled.labels] == [
        ("row-1", "accept", "Ada L.", "so it is"),
        ("row-3", "reject", "bob", ""),
    ]
    assert filled.empty == 1
    assert all(one.time.endswith("+00:00") for one in filled.labels)


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    assert [one.row for one in read(tmp_path, HEAD + f"row-1,,x,{'y' * 200_000},accept,ada,").labels] == ["row-1"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_marks_between_the_cells_are_understood(tmp_path: Path, mark: str) -> None:
    text = "\ufeff" + mark.join(["row", "label", "author"]) + "\r\n" + mark.join(["row-1", "accept", "ada"]) + "\r\n"
    assert [one.row for one in read(tmp_path, text).labels] == ["row-1"]


def test_every_fault_is_told_with_the_line_its_row_begins_on(tmp_path: Path) -> None:
    body = 'row-1,,"two\nlines",y,maybe,ada,\nrow-9,,x,y,accept,ada,\nrow-2,,x,y,accept,,\n'
    body += "row-3,,x,y,accept,ada,\nrow-3,,x,y,reject,ada,\nrow-3,,x,y,accept,ada,\n"
    with pytest.raises(DataError) as error:
        read(tmp_path, HEAD + body)
    assert str(error.value).splitlines() == [
        "4 faults in the labels",
        "filled.csv:2: `label` is `maybe`: write `accept` or `reject`, or leave it empty",
        "filled.csv:4: `row-9` is no row of `kept`",
        "filled.csv:5: a label without `author`: write who says so",
        "filled.csv:7: `row-3` is labelled twice by `ada`, and not the same",
        "  tip: nothing of it was kept",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,label\nrow-1,accept\n", "filled.csv:1: no column `author`"),
        ("", "filled.csv:1: no column `row`, `label`, `author`"),
        (HEAD.encode() + "row-1,,é,,accept,ada,".encode("latin-1"), "is not UTF-8"),
        (HEAD + 'row-1,"x"y,', "filled.csv:2: no CSV: ',' expected after"),
    ],
)
def test_what_is_no_sheet_is_said(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)
    with pytest.raises(UsageError, match="does not exist"):
        read_sheet(tmp_path / "none.csv", ROWS, "kept")
