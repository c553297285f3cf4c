"""One process's writing: lines go to the kernel at once, to the disk and into the index a group at a time."""

from __future__ import annotations

import threading
from pathlib import Path

from bezoar_core.errors import BezoarError
from bezoar_core.ledger.index import Broken, Index
from bezoar_core.ledger.segment import Place, Segment

SYNC_SECONDS = 0.1


class Writer:
    """A segment, and the thread that brings its lines to the disk and then into the index, a group at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segment = Segment(folder)
        self._lock = threading.Lock()
        self._new: dict[bytes, Place] = {}
        self._going: dict[bytes, Place] = {}
        self._indexed = 0
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def append(self, key: bytes, line: bytes) -> None:
        """Write a line; raises what kept earlier ones from the disk."""
        self._check()
        with self._lock:
            self._new[key] = self._segment.append(line)
        if not self._dirty.is_set():
            self._dirty.set()

    def unindexed(self, key: bytes) -> Place | None:
        """Return where `key` is, if the index does not have it yet."""
        # `_going` is set before `_new` is emptied, and emptied after the index has its keys: one of the three has it
        return self._new.get(key) or self._going.get(key)

    def close(self) -> None:
        """Wait until all is on the disk and in the index."""
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        self._segment.close()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise BezoarError(
                f"the ledger could not be brought to the disk: {self._failure.strerror}",
                where=str(self._segment.path),
                tip="look after the disk, then run again",
            ) from self._failure

    def _work(self) -> None:
        index: Index | None = None
        try:
            while not self._closing.is_set():
                self._dirty.wait()
                self._closing.wait(SYNC_SECONDS)
                self._dirty.clear()
                index = self._flush(index)
            index = self._flush(index)
        except OSError as error:
            self._failure = error
        finally:
            if index is not None:
                index.close()

    def _flush(self, index: Index | None) -> Index | None:
        with self._lock:
            self._going.update(self._new)
            self._new = {}
            end = self._segment.size
        self._segment.sync()
        try:
            index = index or Index(self._folder)
            index.add(self._segment.number, self._going.items(), (self._indexed, end))
        except Broken:  # they stay findable here until a later round, or the next opening, succeeds
            if index is not None:
                index.close()
            self._dirty.set()
            return None
        self._going, self._indexed = {}, end
        return index
