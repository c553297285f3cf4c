"""Runs a scheme or filter over rows with a scripted model, replies coming back in a scrambled order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bezoar_core.draw import KeyedDraw
from bezoar_core.interfaces import Scheme
from bezoar_core.records import Completion, Dropped, Kept, Message, Request, Row, Sampling
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import ModelRef

_DEFAULT = Sampling()


@dataclass
class HeldAsk:
    """Lets every request wait for `hold` before its reply is given."""

    ask: ScriptedAsk
    hold: Callable[[Request], Awaitable[None]]

    async def __call__(
        self,
        model: ModelRef,
        messages: Sequence[Message],
        *,
        sampling: Sampling = _DEFAULT,
        stop: Sequence[str] = (),
        prefill: str = "",
        format: str | None = None,
        choices: Sequence[str] = (),
        sample: int = 0,
    ) -> Completion:
        reply = await self.ask(
            model,
            messages,
            sampling=sampling,
            stop=stop,
            prefill=prefill,
            format=format,
            choices=choices,
            sample=sample,
        )
        await self.hold(Request(messages=tuple(messages), sample=sample))
        return reply


class ScrambledAsk(HeldAsk):
    """Lets every request wait for a random number of turns of the event loop before its reply is given."""

    def __init__(self, ask: ScriptedAsk, seed: int) -> None:
        dice = random.Random(seed)

        async def hold(request: Request) -> None:
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)

        super().__init__(ask, hold)


@dataclass(frozen=True)
class Made:
    """What a scheme made."""

    kept: tuple[Row, ...]
    dropped: tuple[Dropped, ...]

    @property
    def reasons(self) -> Counter[str]:
        return Counter(one.reason for one in self.dropped)

    def because(self, reason: str) -> list[Row]:
        return [one.row for one in self.dropped if one.reason == reason]


async def run_scheme(scheme: Scheme, seeds: Sequence[Row], ask: ScriptedAsk | HeldAsk, seed: int = 42) -> Made:
    kept: list[Row] = []
    dropped: list[Dropped] = []
    async for outcome in scheme.generate(seeds, ask, KeyedDraw(seed), lambda: max(0, scheme.count - len(kept))):
        if isinstance(outcome, Kept):
            kept.append(outcome.row)
        else:
            dropped.append(outcome)
    return Made(tuple(kept), tuple(dropped))
