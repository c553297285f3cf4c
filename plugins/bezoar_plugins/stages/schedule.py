"""How many optimizer steps a stage takes, and how many of them warm up."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimizer steps: in all, in one pass over the rows, and in which the learning rate rises."""

    steps: int
    per_epoch: int
    warmup: int


def schedule(
    rows: int, batch: int, accumulation: int, epochs: int, max_steps: int | None, warmup_steps: int
) -> Schedule:
    """Return the steps of `epochs` passes, at most `max_steps`; at most a tenth of them warm up.

    Without that bound the recipe's 100 steps would swallow a short run whole.
    """
    per_epoch = ceil(ceil(rows / batch) / accumulation)
    steps = min(per_epoch * epochs, max_steps or per_epoch * epochs)
    return Schedule(steps=steps, per_epoch=per_epoch, warmup=min(warmup_steps, steps // 10))
