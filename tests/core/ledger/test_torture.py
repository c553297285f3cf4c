from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from core.ledger.replies import filled, found, key, record
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bezoar_core.ledger import Ledger
from bezoar_core.ledger.compaction import carry_out, plan
from bezoar_core.ledger.damage import Damage, examine
from bezoar_core.ledger.index import remove
from bezoar_core.ledger.segment import encode, scan
from bezoar_core.ledger.stats import count
from bezoar_core.ledger.verification import verify

KIB_64 = 64 * 1024
SEGMENT = f"{7:016x}.jsonl"


def lines(count: int) -> list[bytes]:
    return [encode(key(number), orjson.dumps(record(number))) for number in range(count)]


def only(folder: Path, content: bytes) -> Path:
    """Make `content` the ledger's one segment; without an index."""
    remove(folder)
    (folder / SEGMENT).write_bytes(content)
    return folder


def check_tiles(path: Path) -> list[Damage]:
    """Check that every byte is in a reply or in damage; return the damage."""
    parts, end = list(examine(path)), 0
    for part in parts:
        assert part.offset == end and part.length > 0
        end += part.length
    assert end == path.stat().st_size
    return [part for part in parts if isinstance(part, Damage)]


def test_cut_at_every_byte_of_the_last_64_kib_it_gives_every_whole_line_and_names_the_rest(tmp_path: Path) -> None:
    written = lines(400)
    path = only(tmp_path, b"".join(written)) / SEGMENT
    size, start = path.stat().st_size, path.stat().st_size
    assert size > KIB_64
    for number in reversed(range(len(written))):
        end, start = start, start - len(written[number])
        for cut in range(end - 1, max(start, size - KIB_64) - 1, -1):
            os.truncate(path, cut)
            assert list(scan(path, start)) == []
            torn = [(line.offset, line.length, line.key) for line in scan(path, start, torn=True)]
            assert torn == ([(start, cut - start, None)] if cut > start else [])
            if cut % 1999 == 0:
                assert found(tmp_path, range(400)) == list(range(number))
                kinds = [(one.offset, one.length, one.kind) for one in verify(tmp_path).damage]
                assert kinds == ([(start, cut - start, "torn")] if cut > start else [])


@pytest.mark.slow
def test_opened_at_every_byte_of_the_last_64_kib_it_gives_every_whole_line(tmp_path: Path) -> None:
    written = lines(400)
    content = b"".join(written)
    cut = len(content) - KIB_64
    only(tmp_path, content[:cut])
    end, whole = 0, 0
    with (tmp_path / SEGMENT).open("ab", buffering=0) as file:
        while cut < len(content):
            file.write(content[cut : cut + 1])
            cut += 1
            while whole < 400 and end + len(written[whole]) <= cut:
                end += len(written[whole])
                whole += 1
            with Ledger(tmp_path) as ledger:
                assert ledger.get(key(whole - 1)) == record(whole - 1)
                assert whole == 400 or ledger.get(key(whole)) is None
    assert found(tmp_path, range(400)) == list(range(400))


def test_a_flipped_bit_anywhere_costs_one_reply_and_is_named(tmp_path: Path) -> None:
    written = lines(12)
    content = b"".join(written)
    draw = random.Random(11)
    kinds: Counter[str] = Counter()
    for place in draw.sample(range(len(content)), 250):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        only(tmp_path, bytes(flipped))
        number = next(n for n in range(12) if place < sum(map(len, written[: n + 1])))
        damage = check_tiles(tmp_path / SEGMENT)
        assert any(one.offset <= place < one.offset + one.length for one in damage)
        kinds.update(one.kind for one in damage)
        assert found(tmp_path, range(12)) == [n for n in range(12) if n != number]
    assert kinds["flipped"] > 0.9 * kinds.total()


def test_a_bit_flipped_after_indexing_gives_no_wrong_reply(tmp_path: Path) -> None:
    path = filled(tmp_path / "source", range(12))
    draw = random.Random(12)
    content = path.read_bytes()
    for place in draw.sample(range(len(content)), 40):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "source", tmp_path / "copy")
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        (tmp_path / "copy" / path.name).write_bytes(flipped)
        assert len(found(tmp_path / "copy", range(12))) == 11


CHANGE = st.tuples(
    st.sampled_from(["insert", "overwrite", "delete"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"\n", b" ", b"\0" * 300, b'{"crc":"', b'{"v":2}\n', lines(1)[0][:50], lines(9)[8], b"}}\n"]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGE, min_size=1, max_size=4))
@example([("insert", 0.0, b" ")])
@example([("insert", 0.0, b"\n")])
def test_whatever_befalls_a_segment_every_line_left_whole_is_found_also_after_compaction(
    changes: list[tuple[str, float, bytes]],
) -> None:
    written = lines(8)
    content = b"".join(written)
    for what, where, data in changes:
        at = int(where * len(content))
        content = content[:at] + (b"" if what == "delete" else data) + content[at + len(data) * (what != "insert") :]
    with TemporaryDirectory() as name:
        folder = only(Path(name), content)
        check_tiles(folder / SEGMENT)
        held = found(folder, range(9))
        assert held == [n for n, line in enumerate(lines(9)) if line in content]
        verify(folder)
        carry_out(plan(folder, lambda _: False))
        assert found(folder, range(9)) == held
        assert {one.kind for one in verify(folder).damage} <= {"other form"}


@pytest.mark.parametrize(
    "line",
    [
        b'{"v":2,"key":"%s","record":{"model":"m"}}\n' % key(1).hex().encode(),
        b'{"v":2,"line":%s}\n' % lines(2)[1][:-1],
        encode(key(1), b'"zstd:KLUv/QBY"'),
        encode(key(1), b"{}").replace(b"crc", b"xxh"),
    ],
)
def test_a_segment_of_another_form_gives_nothing_and_stays(tmp_path: Path, line: bytes) -> None:
    only(tmp_path, line * 3)
    filled(tmp_path, [5])
    assert found(tmp_path, [1, 5]) == [5]
    assert count(tmp_path).replies == 1
    assert all(one.length == len(line) for one in verify(tmp_path).damage)
    carry_out(plan(tmp_path, lambda _: False))
    assert found(tmp_path, [1, 5]) == [5]


def test_what_a_server_sent_is_never_taken_for_a_line(tmp_path: Path) -> None:
    """A reply may hold the text of a line whose checksum counts the closing braces around it, too."""
    inner = encode(key(2), orjson.dumps(record(2)) + b"}}")[:-3]
    outer = bytearray(encode(key(1), b'{"text":"x","raw":' + inner + b"}"))
    outer[outer.index(b'"text"')] ^= 1
    only(tmp_path, bytes(outer))
    assert found(tmp_path, [1, 2]) == []
    assert len(check_tiles(tmp_path / SEGMENT)) == 2
