"""One segment of the ledger: JSON lines, each with a checksum, appended by a single writer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from bezoar_core.errors import BezoarError

SUFFIX = ".jsonl"
_MARK = b'{"crc":"'
_BODY = len(_MARK) + 8 + len(b'",')
_KEY = len(b'"key":"')
_RECORD = _KEY + 64 + len(b'","record":')


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
    body = line[_BODY:-1]
    if line[-1:] != b"\n" or line[:_BODY] != b'{"crc":"%08x",' % crc32(body) or len(body) <= _RECORD:
        return None
    return bytes.fromhex(body[_KEY : _KEY + 64].decode()), body[_RECORD:-1]


def scan(path: Path, start: int = 0) -> Iterator[Line]:
    """Yield the whole lines of a segment from `start`; a torn last line is not among them."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for line in file:
            if line[-1:] != b"\n":
                return
            yield from _read(line, offset)
            offset += len(line)


def _read(line: bytes, offset: int) -> Iterator[Line]:
    """Yield a line, or where a damaged line break joined two, what can be read of each."""
    at = 0
    while True:
        whole = decode(line[at:])
        if whole is not None:
            yield Line(offset + at, len(line) - at, *whole)
            return
        following = line.find(_MARK, at + 1)
        end = following if following > 0 else len(line)
        yield Line(offset + at, end - at, None, None)
        if following < 0:
            return
        at = following


def segments(folder: Path) -> dict[int, Path]:
    """Return the segments of a ledger by number, oldest first."""
    found = {int(path.stem, 16): path for path in folder.glob(f"*{SUFFIX}") if _is_number(path.stem)}
    return dict(sorted(found.items()))


def _is_number(text: str) -> bool:
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


class Segment:
    """A fresh segment and its only writer; a line is in the kernel's hands when `append` returns."""

    def __init__(self, folder: Path) -> None:
        self.number, self.path, self._file = _create(folder)
        self.size = 0

    def append(self, line: bytes) -> Place:
        """Write `line` and return its place; on a full disk what was written of it is taken back."""
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


def _create(folder: Path) -> tuple[int, Path, int]:
    """Make a segment that no other writer has: its number is the time in milliseconds, then 20 random bits."""
    while True:
        number = (time.time_ns() // 1_000_000) << 20 | int.from_bytes(os.urandom(3), "big") >> 4
        path = folder / f"{number:016x}{SUFFIX}"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            continue
        entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(entry)  # else a power cut could take the file's name with all that is in it
        finally:
            os.close(entry)
        return number, path, file
