from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from core.ledger.replies import key, record

from bezoar_core.errors import BezoarError
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.segment import decode, encode, scan
from bezoar_core.ledger.stats import count

WRITER = """
import sys
from pathlib import Path
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.stats import count
from hashlib import sha256

name, folder, first, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger(folder)
for number in range(first, last):
    ledger.put(sha256(str(number).encode()).digest(), {"number": number, "writer": name, "text": "x" * (number % 97)})
    print(number, flush=True)
ledger.close()
"""


def filled(folder: Path, count: int) -> Path:
    with Ledger(folder) as ledger:
        for number in range(count):
            ledger.put(key(number), record(number))
    return folder


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def start_writer(name: str, folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, name, str(folder), str(first), str(last)], stdout=subprocess.PIPE, text=True
    )


def test_what_is_put_is_found_at_once_and_after_reopening(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) is None
        ledger.put(key(1), record(1))
        assert ledger.get(key(1)) == record(1)
        time.sleep(0.3)  # past the group commit, so that now the index answers
        assert ledger.get(key(1)) == record(1)
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) == record(1)
        assert ledger.get(key(2)) is None
        assert count(ledger.folder).damaged == 0


def test_a_ledger_that_is_only_read_makes_no_segment(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.get(key(1))
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_line_is_plain_json_and_in_the_file_when_put_returns(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        line = only_segment(tmp_path).read_bytes()
    read = orjson.loads(line)
    assert read["key"] == key(1).hex() and read["record"] == record(1)
    assert decode(line) == (key(1), orjson.dumps(record(1)))


def test_every_line_is_on_its_way_to_the_disk_within_a_quarter_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[float, int]] = []
    real = os.fdatasync

    def noting(file: int) -> None:
        synced.append((time.monotonic(), os.fstat(file).st_size))
        real(file)

    monkeypatch.setattr("bezoar_core.ledger.segment.os.fdatasync", noting)
    written: list[tuple[float, int]] = []
    with Ledger(tmp_path) as ledger:
        for number in range(40):
            ledger.put(key(number), record(number))
            written.append((time.monotonic(), only_segment(tmp_path).stat().st_size))
            time.sleep(0.02)
    for when, end in written:
        assert min(at for at, size in synced if size >= end) - when < 0.25


def test_nothing_is_left_to_sync_after_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.fdatasync

    def noting(file: int) -> None:
        sizes.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr("bezoar_core.ledger.segment.os.fdatasync", noting)
    filled(tmp_path, 5)
    assert sizes[-1] == only_segment(tmp_path).stat().st_size


def test_truncated_at_every_byte_it_gives_every_whole_record_and_no_other(tmp_path: Path) -> None:
    source = filled(tmp_path / "source", 6)
    segment = only_segment(source)
    content = segment.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    copy = tmp_path / "copy"
    copy.mkdir()
    for cut in range(len(content) - 2 * (ends[-1] - ends[-2]), len(content) + 1):
        (copy / segment.name).write_bytes(content[:cut])
        with Ledger(copy) as ledger:
            whole = sum(end <= cut for end in ends)
            assert [ledger.get(key(n)) for n in range(6)] == [record(n) if n < whole else None for n in range(6)]
            assert count(ledger.folder).damaged == 0


def test_writing_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    segment = only_segment(tmp_path)
    os.truncate(segment, segment.stat().st_size - 7)
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(2)) is None
        ledger.put(key(2), record(20))
    with Ledger(tmp_path) as ledger:
        assert [ledger.get(key(n)) for n in range(3)] == [record(0), record(1), record(20)]


def test_no_flipped_bit_gives_a_wrong_record(tmp_path: Path) -> None:
    line = encode(key(1), orjson.dumps(record(1)))
    for place in range(len(line)):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[place] ^= 1 << bit
            assert decode(bytes(flipped)) is None


def test_a_flipped_bit_costs_one_record_and_is_counted(tmp_path: Path) -> None:
    source = filled(tmp_path / "source", 5)
    segment = only_segment(source)
    content = segment.read_bytes()
    draw = random.Random(7)
    copy = tmp_path / "copy"
    copy.mkdir()
    line_breaks = [i for i, byte in enumerate(content) if byte == 10]
    for place in [*draw.sample(range(len(content)), 60), *line_breaks[:-1]]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        shutil.rmtree(copy)
        copy.mkdir()
        (copy / segment.name).write_bytes(flipped)
        with Ledger(copy) as ledger:
            found = [ledger.get(key(n)) for n in range(5)]
            lost = [n for n in range(5) if found[n] is None]
            assert lost == [sum(end < place for end in line_breaks)]
            assert all(found[n] in (None, record(n)) for n in range(5))
            assert count(ledger.folder).damaged >= 1


def test_damage_after_indexing_is_noticed_when_the_record_is_asked_for(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    segment = only_segment(tmp_path)
    content = bytearray(segment.read_bytes())
    content[content.index(b"line 1")] ^= 4
    segment.write_bytes(content)
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) is None
        assert ledger.get(key(0)) == record(0) and ledger.get(key(2)) == record(2)
        ledger.put(key(1), record(1))
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) == record(1)


def test_opening_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, 4)
    first = only_segment(tmp_path)
    read: list[tuple[str, int]] = []

    def noting(path: Path, start: int) -> object:
        read.append((path.name, start))
        return scan(path, start)

    monkeypatch.setattr("bezoar_core.ledger.ledger.scan", noting)
    with Ledger(tmp_path):
        pass
    assert read == []
    line = encode(key(9), orjson.dumps(record(9)))
    size = first.stat().st_size
    with first.open("ab") as file:
        file.write(line)
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(9)) == record(9)
    assert read == [(first.name, size)]


@pytest.mark.parametrize("content", [None, b"", b"this is no database" * 500, b"\0" * 8192])
def test_a_lost_or_ruined_index_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    filled(tmp_path, 20)
    index = tmp_path / "index.sqlite"
    if content is None:
        index.unlink()
    else:
        index.write_bytes(content)
    with Ledger(tmp_path) as ledger:
        assert [ledger.get(key(n)) for n in range(20)] == [record(n) for n in range(20)]


def test_an_index_ruined_inside_is_made_again_while_open(tmp_path: Path) -> None:
    filled(tmp_path, 2000)
    index = tmp_path / "index.sqlite"
    content = bytearray(index.read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    index.write_bytes(content)
    with Ledger(tmp_path) as ledger:
        assert [ledger.get(key(n)) for n in range(2000)] == [record(n) for n in range(2000)]


def test_an_index_of_another_version_is_made_again(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(2)) == record(2)


def test_the_index_of_another_ledger_gives_no_wrong_record(tmp_path: Path) -> None:
    one = filled(tmp_path / "one", 4)
    two = tmp_path / "two"
    with Ledger(two) as ledger:
        for number in (3, 2, 1, 0):
            ledger.put(key(number), record(number) | {"text": "longer " * number})
    only_segment(two).rename(two / only_segment(one).name)
    shutil.copy(one / "index.sqlite", two / "index.sqlite")
    with Ledger(two) as ledger:
        for number in range(4):
            assert ledger.get(key(number)) == record(number) | {"text": "longer " * number}


def test_a_removed_segment_is_forgotten(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    only_segment(tmp_path).unlink()
    with Ledger(tmp_path) as ledger:
        assert ledger.get(key(1)) is None
        assert count(ledger.folder).replies == 0


def test_of_a_request_paid_twice_the_first_reply_stays(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    first.put(key(1), record(1))
    time.sleep(0.005)  # segments are told apart by their millisecond
    second.put(key(1), record(2))
    second.close()
    first.close()
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert ledger.get(key(1)) == record(1)
        (tmp_path / "index.sqlite").unlink()


def test_an_open_ledger_sees_what_another_wrote(tmp_path: Path) -> None:
    with Ledger(tmp_path) as reader, Ledger(tmp_path) as writer:
        writer.put(key(1), record(1))
        deadline = time.monotonic() + 5
        while reader.get(key(1)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert reader.get(key(1)) == record(1)


def test_an_index_made_again_by_another_does_not_hide_what_an_open_ledger_wrote(tmp_path: Path) -> None:
    with Ledger(tmp_path) as writer:
        writer.put(key(1), record(1))
        time.sleep(0.3)
        for path in tmp_path.glob("index.sqlite*"):
            path.unlink()
        with Ledger(tmp_path) as other:
            writer.put(key(2), record(2))
            time.sleep(0.4)
            assert [writer.get(key(n)) for n in (1, 2)] == [record(1), record(2)]
            assert [other.get(key(n)) for n in (1, 2)] == [record(1), record(2)]


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    writers = [start_writer(str(i), tmp_path, 100 * i, 100 * i + 400) for i in range(3)]
    with Ledger(tmp_path) as ledger:
        for number in range(50):
            ledger.put(key(10_000 + number), record(number))
            ledger.get(key(number))
        assert [writer.communicate()[1] for writer in writers] == [None] * 3
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            for number in range(600):
                found = ledger.get(key(number))
                assert found is not None and found["number"] == number
            assert ledger.get(key(10_049)) == record(49)
            assert count(ledger.folder).damaged == 0
            assert count(ledger.folder).replies == 1250
        (tmp_path / "index.sqlite").unlink()


def test_what_a_killed_process_put_is_kept(tmp_path: Path) -> None:
    for moment in range(4):
        writer = start_writer("w", tmp_path, moment * 100_000, moment * 100_000 + 100_000)
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(50 + 400 * moment)]
        writer.send_signal(signal.SIGKILL)
        seen += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        writer.stdout.close()
        with Ledger(tmp_path) as ledger:
            assert len(seen) >= 50
            for number in seen:
                found = ledger.get(key(number))
                assert found is not None and found["number"] == number


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    full = False

    def write(file: int, data: bytes) -> int:
        if not full:
            return real(file, data)
        if len(data) > 20:
            return real(file, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        monkeypatch.setattr("bezoar_core.ledger.segment.os.write", write)
        full = True
        with pytest.raises(BezoarError, match="the ledger cannot be written: No space left on device") as caught:
            ledger.put(key(2), record(2))
        assert "make room" in caught.value.tip
        full = False
        ledger.put(key(3), record(3))
    with Ledger(tmp_path) as ledger:
        assert [ledger.get(key(n)) for n in (1, 2, 3)] == [record(1), None, record(3)]
        assert count(ledger.folder).damaged == 0


def test_a_write_taken_in_parts_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr("bezoar_core.ledger.segment.os.write", lambda file, data: real(file, data[:11]))
    filled(tmp_path, 3)
    with Ledger(tmp_path) as ledger:
        assert [ledger.get(key(n)) for n in range(3)] == [record(n) for n in range(3)]


def test_a_disk_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("bezoar_core.ledger.segment.os.fdatasync", broken)
    ledger = Ledger(tmp_path)
    ledger.put(key(1), record(1))
    with pytest.raises(BezoarError, match="could not be brought to the disk: Input/output error"):
        ledger.close()


def test_stats_sum_replies_tokens_and_cost_by_model(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put(key(1), record(1))
        ledger.put(key(2), record(2))
        ledger.put(key(3), record(3) | {"model": "n", "usd": None, "input_tokens": None})
        stats = count(ledger.folder)
    assert [(m.model, m.replies, m.input_tokens, m.output_tokens, m.usd) for m in stats.models] == [
        ("m", 2, 6, 3, 1.0),
        ("n", 1, 0, 3, None),
    ]
    assert (stats.segments, stats.replies, stats.damaged) == (1, 3, 0)
    assert stats.bytes == only_segment(tmp_path).stat().st_size
