from __future__ import annotations

from pathlib import Path

import pytest
from stage_runs import (
    instructions,
    loss_gains,
    margin_gains,
    preferences,
    require_learned,
    tiny_dpo,
    tiny_sft,
    train,
    watched_gradients,
)

from bezoar_core.records import ModelDir


@pytest.mark.gpu
def test_a_gpu_learns_with_paged_8_bit_adamw_on_adapters_in_fp32(tiny: ModelDir, tmp_path: Path) -> None:
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    used: dict[type[Optimizer], tuple[bool, int, set[torch.dtype]]] = {}

    def look(optimizer: Optimizer, args: object, kwargs: object) -> None:
        if getattr(optimizer, "is_paged", False):
            trained = {tensor.dtype for group in optimizer.param_groups for tensor in group["params"]}
            used[type(optimizer)] = (optimizer.is_paged, optimizer.args.optim_bits, trained)

    hook = register_optimizer_step_pre_hook(look)
    try:
        with watched_gradients() as gradients:
            trained = train(tiny_sft(), tiny, instructions(0, 10), instructions(10, 24), tmp_path / "sft")
        require_learned(loss_gains(trained), gradients)
        with watched_gradients() as gradients:
            preferring = train(tiny_dpo(), trained.model, preferences(0, 10), preferences(10, 24), tmp_path / "dpo")
        require_learned(margin_gains(preferring), gradients)
    finally:
        hook.remove()

    assert list(used.values()) == [(True, 8, {torch.float32})]
    for stage in (trained, preferring):
        assert stage.metrics["merge_gap"] < 1e-4
