"""What is watched while a trainer runs: figures for the log, gradients that vanish, the best weights so far."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from bezoar_core.errors import StepFailed
from bezoar_core.interfaces import Log

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_TIMES = ("runtime", "per_second")


def figures_to(log: Log) -> TrainerCallback:
    """Return a callback that hands every figure TRL logs to `log`, but for those that measure time."""
    from transformers import TrainerCallback

    class Figures(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float],
            **unused: object,
        ) -> None:
            kept = {name: float(value) for name, value in logs.items() if not name.endswith(_TIMES)}
            log(state.global_step, state.max_steps, kept)

    return Figures()


def gradients_flow() -> TrainerCallback:
    """Return a callback that raises `StepFailed` at the first step whose gradients are all zero."""
    from transformers import TrainerCallback

    class Gradients(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_pre_optimizer_step(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            model: nn.Module,
            **unused: object,
        ) -> None:
            trained = [p for p in model.parameters() if p.requires_grad]
            if not any(p.grad is not None and bool(p.grad.any()) for p in trained):
                raise StepFailed(
                    f"every gradient is zero at step {state.global_step + 1}: nothing would be learned",
                    tip="a library that repacks quantised weights does this; try without `quantise`",
                )

    return Gradients()


class Best:
    """The trained weights at the lowest loss so far."""

    def __init__(self) -> None:
        self.loss = inf
        self.step = 0
        self._weights: dict[str, torch.Tensor] = {}

    def watch(self, loss: Callable[[], float], every: int) -> TrainerCallback:
        """Return a callback that takes `loss()` every so many steps, and after the last."""
        from transformers import TrainerCallback

        best = self

        class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
            def on_step_end(
                self,
                args: TrainingArguments,
                state: TrainerState,
                control: TrainerControl,
                model: nn.Module,
                **unused: object,
            ) -> None:
                if state.global_step % every == 0 or state.global_step == state.max_steps:
                    best.offer(loss(), state.global_step, model)

        return Watch()

    def offer(self, loss: float, step: int, model: nn.Module) -> None:
        """Keep a copy of what is trained where `loss` is lower than any before."""
        if loss < self.loss:
            self.loss, self.step = loss, step
            self._weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def restore(self, model: nn.Module) -> None:
        """Put the kept weights back."""
        for name, parameter in model.named_parameters():
            if name in self._weights:
                parameter.data.copy_(self._weights[name])
