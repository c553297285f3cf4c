from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from core.ledger.replies import filled, found, key, record

from bezoar_core.errors import BezoarError
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.stats import count
from bezoar_core.ledger.verification import verify


def change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "index.sqlite") as db:
        db.execute(statement)
    db.close()


def test_a_sound_ledger_has_no_damage_and_an_index_that_agrees(tmp_path: Path) -> None:
    filled(tmp_path, range(20))
    filled(tmp_path, range(10, 30))
    verified = verify(tmp_path)
    assert (verified.segments, verified.replies, verified.damage, verified.index) == (2, 40, (), "agrees")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM places WHERE offset = 0", "1 of its entries disagreed with the segments: made again"),
        (
            "UPDATE places SET offset = offset + 1 WHERE offset = 0",
            "2 of its entries disagreed with the segments: made again",
        ),
        ("INSERT INTO places VALUES (x'00', 1, 2, 3)", "1 of its entries disagreed with the segments: made again"),
        ("PRAGMA user_version = 77", "cannot be used (version 77): made again"),
    ],
)
def test_an_index_that_disagrees_is_said_and_made_again(tmp_path: Path, statement: str, said: str) -> None:
    filled(tmp_path, range(20))
    change(tmp_path, statement)
    assert verify(tmp_path).index == said
    assert verify(tmp_path).index == "agrees"
    assert found(tmp_path, range(20)) == list(range(20))


def test_an_index_that_points_to_a_later_reply_disagrees(tmp_path: Path) -> None:
    filled(tmp_path, [1])
    second = filled(tmp_path, [1])
    change(tmp_path, f"UPDATE places SET segment = {int(second.stem, 16)}")
    assert verify(tmp_path).index == "1 of its entries disagreed with the segments: made again"


def test_damage_is_named_and_what_was_answered_again_is_not_lost(tmp_path: Path) -> None:
    path = filled(tmp_path, range(4))
    whole = path.read_bytes()
    content = bytearray(whole)
    for number in (1, 2):
        content[content.index(f"line {number}".encode())] ^= 1
    path.write_bytes(content + b"\0" * 9)
    filled(tmp_path, [1])
    verified = verify(tmp_path)
    sizes = [len(line) + 1 for line in whole.split(b"\n")]
    assert [(one.path, one.offset, one.length, one.kind, one.key) for one in verified.damage] == [
        (path, sizes[0], sizes[1], "flipped", key(1)),
        (path, sum(sizes[:2]), sizes[2], "flipped", key(2)),
        (path, len(whole), 9, "zeros", None),
    ]
    assert (verified.replies, verified.lost) == (3, 2)
    assert verified.index == "2 of its entries disagreed with the segments: made again"


def test_what_a_living_writer_is_about_to_finish_is_no_damage(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        (path,) = tmp_path.glob("*.jsonl")
        with path.open("ab") as file:
            file.write(b'{"crc":"01')
        verified = verify(tmp_path)
        assert (verified.replies, verified.damage, verified.index) == (1, (), "agrees")
    assert [one.kind for one in verify(tmp_path).damage] == ["torn"]


def test_without_an_index_none_is_made(tmp_path: Path) -> None:
    filled(tmp_path, range(3))
    (tmp_path / "index.sqlite").unlink()
    before = sorted(tmp_path.iterdir())
    assert verify(tmp_path).index == "not there: the next run makes it"
    assert count(tmp_path).replies == 3
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_verified_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, range(3))
    change(tmp_path, "DELETE FROM places")
    real = os.open

    def read_only(path: str | Path, flags: int, *rest: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    assert verify(tmp_path).index == "not checked: Read-only file system"
    with pytest.raises(BezoarError, match="the ledger cannot be opened: Read-only file system") as caught:
        Ledger(tmp_path)
    assert "only read" in caught.value.tip


def test_a_segment_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / f"{7:016x}.jsonl").mkdir()
    for read in (count, verify, Ledger):
        with pytest.raises(BezoarError, match="the ledger cannot be read: Is a directory"):
            read(tmp_path)
