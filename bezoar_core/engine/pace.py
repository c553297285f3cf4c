"""How fast a server lets us go: buckets for a rate that is known, and a search for one that is not."""

from __future__ import annotations

import math
from collections import deque

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


class Pace:
    """Follows the unknown rate a server allows.

    After a rejection it goes a little below what was let through, then slowly up again as a cubic of the time (Ha, Rhee
    and Xu, "CUBIC", 2008, for TCP windows); once well above the last limit without a rejection, the limit must have been
    raised, and it doubles every half second. Rejections that do not become fewer when it slows down are no matter of
    pace: for a while it takes them as they come.
    """

    _UNDER = 0.97
    _CREEP = 0.005
    _SURE = 2.0
    _DOUBLE = 0.5
    _LEAST = 1 / 60
    _TOLERANT = 10.0

    def __init__(self, answered: float, now: float) -> None:
        self._from = max(self._LEAST, answered * self._UNDER)
        self._since = self._epoch = now
        self._bucket = Bucket(self._from, now)
        self._through = self._turned_away = 0
        self._before: tuple[float, float] | None = None  # the rate before it was last cut, and the share rejected then
        self._tolerated = 0.0
        self._tolerant_until = now

    def answered(self, sent: float) -> None:
        """Count a reply."""
        if sent >= self._epoch:
            self._through += 1

    def rejected(self, answered: float, sent: float, now: float) -> None:
        """Count a rejection; those of requests `sent` before the last cut are of the same overshoot, and no news."""
        if sent < self._epoch:
            return
        self._turned_away += 1
        count = self._through + self._turned_away
        share = self._turned_away / count
        if not ((count >= 30 and now - self._epoch >= 1) or (count >= 10 and share > 0.5)):
            return
        if now < self._tolerant_until and share <= self._tolerated:
            self._start(now)
        elif self._before is not None and self._turned_away >= 3 and self._before[1] / 2 < share < 0.3:
            self._tolerated, self._tolerant_until = 1.5 * share + 0.02, now + self._TOLERANT
            self._from, self._since, self._before = self._before[0], now - self._SURE, None
            self._start(now)
        else:
            rate = self.rate(now)
            self._before = rate, share
            let_through = min(rate * (1 - share), answered) if answered >= 1 else rate * max(0.5, 1 - share)
            self._from, self._since = max(self._LEAST, let_through * self._UNDER), now
            self._start(now)

    def rate(self, now: float) -> float:
        """Return requests a second."""
        clean = now - self._since
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

    def _start(self, now: float) -> None:
        self._epoch, self._through, self._turned_away = now, 0, 0
