"""The hard stop: what all steps of a project may spend together."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bezoar_core.engine.target import Target
from bezoar_core.errors import BudgetSpent
from bezoar_core.records import Request

_WIDTH = 24


@dataclass(frozen=True)
class Budget:
    """At most `usd` dollars (None: no limit) over all runs of a project.

    `path` is a small file that holds what has been spent and outlives a run; `reserved` one that holds what requests
    under way may cost yet, and belongs to a run. The processes of a run share both.
    """

    path: Path
    reserved: Path
    usd: float | None = None

    @property
    def spent(self) -> float:
        """Return what has been spent so far, by every process and run."""
        return _read(self._spent)

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False where it no longer fits beside what is spent and set aside."""
        with self._locked():
            held = _read(self._held)
            if self.usd is not None and self.spent + held + usd > self.usd:
                return False
            _write(self._held, held + usd)
        return True

    def release(self, usd: float) -> None:
        """Give back what was set aside."""
        with self._locked():
            _write(self._held, max(0.0, _read(self._held) - usd))

    def pay(self, usd: float) -> None:
        """Count `usd` as spent."""
        with self._locked():
            _write(self._spent, self.spent + usd)

    def exceeded(self, usd: float) -> BudgetSpent:
        """Return the error of a request that may cost `usd` and no longer fits."""
        return BudgetSpent(
            f"the budget of ${self.usd or 0:,.2f} is spent: ${self.spent:,.2f} so far, and the next request may cost "
            f"${usd:,.4f}",
            tip="run again with a larger `--budget`: every reply received so far is kept and not paid again",
        )

    def close(self) -> None:
        """Give the files back."""
        for name in ("_spent", "_held"):
            if name in self.__dict__:
                os.close(self.__dict__.pop(name))

    @cached_property
    def _spent(self) -> int:
        return _opened(self.path)

    @cached_property
    def _held(self) -> int:
        return _opened(self.reserved)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._spent, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._spent, fcntl.LOCK_UN)


class Purse:
    """A budget as one engine uses it: what no longer fits waits for others to come back before it is refused."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._under_way = 0
        self._back = asyncio.Event()

    async def reserve(self, target: Target, request: Request) -> float:
        """Set aside what a request may cost at most and return it; raise `BudgetSpent` where that is too much."""
        if self._budget is None or self._budget.usd is None or target.price is None:
            return 0.0
        most = request.sampling.max_tokens
        usd = target.price.usd(target.tokens(request) - most, most)
        while usd and not self._budget.reserve(usd):
            if not self._under_way:
                raise self._budget.exceeded(usd)
            self._back.clear()
            await self._back.wait()
        self._under_way += usd > 0
        return usd

    def release(self, usd: float) -> None:
        """Give back what was set aside for a request that has come back."""
        if usd and self._budget is not None:
            self._budget.release(usd)
            self._under_way -= 1
            self._back.set()

    def pay(self, usd: float) -> None:
        """Count what a reply cost."""
        if usd and self._budget is not None:
            self._budget.pay(usd)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _read(file: int) -> float:
    return float(os.pread(file, _WIDTH, 0) or 0)


def _write(file: int, usd: float) -> None:
    # a fixed width, so that a reader between two writes never sees the end of an older number
    os.pwrite(file, f"{usd:0{_WIDTH}.12f}".encode(), 0)
