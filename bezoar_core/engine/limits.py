"""When a request may leave: how many are under way, how many a minute, how many tokens a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from bezoar_core.engine.pace import Bucket, Meter, Pace

START = 32
_MINUTE = 60.0
_LOOK = 0.25


class Pass(NamedTuple):
    """Leave to send one request: when it was given, and the tokens reserved for it."""

    at: float
    tokens: int


class Limits:
    """The limits of one model; bound to the event loop that uses it.

    Starts at 32 requests under way and doubles with every round trip until `concurrency`, or until the server first
    turns one away: from then on it follows the rate that the server answers. Requests leave in the order they came,
    those that are tried again first.
    """

    def __init__(
        self, concurrency: int, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self.in_flight = 0
        self._most = concurrency
        self._window = min(START, concurrency)
        self._requests = Bucket(requests_per_minute / _MINUTE, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute / _MINUTE, now) if tokens_per_minute else None
        self._answered = Meter()
        self._pace: Pace | None = None
        self._closed_until = 0.0
        self._waiting: deque[tuple[asyncio.Future[Pass], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counts_tokens(self) -> bool:
        """Say whether `enter` needs to know how many tokens a request may use."""
        return self._tokens is not None

    async def enter(self, tokens: int = 0, *, again: bool = False) -> Pass:
        """Wait for leave to send a request of about `tokens` tokens."""
        if not self._waiting:
            now = self._loop.time()
            if self._wait(now) == 0:
                return self._admit(now, tokens)
        turn: asyncio.Future[Pass] = self._loop.create_future()
        if again:
            self._waiting.appendleft((turn, tokens))
        else:
            self._waiting.append((turn, tokens))
        self._wake()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.abandoned(turn.result())
            raise

    def answered(self, leave: Pass, tokens: int | None) -> None:
        """Count a request that the server let through; `tokens` is what it really used, None what was reserved."""
        now = self._loop.time()
        self._answered.add(now)
        if self._pace is not None:
            self._pace.answered(leave.at, now)
        elif self._window < self._most and self.in_flight >= self._window:
            self._window += 1  # one more for each reply of a full window: twice as many a round trip
        if self._tokens is not None and tokens is not None:
            self._tokens.take(tokens - leave.tokens)
        self._leave()

    def rejected(self, leave: Pass, retry_after: float | None) -> None:
        """Count a request the server turned away because there were too many."""
        now = self._loop.time()
        answered = self._answered.rate(now)
        # while others are let through, only the rejected one waits as long as the server says
        closed = self._pace is None or self._pace.shut
        if self._pace is None:
            # half of what was under way went through a round trip before, as far as is known
            self._pace = Pace(max(answered, self._window / 2 / max(0.01, now - leave.at)), now)
            self._window = self._most
        else:
            self._pace.rejected(leave.at, now)
        if retry_after and closed:
            until = max(self._closed_until, now + retry_after)
            self._pace.pause(until - max(self._closed_until, now))
            self._closed_until = until
        self.abandoned(leave)

    def abandoned(self, leave: Pass) -> None:
        """Count a request that ended without a reply."""
        if self._tokens is not None:
            self._tokens.take(-leave.tokens)
        self._leave()

    def _leave(self) -> None:
        self.in_flight -= 1
        if self._waiting:
            self._wake()

    def _admit(self, now: float, tokens: int) -> Pass:
        self.in_flight += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        if self._pace is not None:
            self._pace.take(now)
        return Pass(now, tokens)

    def _wait(self, now: float) -> float:
        """Return the seconds until a request may leave; infinity where one has to come back first."""
        if self.in_flight >= self._window:
            return float("inf")
        wait = max(0.0, self._closed_until - now)
        for limit in (self._requests, self._tokens, self._pace):
            if limit is not None:
                wait = max(wait, limit.wait(now))
        return wait

    def _wake(self) -> None:
        now = self._loop.time()
        while self._waiting:
            turn, tokens = self._waiting[0]
            if turn.done():  # its asker was cancelled
                self._waiting.popleft()
                continue
            wait = self._wait(now)
            if wait > 0:
                self._wake_in(wait)
                return
            self._waiting.popleft()
            turn.set_result(self._admit(now, tokens))

    def _wake_in(self, wait: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # looked at again soon, since the pace may rise meanwhile
        self._timer = self._loop.call_later(min(wait, _LOOK), self._wake) if wait != float("inf") else None
