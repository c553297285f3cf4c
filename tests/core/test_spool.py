from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.errors import DataError
from bezoar_core.parquet import write_rows
from bezoar_core.rows import read_parquet
from bezoar_core.spool import Spool


def test_rows_can_be_read_again_while_more_are_added(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.jsonl")
    spool.append({"a": 1, "text": "line\nbreak"})
    assert [dict(row) for row in spool] == [{"a": 1, "text": "line\nbreak"}]
    spool.append({"a": 2})
    assert [row["a"] for row in spool] == [1, 2] == [row["a"] for row in spool]
    assert len(spool) == 2
    spool.close()
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("value", [2**70, {1, 2}, "\ud800", object()])
def test_what_is_no_json_is_named_with_its_row_and_column(tmp_path: Path, value: object) -> None:
    spool = Spool(tmp_path / "rows.jsonl")
    spool.append({"good": "x"})
    with pytest.raises(DataError, match="column `bad` cannot be kept") as caught:
        spool.append({"good": "x", "bad": value})  # type: ignore[dict-item] # on purpose
    assert caught.value.where == "row 2"
    assert len(spool) == 1
    spool.close()


def test_a_type_that_only_late_rows_show_is_found_before_anything_is_written(tmp_path: Path) -> None:
    rows = [{"n": 1, "s": None, "o": {"a": 1}} for _ in range(5000)] + [{"n": 2.5, "s": "x", "o": {"b": "y"}}]
    spool = Spool(tmp_path / "rows.jsonl")
    for row in rows:
        spool.append(row)
    write_rows(tmp_path / "spooled.parquet", spool)
    spool.close()
    write_rows(tmp_path / "held.parquet", rows)
    assert (tmp_path / "spooled.parquet").read_bytes() == (tmp_path / "held.parquet").read_bytes()
    back = [dict(row) for row in read_parquet(tmp_path / "spooled.parquet")]
    assert back[0] == {"n": 1.0, "s": None, "o": {"a": 1, "b": None}}
    assert back[-1] == {"n": 2.5, "s": "x", "o": {"a": None, "b": "y"}}


def test_a_column_of_several_types_is_refused_or_written_as_json_text(tmp_path: Path) -> None:
    rows = [{"odd": 1, "list": ["a"], "o": [{}]}] * 5000 + [{"odd": "one", "list": ["b"], "o": [{}]}]
    with pytest.raises(DataError, match="column `odd` cannot be kept"):
        write_rows(tmp_path / "rows.parquet", rows)
    assert not list(tmp_path.iterdir())
    write_rows(tmp_path / "rows.parquet", rows, mixed=True)
    back = list(read_parquet(tmp_path / "rows.parquet"))
    assert back[0] == {"odd": "1", "list": ["a"], "o": "[{}]"}
    assert back[-1] == {"odd": '"one"', "list": ["b"], "o": "[{}]"}
