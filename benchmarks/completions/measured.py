"""What every client of the benchmark does around its own loop: the prompts, the clock, and one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

WARM = 512
"""Prompts before the clock starts: connections are open, and whoever ramps up has done so."""


@dataclass(frozen=True)
class Task:
    """One measurement, from the command line: `URL COUNT IN_FLIGHT FOLDER`."""

    url: str
    count: int
    in_flight: int
    folder: str

    @property
    def warm(self) -> Sequence[str]:
        return [f"Warm-up {n}: {_TEXT}" for n in range(WARM)]

    @property
    def prompts(self) -> Sequence[str]:
        return _Prompts(self.count)


_TEXT = "write three sentences about how a small team tests what it ships, in plain words and without a list."


class _Prompts(Sequence[str]):
    """Prompts that are made when they are asked for, so that memory is the client's own."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, n: int) -> str:  # type: ignore[override]
        if n >= self._count:
            raise IndexError
        return f"Task {n}: {_TEXT}"


def task() -> Task:
    url, count, in_flight, folder = sys.argv[1:]
    return Task(url, int(count), int(in_flight), folder)


class Clock:
    """Seconds by the wall, and of CPU in this process and the children that have ended, from the start to `stop`."""

    def __init__(self) -> None:
        self._cpu = _cpu()
        self._wall = time.perf_counter()

    def stop(self, answered: int) -> None:
        """Print the figures; `answered` replies with text came."""
        wall, cpu = time.perf_counter() - self._wall, _cpu() - self._cpu
        peak = max(used.ru_maxrss for used in _used()) / 1024  # of the largest process
        print(json.dumps({"seconds": wall, "cpu": cpu, "mb": peak, "answered": answered}))


def _cpu() -> float:
    return sum(used.ru_utime + used.ru_stime for used in _used())


def _used() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
