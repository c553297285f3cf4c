"""Many coroutines at once, results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from math import ceil, sqrt
from typing import TYPE_CHECKING, TypeVar

from bezoar_core.errors import RequestFailed

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 1024
START = 64
FEW, SMALL = 8, 100
"""So many tasks may be under way however little is wanted, as long as not so many are done."""
LEAST = 0.01
"""Results that a task brings at least, as far as plans go."""


async def in_order(
    work: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    want: Callable[[], int] | None = None,
    *,
    failed: Callable[[T, RequestFailed], R] | None = None,
    ahead: int = AHEAD,
) -> AsyncIterator[R]:
    """Yield `work(item)` for each item, in item order, with at most `ahead` begun and not yet yielded.

    `want()` says how many results are still useful: no more are begun than, by what came of the earlier ones, will
    be needed, and at 0 the rest is cancelled. `failed` turns a `RequestFailed` into a result; without it, it is raised.
    """
    import asyncio  # 25 ms that `bezoar --help` has no use for

    source = iter(items)
    begun: deque[tuple[T, asyncio.Future[R]]] = deque()
    needed = _Needed(want, ahead)
    try:
        while True:
            for item in islice(source, max(0, needed.now() - len(begun))):
                begun.append((item, asyncio.ensure_future(work(item))))
            if not begun or needed.none():
                return
            item, task = begun.popleft()
            try:
                result = await task
            except RequestFailed as error:
                if failed is None:
                    raise
                result = failed(item, error)
            needed.count()
            yield result
    finally:
        tasks = [task for _, task in begun]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Needed:
    """How many tasks are worth having under way, from how much the finished ones brought.

    A task begun in vain is paid for, and one begun late costs a moment. So what is under way is taken to bring a
    standard deviation more than it will on the whole, and a task a standard error more than the finished ones did.
    """

    def __init__(self, want: Callable[[], int] | None, ahead: int) -> None:
        self._want = want
        self._ahead = ahead
        self._first = want() if want else 0
        self._left = self._first
        self._done = 0
        self._squares = 0.0

    def count(self) -> None:
        """Count a finished task."""
        self._done += 1

    def none(self) -> bool:
        """Say whether nothing more is useful."""
        return self._want is not None and self._want() <= 0

    def now(self) -> int:
        """Return how many tasks should be under way or waiting to be yielded."""
        if self._want is None:
            return self._ahead
        left = self._want()
        self._squares += (self._left - left) ** 2
        self._left = left
        known = self._done + 1  # and a task that brought one, give or take one, as long as nothing is known
        brought = (self._first - left + 1) / known
        spread = sqrt(max((self._squares + 2) / known - brought**2, 0.0))
        sure = left - spread * sqrt(max(left, 0) / max(brought, LEAST))
        tasks = ceil(max(sure, min(left, 1)) / max(brought + spread / sqrt(known), LEAST))
        if self._done < SMALL:  # a small run would otherwise go a few tasks at a time
            tasks = max(tasks, min(left, FEW))
        started = max(START, 2 * self._done)  # few at first: a task may bring twenty
        return max(0, min(self._ahead, started, tasks))
