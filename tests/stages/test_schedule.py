from __future__ import annotations

import pytest

from bezoar_core.errors import StepFailed
from bezoar_plugins.stages.schedule import schedule


@pytest.mark.parametrize(
    ("count", "batch", "accumulation", "epochs", "max_steps", "warmup_steps", "expected"),
    [
        # steps, of them in a pass, of them to warm up
        (1204, 8, 16, 3, None, 100, (30, 10, 3)),
        (100_000, 4, 8, 1, None, 100, (3125, 3125, 100)),
        (7, 2, 1, 9, 12, 100, (12, 4, 1)),
        (7, 2, 1, 1, 12, 0, (4, 4, 0)),
        (128, 8, 16, 1, None, 100, (1, 1, 0)),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(
    count: int,
    batch: int,
    accumulation: int,
    epochs: int,
    max_steps: int | None,
    warmup_steps: int,
    expected: tuple[int, int, int],
) -> None:
    plan = schedule(count, batch, accumulation, epochs, max_steps, warmup_steps, "rows")
    assert (plan.steps, plan.per_epoch, plan.warmup) == expected
    assert (plan.batch, plan.accumulation) == (batch, accumulation)


def test_fewer_than_a_batch_is_an_error() -> None:
    wanted = r"127 pairs to learn are fewer than one batch of 128 \(`batch_size` 8 times `gradient_accumulation` 16\)"
    with pytest.raises(StepFailed, match=wanted):
        schedule(127, 8, 16, 1, None, 100, "pairs")
