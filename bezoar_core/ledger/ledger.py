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
from bezoar_core.ledger.stats import Record, Stats, count
from bezoar_core.ledger.writer import Writer

_OPEN_FILES = 32
_BATCH = 50_000


class Ledger:
    """All replies under `folder`.

    A reply has been written when `put` returns and is on the disk within 250 ms, or when `close` returns. Each open
    ledger appends to a segment of its own, made with the first `put`, so any number of processes may share a folder.
    A line that is not what was written is never returned: it is skipped and counted in `damage`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[int, int] = {}
        self._writer: Writer | None = None
        with _locked(folder):
            self._index = self._open_index()

    def get(self, key: bytes) -> Record | None:
        """Return the record kept under `key` (32 bytes), or None."""
        place = (self._writer.unindexed(key) if self._writer else None) or self._find(key)
        if place is None:
            return None
        record = self._read(key, place)
        if record is None:  # the segment is damaged there, or the index points to the wrong line
            place = self._find_anew(key, place.segment)
            record = self._read(key, place) if place else None
        return record

    def put(self, key: bytes, record: Record) -> None:
        """Keep `record` under `key`; it has reached the kernel when this returns."""
        if self._writer is None:
            self._writer = Writer(self.folder)
        self._writer.append(key, encode(key, orjson.dumps(record)))

    @property
    def damage(self) -> int:
        """Return how many damaged lines were found and skipped."""
        return len(self._index.damage())

    def stats(self) -> Stats:
        """Read the whole ledger and return its figures."""
        return count(self.folder)

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
            return _indexed(self.folder)
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
        return _indexed(self.folder)

    def _find(self, key: bytes) -> Place | None:
        try:
            return self._index.find(key)
        except Broken as broken:
            with _locked(self.folder):
                self._index.close()
                self._index = self._made_again(broken)
            return self._index.find(key)

    def _find_anew(self, key: bytes, segment: int) -> Place | None:
        with _locked(self.folder):
            path = segments(self.folder).get(segment)
            try:
                self._index.forget(segment)
                if path is not None:
                    _scan_into(self._index, segment, path, 0)
            except Broken as broken:
                self._index.close()
                self._index = self._made_again(broken)
        return self._find(key)

    def _read(self, key: bytes, place: Place) -> Record | None:
        try:
            whole = decode(os.pread(self._file(place.segment), place.length, place.offset))
        except FileNotFoundError:
            return None
        if whole is None or whole[0] != key:
            return None
        record = orjson.loads(whole[1])
        return record if isinstance(record, dict) else None

    def _file(self, segment: int) -> int:
        file = self._files.pop(segment, None)
        if file is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            file = os.open(self.folder / f"{segment:016x}.jsonl", os.O_RDONLY | os.O_CLOEXEC)
        self._files[segment] = file
        return file


def _indexed(folder: Path) -> Index:
    index = Index(folder)
    try:
        _catch_up(index, folder)
    except Broken:
        index.close()
        raise
    return index


def _catch_up(index: Index, folder: Path) -> None:
    """Index what was appended since it was last looked at; a segment that shrank or vanished is taken anew."""
    found, known = segments(folder), index.scanned()
    sizes = {number: path.stat().st_size for number, path in found.items()}
    for number in known:
        if sizes.get(number, -1) < known[number]:
            index.forget(number)
    known = index.scanned()
    for number, path in found.items():
        start = known.get(number, 0)
        if sizes[number] > start:
            _scan_into(index, number, path, start)


def _scan_into(index: Index, number: int, path: Path, start: int) -> None:
    keys: list[tuple[bytes, Place]] = []
    damaged: list[Place] = []
    end = start
    for line in scan(path, start):
        place = Place(number, line.offset, line.length)
        end = line.offset + line.length
        if line.key is None:
            damaged.append(place)
        else:
            keys.append((line.key, place))
        if len(keys) >= _BATCH:
            index.add(number, keys, damaged, (start, end))
            keys, damaged, start = [], [], end
    index.add(number, keys, damaged, (start, end))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from reading in the same segments at the same time."""
    file = os.open(folder / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
