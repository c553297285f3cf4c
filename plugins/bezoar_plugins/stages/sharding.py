"""Weights sharded over the processes: FSDP2, by the file that `accelerate_config` names.

The model is loaded and measured whole, then sharded by the trainer. What was trained is gathered, and the first process
puts it into the start model, loaded anew, to measure, merge and save that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bezoar_core.errors import StepFailed
from bezoar_plugins.stages.processes import first
from bezoar_plugins.stages.quantised import Quantise, adapters_in_fp32, on_gpu

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, Trainer


def sharded() -> bool:
    """Return whether a launcher told this process to hold but a part of what is trained."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and "LOCAL_RANK" in os.environ


def twice_saved() -> bool:
    """Return whether a checkpoint holds the weights as the trainer writes them and once more as FSDP does."""
    return sharded() and os.environ.get("FSDP_STATE_DICT_TYPE") == "FULL_STATE_DICT"


def require_shardable(quantise: Quantise | None, optimizer: str) -> None:
    """Raise `StepFailed` where FSDP cannot do what a stage asks for."""
    if not sharded():
        return
    if quantise:
        raise StepFailed(
            f"`quantise: {quantise}` cannot be sharded: FSDP leaves 4-bit weights whole",
            tip="leave it out, or set `distributed_type: MULTI_GPU`: each process then holds the 4-bit model",
        )
    if optimizer == "paged_adamw_8bit":
        raise StepFailed(
            "`optimizer: paged_adamw_8bit` knows no sharded weights", tip="under FSDP `auto` is plain AdamW"
        )
    if not on_gpu() and os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true":
        raise StepFailed("`fsdp_offload_params` has no GPU to offload from", tip="set it to `false` on a CPU")


def on_the_cpu() -> dict[str, object]:
    """Return the trainer's arguments by which a model is sharded on a CPU; none where there is no need of them.

    There accelerate 1.15 would give each process the whole model and say nothing: `AcceleratorState` reads FSDP's
    settings only where `PartialState` has found several processes of an accelerator's kind.
    """
    if not sharded() or on_gpu():
        return {}
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    return {"accelerator_config": {"use_configured_state": True}}


def agreed(value: float) -> float:
    """Return the first process's value where processes must decide alike, or one would wait for the others."""
    if not sharded():
        return value
    from torch.distributed import broadcast_object_list

    values = [value]
    broadcast_object_list(values)
    return values[0]


def sums_in_fp32(trainer: Trainer) -> None:
    """Have FSDP keep gradients' sums and what the model returns in fp32: accelerate rounds them as it does the weights.

    A loss is as good as its log-probabilities, and a preference is their small difference.
    """
    import torch

    if sharded() and (policy := trainer.accelerator.state.fsdp_plugin.mixed_precision_policy):
        policy = replace(policy, reduce_dtype=torch.float32, output_dtype=torch.float32)
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def flow(gradients: Sequence[torch.Tensor]) -> bool:
    """Return whether some gradient is not zero, in whichever process its part lies."""
    if not sharded():
        return any(bool(gradient.any()) for gradient in gradients)
    import torch
    from torch.distributed import ReduceOp, all_reduce

    parts = [gradient.to_local() for gradient in gradients]
    found = torch.tensor(float(any(bool(part.any()) for part in parts)), device=parts[0].device)
    all_reduce(found, ReduceOp.MAX)
    return bool(found)


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained by name, whole and on the CPU; all ask for a sharded model's, and the first has it."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not sharded():
        return {name: p.detach().cpu().contiguous() for name, p in parameters.items()}
    from accelerate.utils import fsdp2_canonicalize_names
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    gathered = get_model_state_dict(model, options=options)
    return {name: gathered[name] for name in fsdp2_canonicalize_names(parameters)} if first() else {}


def unsharded(trainer: Trainer, load: Callable[[], PreTrainedModel]) -> PreTrainedModel | None:
    """Return the trained model as one process holds it, to the first one: the others get `None`, and all must ask.

    `load` gives the start model, for what was trained in shards.
    """
    if not sharded():
        return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False) if first() else None
    weights = trained(trainer.model)
    if not first():
        return None
    trainer.optimizer.state.clear()  # nothing steps any more, and the whole model has to fit
    trainer.model.zero_grad()
    model = load()
    if adapters := getattr(trainer.model, "peft_config", None):
        from peft import get_peft_model

        model = get_peft_model(model, adapters["default"])
        adapters_in_fp32(model)
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        parameters[name].data.copy_(weight)
    return model
