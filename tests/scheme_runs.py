"""Runs a scheme or filter over rows with a scripted model, replies coming back in a scrambled order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bezoar_core.draw import KeyedDraw
from bezoar_core.interfaces import Scheme
from bezoar_core.records import Completion, Dropped, Kept, Message, Row, Sampling
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import ModelRef

_DEFAULT = Sampling()


@dataclass
class ScrambledAsk:
    """Lets every request wait for a random number of turns of the event loop before it is answered."""

    ask: ScriptedAsk
    seed: int

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

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
        for _ in range(self.dice.randrange(40)):
            await asyncio.sleep(0)
        return await self.ask(
            model,
            messages,
            sampling=sampling,
            stop=stop,
            prefill=prefill,
            format=format,
            choices=choices,
            sample=sample,
        )


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


async def run_scheme(scheme: Scheme, seeds: Sequence[Row], ask: ScriptedAsk | ScrambledAsk, seed: int = 42) -> Made:
    kept: list[Row] = []
    dropped: list[Dropped] = []
    async for outcome in scheme.generate(seeds, ask, KeyedDraw(seed), lambda: max(0, scheme.count - len(kept))):
        if isinstance(outcome, Kept):
            kept.append(outcome.row)
        else:
            dropped.append(outcome)
    return Made(tuple(kept), tuple(dropped))
