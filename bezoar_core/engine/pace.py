"""How fast a server lets us go: buckets for a rate that is known, and a search for one that is not."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_BURST = 0.05
_BIN = 0.1


class Bucket:
    """Lets `rate` units a second through. A request may take more than there is; the next then waits for the debt."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = 1.0
        self._then = now

    def wait(self, now: float) -> float:
        """Return the seconds until something may pass."""
        self._fill(now)
        return 0.0 if self._level > 0 else (1e-6 - self._level) / self.rate

    def take(self, units: float) -> None:
        """Count `units` as passed; a negative number gives back what was taken too much."""
        self._level -= units

    def _fill(self, now: float) -> None:
        room = max(1.0, self.rate * _BURST)
        self._level = min(room, self._level + (now - self._then) * self.rate)
        self._then = now


class Meter:
    """Counts how many requests were answered within the last second."""

    def __init__(self) -> None:
        self._bins: deque[list[int]] = deque()

    def add(self, now: float) -> None:
        """Count one."""
        number = int(now / _BIN)
        if self._bins and self._bins[-1][0] == number:
            self._bins[-1][1] += 1
        else:
            self._bins.append([number, 1])
            self._drop(number)

    def rate(self, now: float) -> float:
        """Return answers a second."""
        self._drop(int(now / _BIN))
        return float(sum(count for _, count in self._bins))

    def _drop(self, number: int) -> None:
        while self._bins and self._bins[0][0] <= number - 1 / _BIN:
            self._bins.popleft()


@dataclass
class _Count:
    """Requests answered and turned away."""

    answered: int = 0
    rejected: int = 0

    @property
    def all(self) -> int:
        return self.answered + self.rejected

    @property
    def share(self) -> float:
        return self.rejected / max(1, self.all)


class Pace:
    """Follows the unknown rate a server allows.

    After a rejection it goes a little below what was let through, then slowly up again as a cubic of the time (Ha, Rhee
    and Xu, "CUBIC", 2008, for TCP windows); once well above the last limit without a rejection, the limit must have
    been raised, and it doubles every half second. Below 50 requests a second all this takes as many requests instead.

    Rejections that go on after two such cuts have nothing to do with pace: it goes back to where it was and takes them
    as they come for a while.
    """

    _UNDER = 0.97
    _CREEP = 0.005
    _SURE = 2.0
    _DOUBLE = 0.5
    _LEAST = 1 / 60
    _EARLY = 40
    _SOON = 0.8
    _TOLERANT = 10.0
    _IN_VAIN = 4

    def __init__(self, answered: float, now: float) -> None:
        self._tolerated, self._tolerant_until = 0.0, now
        self._in_vain, self._sound = 0, 0.0
        self._from = self._since = self._epoch = now
        self._unit = 1.0
        self._go(answered * self._UNDER, now)
        self._bucket = Bucket(self._from, now)

    def answered(self, sent: float) -> None:
        """Count a reply."""
        self._add(sent, 1, 0)

    def rejected(self, answered: float, sent: float, now: float) -> None:
        """Count a rejection; `answered` is how many requests were answered within the last second."""
        if sent < self._epoch:
            return
        self._add(sent, 0, 1)
        flooded = self.flooded
        tolerated = now < self._tolerant_until and self._count.share <= self._tolerated
        if self._count.all < 20 or (now - self._epoch < self._unit and not flooded):
            if not tolerated:  # too early to judge, but no time to go faster
                self._from, self._since = self.rate(now), now
        elif tolerated:
            self._go(self.rate(now), now, sure=True)
        else:
            self._judge(answered, flooded, now)

    @property
    def flooded(self) -> bool:
        """Say whether most requests are turned away."""
        return self._count.all >= 20 and self._count.share > 0.5

    def rate(self, now: float) -> float:
        """Return requests a second."""
        clean = (now - self._since) / self._unit
        creeping = min(clean, self._SURE)
        creep = 1.0 + self._CREEP * creeping * creeping * creeping
        doublings = min(30.0, max(0.0, (clean - self._SURE) / self._DOUBLE))
        return self._from * creep * math.exp2(doublings)

    def wait(self, now: float) -> float:
        """Return the seconds until a request may leave."""
        self._bucket.rate = self.rate(now)
        return self._bucket.wait(now)

    def take(self) -> None:
        """Count a request that leaves."""
        self._bucket.take(1)

    def hold(self, seconds: float) -> None:
        """Do not take a silence of `seconds` for room to go faster."""
        self._since += seconds

    def _add(self, sent: float, answered: int, rejected: int) -> None:
        """Count an outcome; those of requests `sent` before the last change say nothing about it."""
        if sent >= self._epoch:
            if self._count.all < self._EARLY or sent < self._epoch + self._SOON * self._unit:
                self._early += rejected
            self._count.answered += answered
            self._count.rejected += rejected

    def _judge(self, answered: float, flooded: bool, now: float) -> None:
        rate, share = self.rate(now), self._count.share
        if self._in_vain == 0:
            self._sound = rate
        self._in_vain = self._in_vain + 1 if self._early and not flooded else 0
        if self._in_vain >= self._IN_VAIN:
            self._in_vain, self._tolerated, self._tolerant_until = 0, 1.5 * share + 0.02, now + self._TOLERANT
            self._go(self._sound, now, sure=True)
        elif self._in_vain > 1:
            self._go(self._from, now, self._unit)
        else:
            through = min(rate * max(0.25, 1 - share), answered) if answered >= 1 else rate / 2
            self._go(through * self._UNDER, now, 1.0 if flooded else min(20.0, max(1.0, 50 / through)))

    def _go(self, rate: float, now: float, unit: float = 1.0, *, sure: bool = False) -> None:
        """Start from `rate` and count anew; `unit` is how many seconds a second of the growth takes."""
        self._from, self._unit, self._epoch = max(self._LEAST, rate), unit, now
        self._since = now - self._SURE * unit if sure else now
        self._count, self._early = _Count(), 0
