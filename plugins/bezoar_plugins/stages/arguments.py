"""What every stage tells TRL's trainer alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bezoar_plugins.stages.processes import share
from bezoar_plugins.stages.quantised import Precision, in_precision, on_gpu
from bezoar_plugins.stages.schedule import Schedule
from bezoar_plugins.stages.sharding import on_the_cpu, sharded
from bezoar_plugins.stages.watching import Reporter


def arguments(
    work: Path,
    plan: Schedule,
    seed: int,
    *,
    rate: float,
    optimizer: str,
    precision: Precision,
    save_every: int,
    report_to: Sequence[Reporter],
) -> dict[str, object]:
    """Return arguments of a TRL configuration; `optimizer` is a name of transformers', or `auto`."""
    gpu, kind = on_gpu(), in_precision(precision)
    auto = "paged_adamw_8bit" if gpu and not sharded() else "adamw_torch"
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": plan.batch,
        "gradient_accumulation_steps": share(plan.accumulation),
        "max_steps": plan.steps,
        "learning_rate": rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": plan.warmup,
        "optim": auto if optimizer == "auto" else optimizer,
        "seed": seed,
        # TRL turns both on, which makes a step on a CPU 1.4 times as long; 4-bit layers multiply in bf16 anyway
        "bf16": kind == "bfloat16",
        "activation_checkpointing": False,
        "fp16": kind == "float16",
        "max_length": None,
        "dataloader_pin_memory": gpu,
        "use_cpu": not gpu,
        "save_strategy": "steps",
        "save_steps": save_every,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": list(report_to) or "none",
        **on_the_cpu(),
    }
