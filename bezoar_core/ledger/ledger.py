"""The ledger of a project: `put` keeps a reply, `get` finds it again, in any later process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.ledger.index import Broken, Busy, Index, Replaced, remove
from bezoar_core.ledger.segment import Place, decode, encode, scan, segments
from bezoar_core.ledger.stats import Record
from bezoar_core.ledger.writer import Writer

_OPEN_FILES = 128


class Ledger:
    """All replies under `folder`.

    A reply has been written when `put` returns and is on the disk within 250 ms, or when `close` returns. Each open
    ledger appends to a segment of its own, made with the first `put`, so any number of processes may share a folder.
    A line that is not what was written is never returned.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, int] = {}
        self._writer: Writer | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                self._index = self._open_index()
        except OSError as error:
            raise BezoarError(
                f"the ledger cannot be opened: {error.strerror}",
                where=str(folder),
                tip="a run writes there; `bezoar ledger stats`, `verify` and `export` only read",
            ) from error

    def get(self, key: bytes) -> Record | None:
        """Return the record kept under `key` (32 bytes), or None."""
        place = (self._writer.unindexed(key) if self._writer else None) or self._find(key)
        if place is None:
            return None
        record = self._read(key, place)
        if record is None:  # the segment is damaged there, or the index points to the wrong line
            place = self._find_anew(key)
            record = self._read(key, place) if place else None
        return record

    def put(self, key: bytes, record: Record) -> None:
        """Keep `record` under `key`; it has reached the kernel when this returns."""
        if self._writer is None:
            self._writer = Writer(self.folder)
        self._writer.append(key, encode(key, orjson.dumps(record)))

    def close(self) -> None:
        """Wait until every reply is on the disk and in the index."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._writer = None
            self._index.close()
            for file in self._files.values():
                os.close(file)
            self._files.clear()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open_index(self) -> Index:
        try:
            return indexed(self.folder)
        except Broken as broken:
            return self._made_again(broken)

    def _made_again(self, broken: Broken) -> Index:
        if isinstance(broken, Busy):
            raise BezoarError(
                "another process keeps the ledger's index locked",
                where=str(self.folder),
                tip="run again once it ends",
            ) from broken
        if not isinstance(broken, Replaced):
            remove(self.folder)
        try:
            return indexed(self.folder)
        except Broken as again:
            raise BezoarError(
                f"the ledger's index cannot be made: {again}",
                where=str(self.folder),
                tip="look whether the disk is full; the replies are safe",
            ) from again

    def _find(self, key: bytes) -> Place | None:
        try:
            return self._index.find(key)
        except Broken as broken:
            self._replace_index(broken)
            return self._index.find(key)

    def _find_anew(self, key: bytes) -> Place | None:
        self._replace_index(Broken("it points to what is not there"))
        return self._find(key)

    def _replace_index(self, broken: Broken) -> None:
        with locked(self.folder):
            self._index.close()
            self._index = self._made_again(broken)

    def _read(self, key: bytes, place: Place) -> Record | None:
        try:
            whole = decode(os.pread(self._file(place.segment), place.length, place.offset))
        except FileNotFoundError:
            return None
        if whole is None or whole[0] != key:
            return None
        record: Record = orjson.loads(whole[1])
        return record

    def _file(self, segment: int) -> int:
        file = self._files.get(segment)
        if file is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            file = self._files[segment] = os.open(self.folder / f"{segment:016x}.jsonl", os.O_RDONLY | os.O_CLOEXEC)
        return file


def indexed(folder: Path) -> Index:
    """Return the index of a ledger with all that is in its segments; hold `locked` meanwhile. Raises `Broken`."""
    index = Index(folder)
    try:
        _catch_up(index, folder)
    except BaseException:
        index.close()
        raise
    return index


def _catch_up(index: Index, folder: Path) -> None:
    """Index what was appended since it was last looked at."""
    known = index.scanned()  # before the files, since what it knows was a file first
    found = segments(folder)
    sizes = {number: path.stat().st_size for number, path in found.items()}
    if any(sizes.get(number, -1) < end for number, end in known.items()):
        raise Broken("a segment shrank or went")  # and a reply in it may lie in another segment too
    behind = [(number, path) for number, path in found.items() if sizes[number] > known.get(number, 0)]
    if behind:
        index.take_in(
            (line.key, Place(number, line.offset, line.length))
            for number, path in behind
            for line in scan(path, known.get(number, 0))
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from reading in the same segments at the same time."""
    file = os.open(folder / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
