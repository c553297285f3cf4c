"""The longest batch forward and backward before anything else, so that no stage fails hours in for want of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bezoar_core.errors import StepFailed
from bezoar_plugins.stages.sharding import sharded

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def rehearse(trainer: Trainer, longest: Sequence[Mapping[str, object]]) -> None:
    """Take TRL's training step on the rows of the longest batch and leave no trace: no gradient, figure or draw.

    A model that is to be sharded is so once training begins, and rehearsed then.
    """
    if sharded():
        trainer.add_callback(_at_the_beginning(lambda: _rehearse(trainer, longest)))
    else:
        _rehearse(trainer, longest)


def _rehearse(trainer: Trainer, longest: Sequence[Mapping[str, object]]) -> None:
    import torch

    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps  # the loop sets it anew
    with torch.random.fork_rng(), short_of_memory(), trainer.accelerator.autocast():
        inputs = trainer.data_collator(list(longest))
        trainer.training_step(trainer.model, inputs, torch.tensor(1, device=trainer.args.device))
    trainer.model.zero_grad()
    # TRL adds every step to these, and hands them out with the first that it logs
    trainer._metrics["train"].clear()
    trainer._total_train_tokens = 0


def _at_the_beginning(act: Callable[[], None]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Beginning(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **unused: object
        ) -> None:
            act()

    return Beginning()


@contextmanager
def short_of_memory() -> Iterator[None]:
    """Turn an allocation that fails into `StepFailed`, which says what to lower."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        first = (str(error).strip() or "out of memory").splitlines()[0]
        raise StepFailed(
            f"there is too little memory to train: {first}",
            tip="lower `batch_size` and raise `gradient_accumulation` by as much, or lower `max_length`",
        ) from None
