"""Several processes that train as one: what the launcher told this one of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bezoar_core.errors import StepFailed

if TYPE_CHECKING:
    from transformers import Trainer

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


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


def require_replicas(trainer: Trainer) -> None:
    """Raise `StepFailed` where each process would hold a part of the model: what we measure and save is a whole one."""
    kind = getattr(trainer.accelerator.distributed_type, "value", trainer.accelerator.distributed_type)
    if kind in _SHARDED:
        raise StepFailed(
            f"`accelerate_config` shards the model over the processes ({kind}), which is not supported yet:"
            " what would be saved at the end is a shard",
            tip="leave it out, or set `distributed_type: MULTI_GPU`: each process then holds the model",
        )
