"""What is wrong with a line that is not what was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import orjson

from bezoar_core.ledger.segment import encode, has_writer, reading, scan

Kind: TypeAlias = Literal["torn", "flipped", "zeros", "other form", "foreign"]
_KEY = slice(25, 89)  # of a line
_PATTERN = encode(bytes(32), b"{}")[:101]
_FIXED = [at for at in range(len(_PATTERN)) if not 8 <= at < 16 and not _KEY.start <= at < _KEY.stop]
_TYPO = 8
"""One byte in so many may differ from what begins a line, for it to have been one."""


class Reply(NamedTuple):
    """A line as it was written: `record` is JSON."""

    offset: int
    length: int
    key: bytes
    record: bytes


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes of a segment that hold no reply. `key` is whose it was, where that can still be read."""

    path: Path
    offset: int
    length: int
    kind: Kind
    key: bytes | None


def examine(path: Path) -> Iterator[Reply | Damage]:
    """Yield every reply of a segment, and all that is between them; what a living process is writing is neither."""
    writing = has_writer(path)  # asked first: a line torn for one that ended now would not heal
    with reading(path) as file:
        for line in scan(path, torn=not writing):
            if line.key is not None and line.record is not None:
                yield Reply(line.offset, line.length, line.key, line.record)
                continue
            content = os.pread(file.fileno(), line.length, line.offset)
            yield Damage(path=path, offset=line.offset, length=line.length, kind=_kind(content), key=_key(content))


def _kind(content: bytes) -> Kind:
    if not content.strip(b"\0\n"):
        return "zeros"
    if _was_ours(content):
        return "flipped" if content.endswith(b"\n") or content[-3:-1] == b"}}" else "torn"
    with suppress(orjson.JSONDecodeError):
        if content.endswith(b"\n") and isinstance(orjson.loads(content), dict):
            return "other form"
    return "foreign"


def _key(content: bytes) -> bytes | None:
    with suppress(ValueError):
        if _was_ours(content) and len(content) >= _KEY.stop:
            return bytes.fromhex(content[_KEY].decode())
    return None


def _was_ours(content: bytes) -> bool:
    places = [at for at in _FIXED if at < len(content)]
    return sum(content[at] != _PATTERN[at] for at in places) <= len(places) // _TYPO
