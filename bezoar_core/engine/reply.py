"""A reply as the ledger keeps it, and back: what is replayed equals what was received."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from bezoar_core.records import Completion, FinishReason, Usage
from bezoar_core.types import Json


def to_record(
    reply: Completion, *, target: str, usd: float | None, estimated: bool, at: float, seconds: float
) -> dict[str, Json]:
    """Return a ledger's record: the reply with its cost, when it came (seconds since 1970) and how long it took."""
    record: dict[str, Json] = {
        "target": target,
        "model": reply.model or target,
        "served": reply.model,
        "text": reply.text,
        "finish": reply.finish,
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "usd": usd,
        "at": round(at, 3),
        "seconds": round(seconds, 4),
        "raw": reply.raw,
    }
    if reply.scores:  # JSON has no infinity: an impossible choice is null
        record["scores"] = [score if math.isfinite(score) else None for score in reply.scores]
    if estimated:
        record["usd_estimated"] = True
    return record


def from_record(record: Mapping[str, Json]) -> Completion:
    """Return the reply that `to_record` kept."""
    scores = cast("list[float | None]", record.get("scores") or [])
    return Completion(
        text=cast(str, record["text"]),
        finish=cast(FinishReason, record["finish"]),
        usage=Usage(
            input_tokens=cast("int | None", record["input_tokens"]),
            output_tokens=cast("int | None", record["output_tokens"]),
        ),
        model=cast(str, record["served"]),
        scores=tuple(-math.inf if score is None else score for score in scores),
        raw=record["raw"],
    )
