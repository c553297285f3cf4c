"""Where each key lies in the segments: a cache in SQLite that can be thrown away and made again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bezoar_core.ledger.segment import Place

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS places (
    key BLOB PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY, scanned INTEGER NOT NULL);
"""
# a request paid twice by two processes: the reply received first stays the one that is replayed
_FIRST = """
ON CONFLICT (key) DO UPDATE SET segment = excluded.segment, offset = excluded.offset, length = excluded.length
WHERE (excluded.segment, excluded.offset) < (segment, offset)
"""
_ADD = f"INSERT INTO places VALUES (?, ?, ?, ?) {_FIRST}"

# a part that does not join what is indexed already leaves a gap, which the next opening has to read
_SCANNED = """
INSERT INTO segments VALUES (:number, CASE WHEN :start = 0 THEN :end ELSE 0 END) ON CONFLICT (number) DO UPDATE
SET scanned = max(scanned, :end) WHERE scanned >= :start
"""
_FOUND = "CREATE TEMP TABLE found (key BLOB, segment INTEGER, offset INTEGER, length INTEGER)"
# in the order of the tree each of its pages is written once, however many lines there are
_MERGE = f"INSERT INTO places SELECT * FROM found WHERE key IS NOT NULL ORDER BY key, segment, offset {_FIRST}"
_MERGED = """
INSERT INTO segments SELECT segment, max(offset + length) FROM found WHERE true GROUP BY segment
ON CONFLICT (number) DO UPDATE SET scanned = max(scanned, excluded.scanned)
"""


class Broken(Exception):
    """The index cannot be used: make it again from the segments."""


class Busy(Broken):
    """The index is sound, but another process keeps it locked."""


class Replaced(Broken):
    """Another process made the index again: open it anew."""


class Index:
    """The index of one ledger; several processes may hold it open. Raises `Broken` where the file is damaged."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "index.sqlite"
        with _noticing():
            self._db = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            with _noticing():
                self._prepare()
            self._inode = self._path.stat().st_ino
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise Broken(f"version {version}")

    def find(self, key: bytes) -> Place | None:
        """Return where the line of `key` is."""
        try:  # not through `_rows`: a replay does this for every request
            row = self._db.execute("SELECT segment, offset, length FROM places WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _broken(error) from error
        if row is not None:
            return Place._make(row)
        self._check_inode()
        return None

    def add(self, segment: int, keys: Iterable[tuple[bytes, Place]], part: tuple[int, int]) -> None:
        """Take in what was found in the `part` (from, to) of `segment`, all of it or nothing."""
        self._check_inode()
        with _noticing(), self._transaction() as db:
            db.executemany(_ADD, ((key, *place) for key, place in keys))
            db.execute(_SCANNED, {"number": segment, "start": part[0], "end": part[1]})

    def take_in(self, lines: Iterable[tuple[bytes | None, Place]]) -> None:
        """Take in any number of lines (without a key: damaged), of each segment from where it is indexed so far."""
        with _noticing():
            with self._transaction("BEGIN") as db:  # a table of our own: it keeps nobody waiting
                db.execute(_FOUND)
                db.executemany("INSERT INTO found VALUES (?, ?, ?, ?)", ((key, *place) for key, place in lines))
            with self._transaction() as db:
                db.execute(_MERGE)
                db.execute(_MERGED)
            self._db.execute("DROP TABLE found")

    def scanned(self) -> dict[int, int]:
        """Return how far each segment is indexed, in bytes."""
        return {row[0]: row[1] for row in self._rows("SELECT number, scanned FROM segments")}

    def __len__(self) -> int:
        """Return the number of keys."""
        return self._rows("SELECT count(*) FROM places")[0][0]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Keep what is read here as it was at the start, whatever others write meanwhile."""
        with _noticing():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _check_inode(self) -> None:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = 0
        if inode != self._inode:
            raise Replaced(str(self._path))

    def _rows(self, query: str) -> list[tuple[int, ...]]:
        with _noticing():
            return self._db.execute(query).fetchall()

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        self._db.execute(begin)
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise


@contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _broken(error) from error


def _broken(error: sqlite3.Error) -> Broken:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended codes of one kind share the low byte
    busy = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return Busy(str(error)) if busy else Broken(str(error))


def remove(folder: Path) -> None:
    """Delete the index of the ledger in `folder`."""
    for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)


def exists(folder: Path) -> bool:
    """Say whether the ledger in `folder` has an index."""
    return (folder / "index.sqlite").exists()
