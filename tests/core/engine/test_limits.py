from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from core.engine.virtual_time import run

from bezoar_core.engine.limits import START, Limits
from bezoar_core.engine.pace import Bucket, Meter


def now() -> float:
    return asyncio.get_running_loop().time()


def test_it_starts_at_32_and_doubles_every_round_trip_up_to_concurrency() -> None:
    async def main() -> list[int]:
        limits = Limits(200)
        widths: list[int] = []

        async def one() -> None:
            leave = await limits.enter()
            widths.append(limits.in_flight)
            await asyncio.sleep(1)
            limits.answered(leave, None)

        tasks = [asyncio.create_task(one()) for _ in range(1000)]
        rounds = []
        for _ in range(5):
            await asyncio.sleep(0.5)
            rounds.append(limits.in_flight)
            await asyncio.sleep(0.5)
        await asyncio.gather(*tasks)
        return rounds

    assert run(main()) == [START, 64, 128, 200, 200]


def test_a_small_concurrency_is_never_exceeded() -> None:
    async def main() -> int:
        limits = Limits(3)
        most = 0

        async def one() -> None:
            nonlocal most
            leave = await limits.enter()
            most = max(most, limits.in_flight)
            await asyncio.sleep(0.1)
            limits.answered(leave, None)

        await asyncio.gather(*(one() for _ in range(30)))
        return most

    assert run(main()) == 3


def test_requests_a_minute_are_kept_in_every_minute() -> None:
    async def main() -> list[float]:
        limits = Limits(100, requests_per_minute=120)
        left: list[float] = []

        async def one() -> None:
            leave = await limits.enter()
            left.append(now())
            limits.answered(leave, None)

        await asyncio.gather(*(one() for _ in range(300)))
        return left

    left = run(main())
    for start in left:
        assert sum(start <= at < start + 60 for at in left) <= 121
    assert left[-1] == pytest.approx(299 / 2, rel=0.02)


def test_tokens_a_minute_are_kept_and_what_was_reserved_too_much_is_given_back() -> None:
    async def main() -> list[float]:
        limits = Limits(100, tokens_per_minute=6000)
        left: list[float] = []

        async def one() -> None:
            leave = await limits.enter(1000)
            left.append(now())
            await asyncio.sleep(0.01)
            limits.answered(leave, 200)

        await asyncio.gather(*(one() for _ in range(60)))
        return left

    left = run(main())
    assert left[-1] == pytest.approx(60 * 200 / 100, rel=0.1)


def test_a_request_larger_than_a_minutes_tokens_still_goes() -> None:
    async def main() -> float:
        limits = Limits(1, tokens_per_minute=600)
        for _ in range(3):
            limits.answered(await limits.enter(1200), 1200)
        return now()

    assert run(main()) == pytest.approx(240, rel=0.05)


def test_after_a_rejection_all_wait_as_long_as_the_server_says() -> None:
    async def main() -> list[float]:
        limits = Limits(10)
        limits.rejected(await limits.enter(), 7.0)
        left = []
        for _ in range(2):
            limits.answered(await limits.enter(), None)
            left.append(now())
        return left

    first, _ = run(main())
    assert first == pytest.approx(7.0, abs=0.01)


def test_one_that_is_tried_again_goes_first() -> None:
    async def main() -> list[str]:
        limits = Limits(1)
        order: list[str] = []

        async def one(name: str, again: bool) -> None:
            leave = await limits.enter(again=again)
            order.append(name)
            await asyncio.sleep(1)
            limits.answered(leave, None)

        tasks = [asyncio.create_task(one("under way", False))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(one(name, False)) for name in "ab"]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(one("again", True)))
        await asyncio.gather(*tasks)
        return order

    assert run(main()) == ["under way", "again", "a", "b"]


def test_a_cancelled_waiter_leaves_no_hole() -> None:
    async def main() -> int:
        limits = Limits(1)
        leave = await limits.enter()
        waiting = [asyncio.create_task(limits.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limits.answered(leave, None)  # admits the second ...
        waiting[1].cancel()  # ... which goes away before it hears of it
        got = await waiting[2]
        limits.answered(got, None)
        await asyncio.gather(*waiting, return_exceptions=True)
        return limits.in_flight

    assert run(main()) == 0


class Server:
    """Lets a number of requests a second through, over a bucket of `burst` seconds; counts by second."""

    def __init__(self, rate: Callable[[float], float], burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.level, self.then = rate(0) * burst, 0.0
        self.answered: Counter[int] = Counter()
        self.rejected: Counter[int] = Counter()

    async def serve(self) -> bool:
        await asyncio.sleep(0.02)
        rate = self.rate(now())
        self.level = min(max(1.0, rate * self.burst), self.level + (now() - self.then) * rate)
        self.then = now()
        through = self.level >= 1
        self.level -= through
        (self.answered if through else self.rejected)[int(now())] += 1
        await asyncio.sleep(0.03)
        return through


def drive(server: Server, seconds: float, retry_after: float | None = None) -> None:
    async def main() -> None:
        limits = Limits(512)

        async def worker() -> None:
            again = False
            while now() < seconds:
                leave = await limits.enter(again=again)
                again = not await server.serve()
                if again:
                    limits.rejected(leave, retry_after)
                    await asyncio.sleep(retry_after or 0.3)
                else:
                    limits.answered(leave, None)

        await asyncio.gather(*(worker() for _ in range(600)))

    run(main())


def share_of(server: Server, start: int, end: int, rate: float) -> tuple[float, float]:
    answered = sum(server.answered[second] for second in range(start, end))
    rejected = sum(server.rejected[second] for second in range(start, end))
    return answered / (rate * (end - start)), rejected / (answered + rejected)


@pytest.mark.parametrize(
    ("rate", "burst", "retry_after"),
    [(50, 0.1, None), (50, 1.0, 1.0), (200, 0.1, 1.0), (200, 1.0, 1.0), (1000, 0.1, None), (1000, 1.0, None)],
)
def test_a_rate_the_server_does_not_tell_is_found_and_kept(rate: int, burst: float, retry_after: float | None) -> None:
    server = Server(lambda time: rate, burst)
    drive(server, 30, retry_after)
    used, rejected = share_of(server, 6, 30, rate)
    assert used > 0.97
    assert rejected < 0.02


@pytest.mark.parametrize(("before", "after"), [(50, 1000), (200, 1000), (1000, 200), (1000, 50)])
def test_a_rate_that_changes_is_found_again(before: int, after: int) -> None:
    server = Server(lambda time: before if time < 8 else after, 0.1)
    drive(server, 24)
    used, rejected = share_of(server, 13, 24, after)
    assert used > 0.95
    assert rejected < 0.02


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_rejections_that_have_nothing_to_do_with_pace_do_not_slow_it_down(share: float) -> None:
    class Moody(Server):
        draw = random.Random(1)

        async def serve(self) -> bool:
            await asyncio.sleep(0.05)
            through = self.draw.random() >= share
            (self.answered if through else self.rejected)[int(now())] += 1
            return through

    server = Moody(lambda time: 1.0, 1.0)
    drive(server, 16)
    assert sum(server.answered[second] for second in range(10, 16)) / 6 > 400


def test_a_low_rate_is_found_too() -> None:
    server = Server(lambda time: 5, 1.0)
    drive(server, 60, 2.0)
    used, rejected = share_of(server, 20, 60, 5)
    assert used > 0.8
    assert rejected < 0.4  # a few a minute are lost to looking for more: `requests_per_minute` spares them


def test_a_bucket_lets_its_rate_through() -> None:
    bucket = Bucket(10.0, 0.0)
    clock, passed = 0.0, 0
    while clock < 100:
        clock += bucket.wait(clock)
        bucket.take(1)
        passed += 1
    assert passed == pytest.approx(1000, abs=3)


def test_a_meter_counts_the_last_second() -> None:
    meter = Meter()
    for tenth in range(100):
        meter.add(tenth / 10 + 0.05)
    assert meter.rate(9.96) == 10
    assert meter.rate(10.5) == pytest.approx(5, abs=1)
    assert meter.rate(20.0) == 0
