"""How many optimizer steps a stage takes, and how many of them warm up."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from bezoar_core.errors import StepFailed


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimizer steps: in all, in one pass over the rows, and in which the learning rate rises.

    A step has `accumulation` batches of `batch` rows.
    """

    steps: int
    per_epoch: int
    warmup: int
    batch: int
    accumulation: int


def schedule(
    count: int, batch: int, accumulation: int, epochs: int, max_steps: int | None, warmup_steps: int, noun: str
) -> Schedule:
    """Return the steps of `epochs` passes, at most `max_steps`; at most a tenth of them warm up.

    Without that bound the recipe's 100 steps would swallow a short run whole. Raises `StepFailed` where `count`
    of the `noun` do not fill one step.
    """
    if count < batch * accumulation:
        raise StepFailed(
            f"{count} {noun} to learn are fewer than one batch of {batch * accumulation}"
            f" (`batch_size` {batch} times `gradient_accumulation` {accumulation})",
            tip="lower one of them, or make more rows",
        )
    per_epoch = ceil(ceil(count / batch) / accumulation)
    steps = min(per_epoch * epochs, max_steps or per_epoch * epochs)
    return Schedule(
        steps=steps, per_epoch=per_epoch, warmup=min(warmup_steps, steps // 10), batch=batch, accumulation=accumulation
    )
