"""What Bezoar tells a user who can do something about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class BezoarError(Exception):
    """A failure the user can act on: what is wrong, where, and what to do next.

    `status` is the exit status of the command: 2 for misuse, 1 for a run that failed.
    """

    status = 1

    def __init__(self, message: str, *, where: str = "", tip: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.tip = tip

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        tip = f"\n  tip: {self.tip}" if self.tip else ""
        return f"{place}{self.message}{tip}"


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong with the registry, at `file:line:column`."""

    where: str
    message: str
    tip: str = ""

    def __str__(self) -> str:
        tip = f" ({self.tip})" if self.tip else ""
        return f"{self.where}: {self.message}{tip}"


class ConfigError(BezoarError):
    """Every fault of a registry at once."""

    status = 2

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(f"{len(self.faults)} {noun} in the registry\n" + "\n".join(str(f) for f in self.faults))


class UsageError(BezoarError):
    """A command line that asks for something that does not exist."""

    status = 2


class DataError(BezoarError):
    """Input rows that cannot be read: the place is `file:row`."""


class BudgetSpent(BezoarError):
    """The budget is spent; what was paid for is in the ledger and a larger budget goes on from there."""


class StepFailed(BezoarError):
    """A step ended without its artifact."""


class RequestFailed(BezoarError):
    """A model gave no reply: `kind` names the cause (`rate_limit`, `server`, `context`, `refused`, ...)."""

    def __init__(self, message: str, *, kind: str, where: str = "", tip: str = "") -> None:
        super().__init__(message, where=where, tip=tip)
        self.kind = kind


class Transient(Exception):
    """A client's failure that may heal: the engine tries again. `retry_after` is in seconds, from the server."""

    def __init__(self, message: str, *, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


def nearest(name: str, names: Sequence[str]) -> str:
    """Return "did you mean `x`?" for the nearest of `names`, or the list of them where nothing is near."""
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(f"`{n}`" for n in sorted(names)) if names else ""
