"""People's labels: ids that stay, a file that is only added to, last words and majorities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bezoar_core.errors import DataError
from bezoar_core.labels import Answer, Decision, Label, add_labels, decisions, read_labels, row_id


def said(
    row: str, label: Answer, author: str = "ada", note: str = "", time: str = "2026-01-01T00:00:00+00:00"
) -> Label:
    return Label(row=row, label=label, author=author, note=note, time=time)


def test_an_id_follows_from_the_texts_and_nothing_else() -> None:
    texts = {"instruction": "a", "response": "b"}
    assert row_id(texts) == row_id(dict(reversed(texts.items())))
    others = [{"instruction": "b", "response": "a"}, {"instruction": "a"}, {"instruction": "a", "response": "b "}]
    assert len({row_id(texts), *map(row_id, others)}) == 4


def test_a_file_is_only_added_to_and_repeats_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "labels" / "kept.jsonl"
    assert read_labels(path) == []
    assert len(add_labels(path, [said("r1", "accept"), said("r2", "reject")])) == 2
    before = path.read_bytes()
    again = [said("r1", "accept", time="2026-02-02T00:00:00+00:00"), said("r2", "accept"), said("r1", "accept", "bob")]
    assert add_labels(path, again) == again[1:]
    assert path.read_bytes().startswith(before)
    assert read_labels(path) == [said("r1", "accept"), said("r2", "reject"), *again[1:]]
    assert add_labels(path, []) == add_labels(path, again) == []
    assert [p.name for p in path.parent.iterdir()] == ["kept.jsonl"]


def test_a_line_without_its_end_is_not_run_together_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    add_labels(path, [said("r1", "accept")])
    path.write_bytes(path.read_bytes().rstrip())
    add_labels(path, [said("r2", "accept")])
    assert [label.row for label in read_labels(path)] == ["r1", "r2"]


def test_every_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    fine = json.dumps(vars(said("r1", "accept")))
    path.write_text("\n".join([fine, "{", '{"row": "r"}', "[]", fine.replace("accept", "maybe")]) + "\n")
    with pytest.raises(DataError) as error:
        read_labels(path)
    for number in (2, 3, 4, 5):
        assert f"kept.jsonl:{number}: no label" in str(error.value)
    assert "kept.jsonl:1" not in str(error.value)


def test_an_authors_last_word_counts_and_then_the_majority() -> None:
    labels = [said("r1", "accept"), said("r1", "reject", note="on second thoughts")]
    assert decisions(labels) == {"r1": Decision(accept=False, authors=("ada",), note="on second thoughts")}
    labels += [said("r1", "accept", "bob")]
    assert decisions(labels) == {}, "divided evenly"
    labels += [said("r1", "accept", "cy", "fine"), said("r2", "accept", "bob")]
    assert decisions(labels) == {
        "r1": Decision(accept=True, authors=("bob", "cy"), note="fine"),
        "r2": Decision(accept=True, authors=("bob",), note=""),
    }
