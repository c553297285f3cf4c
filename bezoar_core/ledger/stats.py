"""What is in a ledger, counted from the segments themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import orjson

from bezoar_core.ledger.segment import scan, segments
from bezoar_core.types import Json

Record: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """Replies of one model; `usd` is None where any of them has no known price."""

    model: str
    replies: int
    input_tokens: int
    output_tokens: int
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class Stats:
    """A ledger in figures. `damaged` counts the lines that are not what was written, torn last lines left out."""

    segments: int
    replies: int
    bytes: int
    models: tuple[ModelStats, ...]
    damaged: int


@dataclass
class _Tally:
    replies: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0


def count(folder: Path) -> Stats:
    """Read every line of every segment and return the sums."""
    tallies: dict[str, _Tally] = {}
    size = damaged = 0
    found = segments(folder)
    for path in found.values():
        for line in scan(path):
            if line.record is None:
                damaged += 1
            else:
                _add(tallies, orjson.loads(line.record))
        size += path.stat().st_size
    models = tuple(ModelStats(model=name, **vars(tally)) for name, tally in sorted(tallies.items()))
    replies = sum(model.replies for model in models)
    return Stats(segments=len(found), replies=replies, bytes=size, models=models, damaged=damaged)


def _add(tallies: dict[str, _Tally], record: Record) -> None:
    tally = tallies.setdefault(str(record.get("model") or ""), _Tally())
    tally.replies += 1
    tally.input_tokens += _whole(record.get("input_tokens"))
    tally.output_tokens += _whole(record.get("output_tokens"))
    usd = record.get("usd")
    tally.usd = tally.usd + usd if isinstance(usd, int | float) and tally.usd is not None else None


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
