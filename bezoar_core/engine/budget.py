"""The hard stop: what all steps of a run may spend together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bezoar_core.errors import BudgetSpent

_WIDTH = 24


@dataclass(frozen=True)
class Budget:
    """At most `usd` dollars (None: no limit), counted in a small file that the processes of a run share."""

    path: Path
    usd: float | None = None

    @property
    def spent(self) -> float:
        """Return what has been spent so far, by every process."""
        return float(os.pread(self._file, _WIDTH, 0) or 0)

    def check(self) -> None:
        """Raise `BudgetSpent` once nothing is left."""
        if self.usd is not None and self.spent >= self.usd:
            raise BudgetSpent(
                f"the budget of ${self.usd:,.2f} is spent (${self.spent:,.2f})",
                tip="run again with a larger `--budget`: every reply received so far is kept and not paid again",
            )

    def add(self, usd: float) -> None:
        """Count `usd` as spent."""
        with self._locked():
            # a fixed width, so that a reader between two writes never sees the end of an older number
            os.pwrite(self._file, f"{self.spent + usd:0{_WIDTH}.12f}".encode(), 0)

    def close(self) -> None:
        """Give the file back."""
        if "_file" in self.__dict__:
            os.close(self.__dict__.pop("_file"))

    @cached_property
    def _file(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
