"""Several processes that train as one: what the launcher told this one of them."""

from __future__ import annotations

import os

from bezoar_core.errors import StepFailed


def first() -> bool:
    """Return whether this is the process that keeps what is made; the others only help it train."""
    return os.environ.get("RANK", "0") == "0"


def share(accumulation: int) -> int:
    """Return how many of an optimizer step's batches each process takes: the step is the one that one process makes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if accumulation % processes:
        raise StepFailed(
            f"`processes: {processes}` cannot share out the {accumulation} batches of an optimizer step alike",
            tip=f"set `gradient_accumulation` to a multiple of {processes}; `batch_size` is of each process",
        )
    return accumulation // processes
