"""Numbered replies, and a ledger filled with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from bezoar_core.ledger import Ledger
from bezoar_core.types import Json


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def record(number: int) -> dict[str, Json]:
    return {"model": "m", "text": f'line {number}\n"quoted" ü', "input_tokens": 3, "output_tokens": number, "usd": 0.5}


def filled(folder: Path, numbers: Iterable[int]) -> Path:
    """Add a segment with these replies, and return its path."""
    before = set(folder.glob("*.jsonl"))
    with Ledger(folder) as ledger:
        for number in numbers:
            ledger.put(key(number), record(number))
    (path,) = set(folder.glob("*.jsonl")) - before
    return path


def found(folder: Path, numbers: Iterable[int]) -> list[int]:
    """Return which of these replies the ledger has; one that is not what was put fails."""
    with Ledger(folder) as ledger:
        got = {number: ledger.get(key(number)) for number in numbers}
    assert all(reply in (None, record(number)) for number, reply in got.items())
    return [number for number, reply in got.items() if reply is not None]
