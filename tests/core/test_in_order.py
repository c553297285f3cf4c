from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from core.engine.virtual_time import run

from bezoar_core.errors import RequestFailed
from bezoar_core.in_order import AHEAD, START, in_order


class Work:
    """Takes as long as `seconds` says for each item, and keeps count."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = seconds or (1.0,)
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.most = 0

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        self.most = max(self.most, len(self.begun) - len(self.ended) - len(self.cancelled))
        try:
            await asyncio.sleep(self.seconds[item % len(self.seconds)])
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        self.ended.append(item)
        return item


def test_results_come_in_the_order_of_the_items_whoever_ends_first() -> None:
    work = Work(5, 1, 3, 2, 4)

    async def main() -> list[int]:
        return [result async for result in in_order(work, range(500))]

    assert run(main()) == list(range(500))
    assert work.ended != sorted(work.ended)


def test_a_slow_item_does_not_hold_up_the_ones_behind_it() -> None:
    work = Work(*[100.0] + [1.0] * 499)

    async def main() -> float:
        async for _ in in_order(work, range(500)):
            pass
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(100)


def test_no_more_than_ahead_are_begun_and_not_yielded() -> None:
    work = Work()

    async def main() -> None:
        count = 0
        async for _ in in_order(work, range(100), ahead=7):
            assert len(work.begun) - count <= 7
            count += 1

    run(main())
    assert work.most == 7


def test_items_are_read_only_as_they_are_needed() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(10**9):
            read += 1
            yield number

    async def main() -> None:
        async for result in in_order(Work(), items()):
            if result == 10:
                break

    run(main())
    assert read <= AHEAD + 11


def test_it_stops_when_nothing_more_is_wanted_and_cancels_the_rest() -> None:
    work = Work(1.0, 1.1, 1.2)
    left = 10

    def want() -> int:
        return left

    async def main() -> list[int]:
        nonlocal left
        results = []
        async for result in in_order(work, range(1000), want):
            left -= result % 2
            results.append(result)
        return results

    assert run(main()) == list(range(20))
    assert len(work.begun) == len(work.ended) + len(work.cancelled)


def test_nothing_is_begun_where_nothing_is_wanted() -> None:
    work = Work()

    async def main() -> list[int]:
        return [result async for result in in_order(work, range(10), lambda: 0)]

    assert run(main()) == []
    assert work.begun == []


@pytest.mark.parametrize("brings", [0.3, 1, 5, 20])
def test_little_is_begun_in_vain(brings: float) -> None:
    """Whether a task brings a third of a row or twenty, hardly more are begun than the wanted number takes."""
    draw = random.Random(3)
    work = Work(1.0)
    left, used = 3000.0, 0

    def want() -> int:
        return max(0, round(left))

    async def main() -> None:
        nonlocal left, used
        async for _ in in_order(work, range(10**6), want):
            left -= brings if brings >= 1 else draw.random() < brings
            used += 1

    run(main())
    assert len(work.begun) <= max(100, used) * 1.1 + START


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [100, 505, 1505, 5000])
@pytest.mark.parametrize("brings", ["0.3", "1", "15 to 25", "0 to 40"])
def test_with_256_under_way_a_tenth_more_than_needed_is_begun_at_most(brings: str, count: int, seed: int) -> None:
    """A task takes now a second and now ten, and brings now more and now fewer rows."""
    draw = random.Random(seed)
    work = Work(*(draw.uniform(1, 10) for _ in range(997)))
    made, used = 0, 0

    def want() -> int:
        return max(0, count - made)

    async def main() -> None:
        nonlocal made, used
        async for _ in in_order(work, range(10**6), want, ahead=256):
            least, _, most = brings.partition(" to ")
            made += draw.randint(int(least), int(most)) if most else draw.random() < float(brings)
            used += 1

    run(main())
    assert made >= count
    assert len(work.begun) <= 100 + 1.1 * max(0, used - 100)


def test_few_are_begun_before_it_is_known_what_they_bring() -> None:
    work = Work()

    async def main() -> None:
        async for _ in in_order(work, range(10**6), lambda: 100_000):
            break

    run(main())
    assert len(work.begun) == START


def test_a_failed_request_becomes_a_result_where_the_caller_says_which() -> None:
    async def work(item: int) -> str:
        if item == 2:
            raise RequestFailed("no", kind="server")
        return str(item)

    async def main() -> list[str]:
        return [r async for r in in_order(work, range(4), failed=lambda item, error: f"{item} failed: {error.kind}")]

    assert run(main()) == ["0", "1", "2 failed: server", "3"]


def test_other_errors_are_raised_in_their_place_and_the_rest_is_cancelled() -> None:
    slow = Work(50.0)

    async def work(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError
        return item if item < 3 else await slow(item)

    async def main() -> list[int]:
        results: list[int] = []
        with pytest.raises(ZeroDivisionError):
            async for result in in_order(work, range(10), failed=lambda item, error: -1):
                results.append(result)
        return results

    assert run(main()) == [0, 1, 2]
    assert slow.cancelled == slow.begun == [4, 5, 6, 7, 8, 9]


def test_a_request_that_failed_is_raised_without_failed() -> None:
    async def work(item: int) -> int:
        raise RequestFailed("no", kind="server")

    async def main() -> None:
        async for _ in in_order(work, range(3)):
            pass

    with pytest.raises(RequestFailed):
        run(main())


def test_cancelling_the_reader_cancels_the_work() -> None:
    work = Work(100.0)

    async def main() -> None:
        async def read() -> None:
            async for _ in in_order(work, range(20)):
                pass

        reader = asyncio.create_task(read())
        await asyncio.sleep(1)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

    run(main())
    assert sorted(work.cancelled) == list(range(20))
