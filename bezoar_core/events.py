"""A run's events: one JSON line each, appended by the run and by its steps, read by whoever watches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from bezoar_core.types import Json


@dataclass(frozen=True)
class Events:
    """The file `events.jsonl` of a run; a line is one write, so that several processes may append."""

    path: Path

    def add(self, event: str, node: str = "", **figures: Json) -> None:
        """Append one event with the time (seconds since 1970)."""
        line = orjson.dumps({"time": round(time.time(), 3), "event": event, "node": node, **figures}) + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class Tail:
    """Reads the events that came since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Mapping[str, Json]]:
        """Yield each whole event not seen yet; a damaged line is passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event
