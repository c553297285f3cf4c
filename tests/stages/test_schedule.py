from __future__ import annotations

import pytest

from bezoar_plugins.stages.schedule import Schedule, schedule


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # rows, batch, accumulation, epochs, max_steps, warmup_steps
        ((1204, 8, 16, 3, None, 100), Schedule(steps=30, per_epoch=10, warmup=3)),
        ((100_000, 4, 8, 1, None, 100), Schedule(steps=3125, per_epoch=3125, warmup=100)),
        ((7, 2, 1, 9, 12, 100), Schedule(steps=12, per_epoch=4, warmup=1)),
        ((7, 2, 1, 1, 12, 0), Schedule(steps=4, per_epoch=4, warmup=0)),
        ((1, 8, 16, 1, None, 100), Schedule(steps=1, per_epoch=1, warmup=0)),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(
    arguments: tuple[int, int, int, int, int | None, int], expected: Schedule
) -> None:
    assert schedule(*arguments) == expected
