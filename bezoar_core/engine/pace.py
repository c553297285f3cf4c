"""How fast a server lets us go: buckets for a rate that is known, and a search for one that is not."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

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


Phase: TypeAlias = Literal["measure", "hold", "probe", "raise", "doubt", "tolerate"]


class Pace:
    """Follows the rate a server allows and does not tell, from what it lets through and what it turns away.

    While requests are turned away, what is let through is the limit: it is *measured* so. Then the pace *holds* a
    little below, and *probes* a little above. The server may have saved up what was left unused meanwhile, so only when
    more than that went through has the limit been raised: then it *raises* the pace in growing steps until the next
    rejection. Rejections that go on below the limit are *doubted*: if a third less brings no fewer of them, they have
    nothing to do with pace, and are *tolerated* for a while. Below 50 requests a second all this takes as many requests
    as it otherwise takes seconds.
    """

    _UNDER = 0.985
    _OVER = 0.03
    _HOLD = 1.5
    _MEASURE = 0.3
    _STEP = 0.25
    _STEPS = (1.05, 1.1, 1.2, 1.4, 2.0)
    _MORE = 1.01
    _SAVED = 0.05
    _DOUBT = 0.7
    _IN_VAIN = 3
    _TOLERANT = 10.0
    _LEAST = 1 / 60
    _MOST = 1e6

    def __init__(self, rate: float, now: float) -> None:
        self._limit = self._sound = self._rate = max(self._LEAST, rate)
        self._phase: Phase = "measure"
        self._since = self._epoch = self._counted = now
        self._answered = self._rejected = self._step = self._in_vain = 0
        self._share = self._tolerated = 0.0
        self._beyond = 0.0
        self._bucket = Bucket(self._rate, now)

    def answered(self, sent: float, now: float) -> None:
        """Count a reply to a request `sent` at that time."""
        if sent >= self._epoch:  # what was sent before the last change says nothing about it
            self._answered += 1
            self._judge(now)

    def rejected(self, sent: float, now: float) -> None:
        """Count a rejection."""
        if sent < self._epoch:
            return
        self._rejected += 1
        if self._phase in {"probe", "raise"}:
            self._in_vain = 0
            if self._phase == "probe":
                self._hold(self._limit, now)
            elif self._step <= 1:  # the limit was taken for a little less than it is
                self._hold(self._limit * self._MORE, now)
            else:
                self._go("measure", self._rate, now)
        elif self._phase == "hold":
            self._sound = self._rate if not self._in_vain else self._sound
            self._in_vain += 1
            if self._in_vain < self._IN_VAIN:
                self._go("measure", self._rate, now)
            else:
                self._go("doubt", self._limit * self._DOUBT, now)
        else:
            self._judge(now)

    @property
    def shut(self) -> bool:
        """Say whether nothing at all is let through."""
        return self._rejected >= 10 and not self._answered

    def rate(self, now: float) -> float:
        """Return requests a second."""
        unit, spent = self._unit, now - self._since
        if self._phase == "hold" and spent >= self._HOLD * unit:
            over = max(self._OVER, 3 / self._limit, -self._beyond / self._limit / 4)
            self._go("probe", self._limit * (1 + min(0.5, over)), now)
        elif self._phase == "probe" and self._beyond > max(2.0, 0.01 * self._limit):
            self._step = 0
            self._go("raise", self._rate, now)
        elif self._phase in {"raise", "tolerate"} and spent >= self._STEP * unit:
            self._rate = min(self._MOST, self._rate * self._STEPS[min(self._step, len(self._STEPS) - 1)])
            self._step += 1
            self._since = now
        return self._rate

    def wait(self, now: float) -> float:
        """Return the seconds until a request may leave."""
        self._bucket.rate = self.rate(now)
        return self._bucket.wait(now)

    def take(self, now: float) -> None:
        """Count a request that leaves."""
        self._bucket.take(1)
        saved = max(5.0, self._SAVED * self._limit, -self._beyond)
        self._beyond = max(-saved, self._beyond - self._limit * (now - self._counted)) + 1
        self._counted = now

    def pause(self, seconds: float) -> None:
        """Do not take a silence of `seconds` for room to go faster: the server may save up a second's requests."""
        self._since += seconds
        self._counted += seconds
        self._beyond = max(min(self._beyond, -self._limit), self._beyond - self._limit * seconds)

    @property
    def _unit(self) -> float:
        return min(20.0, max(1.0, 50 / self._limit))

    def _judge(self, now: float) -> None:
        seen = self._answered + self._rejected
        share = self._rejected / seen
        if self._phase == "measure":
            if seen >= 25 and (self._rejected >= 8 or now - self._since >= self._MEASURE * self._unit):
                self._share = share
                self._hold(self._rate * max(1, self._answered) / seen, now)
        elif self._phase == "doubt":
            if seen >= min(200, max(40, 4 / max(0.01, self._share))):
                self._in_vain = 0
                if share > self._share / 2:
                    self._tolerated, self._step = 1.5 * share + 0.02, len(self._STEPS)
                    self._go("tolerate", self._sound, now)
                else:
                    self._hold(self._limit, now)
        elif self._phase == "tolerate":
            if seen >= 20 and share > self._tolerated:
                self._go("measure", self._rate, now)
            elif now - self._epoch > self._TOLERANT:
                self._hold(self._rate, now)

    def _hold(self, limit: float, now: float) -> None:
        self._limit = max(self._LEAST, limit)
        self._beyond, self._counted = 0.0, now  # the server has nothing saved up: it has just turned one away
        self._go("hold", self._limit * self._UNDER, now)

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        """Enter a phase and count anew."""
        self._phase, self._rate = phase, max(self._LEAST, rate)
        self._since = self._epoch = now
        self._answered = self._rejected = 0
