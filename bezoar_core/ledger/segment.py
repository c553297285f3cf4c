"""One segment of the ledger: JSON lines, each with a checksum, appended by a single writer."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from itertools import count
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import orjson

from bezoar_core.errors import BezoarError

SUFFIX = ".jsonl"
_MARK = b'{"crc":"'
_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})",("key":"([0-9a-f]{64})","record":(\{.*\})\})\n')


class Place(NamedTuple):
    """Where a line is: the segment's number, the offset and the length in bytes, line break included."""

    segment: int
    offset: int
    length: int


class Line(NamedTuple):
    """A line found by `scan`: a key and its record's JSON, or None twice where it is damaged."""

    offset: int
    length: int
    key: bytes | None
    record: bytes | None


def encode(key: bytes, record: bytes) -> bytes:
    """Return the line of a record: `record` is its JSON, `key` 32 bytes; the checksum is over all that follows it."""
    body = b'"key":"%s","record":%s}' % (key.hex().encode(), record)
    return b'{"crc":"%08x",%s\n' % (crc32(body), body)


def decode(line: bytes) -> tuple[bytes, bytes] | None:
    """Return the key and the record's JSON, or None where the line is not exactly what was written."""
    found = _LINE.fullmatch(line)
    if found is None or int(found[1], 16) != crc32(found[2]):
        return None
    return bytes.fromhex(found[3].decode()), found[4]


def scan(path: Path, start: int = 0, *, torn: bool = False) -> Iterator[Line]:
    """Yield the lines of a segment from `start`; a torn last line is among them only with `torn`, as a damaged one."""
    with reading(path) as file:
        file.seek(start)
        offset = start
        for line in file:
            if line[-1:] != b"\n" and not torn:
                return
            yield from _read(line, offset)
            offset += len(line)


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """Open a segment to read it; a disk that does not let us is a `BezoarError`."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise BezoarError(f"the ledger cannot be read: {error.strerror}", where=str(path)) from error


def _read(line: bytes, offset: int) -> Iterator[Line]:
    """Yield a line, or where a damaged line break joined two, what can be read of each."""
    at = 0
    while True:
        whole = decode(line[at:])
        if whole is not None and (at == 0 or _is_json(whole[1])):  # else a reply could hold what looks like a line
            yield Line(offset + at, len(line) - at, *whole)
            return
        following = -1 if at == 0 and line[:1] == b"{" and _is_json(line) else line.find(_MARK, at + 1)
        end = following if following > 0 else len(line)
        yield Line(offset + at, end - at, None, None)
        if following < 0:
            return
        at = following


def _is_json(text: bytes) -> bool:
    with suppress(orjson.JSONDecodeError):
        orjson.loads(text)
        return True
    return False


def segments(folder: Path) -> dict[int, Path]:
    """Return the segments of a ledger by number, oldest first."""
    found = {int(path.stem, 16): path for path in folder.glob(f"*{SUFFIX}") if _is_number(path.stem)}
    return dict(sorted(found.items()))


def _is_number(text: str) -> bool:
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


class Segment:
    """A fresh segment and its only writer; a line is in the kernel's hands when `append` returns.

    Its number is of this moment, or the next free one `after` another.
    """

    def __init__(self, folder: Path, after: int | None = None) -> None:
        numbers = iter(_fresh_number, None) if after is None else count(after + 1)
        self.number, self.path, self._file = _create(folder, numbers)
        self.size = 0

    def append(self, line: bytes) -> Place:
        """Write `line`, or several, and return the place; on a full disk what was written of it is taken back."""
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self.size)
            raise BezoarError(
                f"the ledger cannot be written: {error.strerror}",
                where=str(self.path),
                tip="make room and run again: every reply received so far is kept",
            ) from error
        place = Place(self.number, self.size, len(line))
        self.size += len(line)
        return place

    def sync(self) -> None:
        """Wait until all that was appended is on the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def _create(folder: Path, numbers: Iterator[int]) -> tuple[int, Path, int]:
    """Make a segment with the first of `numbers` that is free; the lock on it tells others that its writer lives."""
    while True:
        number = next(numbers)
        path = folder / f"{number:016x}{SUFFIX}"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        sync_names(folder)  # else a power cut could take the file's name with all that is in it
        return number, path, file


def has_writer(path: Path) -> bool:
    """Say whether a process that lives still appends to a segment."""
    with reading(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def sync_names(folder: Path) -> None:
    """Wait until the names of the files in `folder` are on the disk."""
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _fresh_number() -> int:
    """Return a number that no other writer has: the time in milliseconds, then 20 random bits."""
    return (time.time_ns() // 1_000_000) << 20 | int.from_bytes(os.urandom(3), "big") >> 4
