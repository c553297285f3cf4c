from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from core.ledger.replies import filled, found, key, record

from bezoar_core.errors import BezoarError
from bezoar_core.ledger import Ledger, Record
from bezoar_core.ledger import compaction as module
from bezoar_core.ledger.compaction import carry_out, plan
from bezoar_core.ledger.segment import scan, segments


def nothing(_: Record) -> bool:
    return False


def damaged(folder: Path) -> None:
    """Fill three segments: 0-9, 5-14, 15-19; with damage in each and an empty one at the end."""
    paths = [filled(folder, numbers) for numbers in (range(10), range(5, 15), range(15, 20))]
    for path, rest in zip(paths, (b'{"crc":"0', b"garbage\n", b"\0" * 50), strict=True):
        with path.open("ab") as file:
            file.write(rest)
    (folder / f"{segments(folder).popitem()[0] + 9:016x}.jsonl").touch()


def content(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in segments(folder).values()]


def test_by_default_all_that_can_be_replayed_stays_in_one_segment(tmp_path: Path) -> None:
    damaged(tmp_path)
    planned = plan(tmp_path, nothing)
    size = sum(map(len, content(tmp_path)))
    carry_out(planned)
    assert found(tmp_path, range(20)) == list(range(20))
    (path,) = segments(tmp_path).values()
    assert [line.key for line in scan(path, torn=True)] == [key(number) for number in range(20)]
    assert planned.before == (4, 25, size)
    assert planned.after == (1, 20, path.stat().st_size)
    removed = planned.removed
    assert (removed.damaged_bytes, removed.duplicates, removed.replies, removed.usd) == (67, 5, 0, 0.0)


def test_nothing_is_written_by_a_plan_nor_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    damaged(tmp_path)
    before = content(tmp_path)
    plan(tmp_path, lambda _: True)
    assert content(tmp_path) == before
    carry_out(plan(tmp_path, nothing))
    state = {path: path.stat() for path in tmp_path.glob("*.jsonl")}
    carry_out(plan(tmp_path, nothing))
    assert {path: path.stat() for path in tmp_path.glob("*.jsonl")} == state


def test_the_reply_that_was_replayed_still_is(tmp_path: Path) -> None:
    for number in range(3):
        with Ledger(tmp_path) as ledger:
            ledger.put(key(1), record(number))
            ledger.put(key(100 + number), record(number))
    carry_out(plan(tmp_path, nothing))
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) == record(0)


def test_neighbours_are_joined_up_to_a_size_and_whole_ones_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(0, 50, 10):
        filled(tmp_path, range(start, start + 10))
    monkeypatch.setattr(module, "SEGMENT_BYTES", 2.5 * len(content(tmp_path)[1]))
    carry_out(plan(tmp_path, nothing))
    names = list(segments(tmp_path))
    assert [len(list(scan(path))) for path in segments(tmp_path).values()] == [20, 20, 10]
    carry_out(plan(tmp_path, nothing))
    assert list(segments(tmp_path)) == names
    assert found(tmp_path, range(50)) == list(range(50))


def test_replies_given_up_go_with_their_cost_and_a_later_one_that_is_not_stays(tmp_path: Path) -> None:
    filled(tmp_path, range(6))
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1) | {"model": "other"})
    planned = plan(tmp_path, lambda reply: reply["model"] == "m" and reply["output_tokens"] != 4)
    carry_out(planned)
    assert (planned.removed.replies, planned.removed.usd, planned.removed.duplicates) == (5, 2.5, 0)
    assert planned.models == {"m", "other"}
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) == record(1) | {"model": "other"}
        assert [number for number in range(6) if ledger.get(key(number))] == [1, 4]


def test_a_ledger_given_up_whole_has_no_segment_left(tmp_path: Path) -> None:
    damaged(tmp_path)
    carry_out(plan(tmp_path, lambda _: True))
    assert segments(tmp_path) == {}
    assert found(tmp_path, range(20)) == []


def test_a_cost_that_is_unknown_makes_the_sum_unknown(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        ledger.put(key(2), record(2) | {"usd": None})
    assert plan(tmp_path, lambda _: True).removed.usd is None


def test_a_segment_that_is_being_written_stops_it_before_anything_is_done(tmp_path: Path) -> None:
    damaged(tmp_path)
    with Ledger(tmp_path) as ledger:
        ledger.put(key(99), record(99))
        before = content(tmp_path)
        with pytest.raises(BezoarError, match="a process is writing to the ledger"):
            carry_out(plan(tmp_path, nothing))
        assert content(tmp_path) == before
        planned = plan(tmp_path, nothing)
        ledger.put(key(98), record(98))
    with pytest.raises(BezoarError, match="a process is writing to the ledger"):
        carry_out(planned)
    assert found(tmp_path, [98, 99]) == [98, 99]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(tmp_path)
    before = content(tmp_path)

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("bezoar_core.ledger.segment.os.write", full)
        with pytest.raises(BezoarError, match="the ledger cannot be written: No space left on device"):
            carry_out(plan(tmp_path, nothing))
    assert content(tmp_path) == before


def test_killed_at_any_moment_it_loses_nothing_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that changes a file is the last in one round; of a write the first half is done."""
    monkeypatch.setattr(module, "_CHUNK", 1000)
    monkeypatch.setattr(module, "SEGMENT_BYTES", 4000)
    moment, ended = 0, False
    while not ended:
        folder = tmp_path / str(moment)
        damaged(folder)
        with Ledger(folder) as ledger:
            ledger.put(key(3), record(333))  # paid again: the first is replayed
        ended = in_a_child(lambda folder=folder: carry_out(plan(folder, nothing)), moment)
        assert found(folder, range(20)) == list(range(20))
        carry_out(plan(folder, nothing))
        assert found(folder, range(20)) == list(range(20))
        assert sum(len(list(scan(path, torn=True))) for path in segments(folder).values()) == 20
        moment += 1
    assert moment > 10


def in_a_child(work: Callable[[], None], moment: int) -> bool:
    """Do the work in a process that ends without a word at the given moment; say whether it came to the end."""
    child = os.fork()
    if child == 0:
        left = moment

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                nonlocal left
                left -= 1
                if left >= 0:
                    return real(*arguments)
                if isinstance(arguments[-1], bytes):
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(9)

            return call

        os.write, os.fsync, os.fdatasync = dying(os.write), dying(os.fsync), dying(os.fdatasync)
        Path.unlink = dying(Path.unlink)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_copy_is_on_the_disk_before_the_first_segment_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(tmp_path)
    done: list[str] = []

    def noting(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(file: int | Path, **how: bool) -> None:
            path = file if isinstance(file, Path) else Path(f"/proc/self/fd/{file}").readlink()
            done.append(f"{name} {path.suffix}")
            real(file, **how)

        return call

    for what, name in ((os, "fdatasync"), (os, "fsync"), (Path, "unlink")):
        monkeypatch.setattr(what, name, noting(name, getattr(what, name)))
    carry_out(plan(tmp_path, nothing))
    assert done[:7] == ["fsync ", "fdatasync .jsonl", *["unlink .jsonl"] * 4, "fsync "]


def test_a_lock_tells_whether_a_writer_lives(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        (path,) = tmp_path.glob("*.jsonl")
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
