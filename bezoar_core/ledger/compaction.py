"""Fewer and smaller segments with the same replies in them, or without those that a user gives up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.ledger.damage import Damage, Reply, examine
from bezoar_core.ledger.ledger import Ledger, locked
from bezoar_core.ledger.segment import Segment, has_writer, reading, segments, sync_names
from bezoar_core.ledger.stats import Record

SEGMENT_BYTES = 256 * 2**20
"""Neighbours are joined up to this size."""
_CHUNK = 2**20


class Size(NamedTuple):
    """How much is in a ledger."""

    segments: int
    replies: int
    bytes: int


@dataclass
class Removed:
    """What does not stay: `usd` is what the `replies` given up cost, None where that of any is unknown."""

    damaged_bytes: int = 0
    duplicates: int = 0
    replies: int = 0
    usd: float | None = 0.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A segment, and the stretches of it (from, to) that stay."""

    number: int
    path: Path
    size: int
    replies: int
    stays: Sequence[tuple[int, int]]

    @property
    def bytes(self) -> int:
        """Return how many bytes stay."""
        return sum(end - start for start, end in self.stays)

    @property
    def is_whole(self) -> bool:
        """Say whether there is something in it, and all of it stays."""
        return 0 < self.bytes == self.size


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What would become of a ledger: each of the `groups` one segment, or none where nothing of it stays."""

    folder: Path
    before: Size
    after: Size
    removed: Removed
    models: frozenset[str]
    groups: Sequence[Sequence[Part]]


def plan(folder: Path, gives_up: Callable[[Record], bool]) -> Compaction:
    """Say what would stay; of a request that was paid twice the first reply does, which is the one that is replayed.

    A line of another form, as a later version may write it, stays. Keeps all keys in memory, 110 bytes each.
    """
    survey = _Survey(gives_up)
    parts = [survey.part(number, path) for number, path in segments(folder).items()]
    groups = list(_groups(parts))
    before = Size(len(parts), survey.replies, sum(part.size for part in parts))
    after = Size(
        sum(any(part.stays for part in group) for group in groups),
        sum(part.replies for part in parts),
        sum(part.bytes for part in parts),
    )
    return Compaction(
        folder=folder,
        before=before,
        after=after,
        removed=survey.removed,
        models=frozenset(survey.models),
        groups=groups,
    )


def carry_out(planned: Compaction) -> None:
    """Write the new segments and remove the old; whenever it is cut off, each reply that stays is in one of them."""
    groups = [
        group for group in planned.groups if len(group) > 1 or group[0].bytes < group[0].size or not group[0].size
    ]
    for part in chain.from_iterable(groups):
        if has_writer(part.path) or part.path.stat().st_size != part.size:
            raise BezoarError("a process is writing to the ledger", where=str(part.path), tip="run again once it ends")
    for group in groups:
        if any(part.stays for part in group):
            _join(planned.folder, group)
        with locked(planned.folder):
            for part in reversed(group):  # a first reply stays the first
                part.path.unlink()
            sync_names(planned.folder)
    Ledger(planned.folder).close()  # indexed now, the next run need not wait for it


def _join(folder: Path, group: Sequence[Part]) -> None:
    """Copy what stays of a group to a segment that comes right after its first."""
    segment = Segment(folder, after=group[0].number)
    try:
        for part in group:
            with reading(part.path) as file:
                for start, end in part.stays:
                    for at in range(start, end, _CHUNK):
                        segment.append(os.pread(file.fileno(), min(_CHUNK, end - at), at))
        segment.sync()
    except BaseException:
        segment.path.unlink()
        raise
    finally:
        segment.close()


def _groups(parts: Iterable[Part]) -> Iterator[Sequence[Part]]:
    group: list[Part] = []
    for part in parts:
        if group and sum(one.bytes for one in group) + part.bytes > SEGMENT_BYTES:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


@dataclass
class _Survey:
    gives_up: Callable[[Record], bool]
    removed: Removed = field(default_factory=Removed)
    replies: int = 0
    seen: set[bytes] = field(default_factory=set)
    models: set[str] = field(default_factory=set)

    def part(self, number: int, path: Path) -> Part:
        stays: list[tuple[int, int]] = []
        replies = size = 0
        for line in examine(path):
            start, size = line.offset, line.offset + line.length
            if isinstance(line, Damage):
                if line.kind != "other form":
                    self.removed.damaged_bytes += line.length
                    continue
            else:
                self.replies += 1
                if not self._stays(line):
                    continue
                replies += 1
            if stays and stays[-1][1] == start:
                start = stays.pop()[0]
            stays.append((start, size))
        return Part(number=number, path=path, size=size, replies=replies, stays=stays)

    def _stays(self, reply: Reply) -> bool:
        if reply.key in self.seen:
            self.removed.duplicates += 1
            return False
        record: Record = orjson.loads(reply.record)
        self.models.add(str(record.get("model") or ""))
        if not self.gives_up(record):
            self.seen.add(reply.key)
            return True
        usd, removed = record.get("usd"), self.removed
        removed.replies += 1
        removed.usd = removed.usd + usd if isinstance(usd, int | float) and removed.usd is not None else None
        return False
