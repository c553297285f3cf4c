"""How often a failure that may heal is tried again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bezoar_core.errors import RequestFailed, StepFailed, Transient

TRIES: Mapping[str, int] = {
    "rate_limit": 24,
    "overloaded": 10,
    "server": 8,
    "connection": 8,
    "unreachable": 8,
    "timeout": 4,
    "reply": 6,
}
"""Failures of one `Transient.kind` that end a request: being turned away costs nothing, a lost reply is paid for."""

HOPELESS = frozenset({"auth", "model", "quota"})
"""Kinds of `RequestFailed` that every further request would meet too: the step ends instead of dropping each row."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """The rules: `first` is the delay in seconds before the second attempt, doubled each time up to `most`.

    A server that asks for more than `patience` seconds ends the step, and so does one that cannot be reached `calls`
    times in a row where it was never reached before.
    """

    tries: Mapping[str, int] = field(default_factory=lambda: TRIES)
    first: float = 0.5
    most: float = 30.0
    patience: float = 900.0
    calls: int = 4

    def delay(self, trouble: Transient, earlier: Sequence[str], key: bytes, *, reached: bool = True) -> float:
        """Return the seconds to wait before the next attempt; raise where trying again is over.

        `earlier` are the kinds of the failures before this one. `key` seeds the jitter, so that requests that failed
        together do not come back together. `reached` says whether the server was ever there.
        """
        failures = len(earlier) + 1
        if trouble.kind == "unreachable" and not reached and failures >= self.calls:
            raise StepFailed(
                f"{trouble} ({failures} attempts)", tip="check `base_url`, and that a server runs there"
            ) from trouble
        if earlier.count(trouble.kind) + 1 >= self.tries.get(trouble.kind, 5):
            raise RequestFailed(f"{trouble} ({failures} attempts)", kind=trouble.kind) from trouble
        chance = random.Random(key + bytes([failures])).random()
        if trouble.retry_after is not None:
            if trouble.retry_after > self.patience:
                raise StepFailed(
                    f"{trouble}: the server asks to wait {trouble.retry_after:,.0f} seconds",
                    tip="run again then: every reply received so far is kept",
                ) from trouble
            return trouble.retry_after * (1 + chance / 10)
        return min(self.most, self.first * 2.0 ** (failures - 1)) * (0.5 + chance / 2)
