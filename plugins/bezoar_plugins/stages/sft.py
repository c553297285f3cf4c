"""Supervised fine-tuning with a LoRA adapter, on a 4-bit model (QLoRA, arXiv 2305.14314) or a full-precision one.

The defaults are OpenBezoar's where its paper tells them (arXiv 2404.12195): rank, alpha, dropout, targets, warm-up,
linear schedule, validation split, best weights kept, loss on the full text. Learning rate, batch, epochs and length as
used are unknown: those here are its script's defaults, the batch of 128 as 16 times 8.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar, Literal

from bezoar_core.errors import StepFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Log, Stage
from bezoar_core.parquet import write_rows
from bezoar_core.prompt_format import PromptFormat, encode, get_format
from bezoar_core.records import Message, Metrics, ModelDir, Row, RowsDir
from bezoar_core.rows import read_parquet
from bezoar_core.types import (
    DatasetRef,
    Fraction,
    ModelRef,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
)
from bezoar_plugins.stages.conversations import conversation
from bezoar_plugins.stages.hh import Unusable
from bezoar_plugins.stages.likelihood import Example, log_likelihoods, loss_per_token, write_heldout
from bezoar_plugins.stages.merge import concatenate, merge, save_adapter
from bezoar_plugins.stages.model_folder import SaveDtype, save_model
from bezoar_plugins.stages.quantised import REQUIRES, Quantise, adapters_in_fp32, load, on_gpu, require_targets
from bezoar_plugins.stages.schedule import Schedule, schedule
from bezoar_plugins.stages.watching import Best, figures_to, gradients_flow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows as token ids, and what was lost on the way."""

    examples: Sequence[Example] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    rows_truncated: int = 0
    tokens_truncated: int = 0


@dataclass(frozen=True, kw_only=True)
class Sft:
    """Fine-tune a model on conversations and merge the adapter.

    `batch_size` times `gradient_accumulation` rows make one optimizer step; `epochs` passes are cut off at `max_steps`,
    and at most a tenth of the steps warm up. `format` is the start model's unless named. `loss` counts every token of
    the text or the assistant's alone. `optimizer: auto` is paged 8-bit AdamW on a GPU, plain AdamW on a CPU. Rows of
    `validation_share` are held back, and the weights that do best on them every `validate_every` steps are kept.
    """

    name: ClassVar[str] = "sft"
    version: ClassVar[int] = 1
    requires: ClassVar[Mapping[str, str]] = REQUIRES

    model: ModelRef
    data: DatasetRef
    heldout: DatasetRef | None = None
    format: NonEmptyStr | None = None
    quantise: Quantise | None = None
    loss: Literal["full", "completion"] = "full"
    max_length: PositiveInt = 256
    epochs: PositiveInt = 3
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 8
    gradient_accumulation: PositiveInt = 16
    learning_rate: NonNegativeFloat = 3e-4
    warmup_steps: NonNegativeInt = 100
    optimizer: Literal["auto", "adamw_torch", "paged_adamw_8bit"] = "auto"
    validation_share: Fraction = 0.2
    validate_every: PositiveInt = 10
    lora_rank: PositiveInt = 16
    lora_alpha: PositiveInt = 16
    lora_dropout: Fraction = 0.05
    lora_targets: tuple[NonEmptyStr, ...] = ("q_proj", "k_proj", "v_proj")
    save_dtype: SaveDtype = "float32"

    def train(
        self, start: ModelDir, rows: RowsDir, heldout: RowsDir | None, out: Path, work: Path, log: Log, seed: int
    ) -> Metrics:
        """Write `model/`, `adapter/`, the chain's `chain/`, `heldout.jsonl` and `dropped.parquet` to `out`.

        Losses are per token. `heldout_loss_before` and `heldout_loss_after` are of the model as it trains, quantised
        or not; `heldout_loss_merged` is of the weights that are saved.
        """
        from transformers import AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(start.path)
        format = get_format(self.format or start.format, tokenizer)
        data = self._prepare(rows, format, tokenizer, out / "dropped.parquet")
        unseen = self._prepare(heldout, format, tokenizer, out / "heldout_dropped.parquet") if heldout else Prepared()
        learned, validation = _split(data.examples, self.validation_share, seed)
        plan = schedule(
            len(learned), self.batch_size, self.gradient_accumulation, self.epochs, self.max_steps, self.warmup_steps
        )

        model = load(start.path, self.quantise)
        require_targets(model, self.lora_targets)
        before = log_likelihoods(model, unseen.examples)
        best = Best()
        trainer = self._trainer(model, tokenizer, learned, validation, best, plan, work, log, seed)
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        trainer.train()
        best.restore(trainer.model)
        after = log_likelihoods(trainer.model, unseen.examples)
        save_adapter(trainer.model, out / "adapter")
        del trainer, model
        gc.collect()

        probes = [example.ids for example in (unseen.examples or learned)[:2]]
        merged, gap = merge(start.path, out / "adapter", probes, on_gpu())
        save_model(merged, AutoTokenizer.from_pretrained(start.path), format, self.save_dtype, out / "model")
        if start.adapters is not None:
            concatenate(start.base, [*(a.path for a in start.adapters), out / "adapter"], out / "chain")
        saved = log_likelihoods(merged, unseen.examples)

        metrics = _counts(data, len(learned), len(validation))
        metrics |= {"steps": plan.steps, "warmup_steps": plan.warmup, "trainable_parameters": trained, "merge_gap": gap}
        if validation:
            metrics |= {"validation_loss": best.loss, "best_step": best.step}
        if unseen.examples:
            metrics |= _heldout(unseen, before, after, saved, out / "heldout.jsonl")
        return metrics

    def _prepare(
        self, rows: RowsDir, format: PromptFormat, tokenizer: PreTrainedTokenizerBase, dropped: Path
    ) -> Prepared:
        """Return the rows as token ids cut to `max_length`, and write those that cannot be used to `dropped`."""
        examples: list[Example] = []
        lost: list[Row] = []
        lengths: list[int] = []
        for number, row in enumerate(read_parquet(rows.path), start=1):
            turns = conversation(row, f"{rows.name}:{number}")
            made = turns if isinstance(turns, Unusable) else self._example(turns, format, tokenizer)
            if isinstance(made, Unusable):
                lost.append({**row, "drop_reason": made.reason, "drop_detail": made.detail})
                continue
            lengths.append(len(made.ids))
            examples.append(Example(made.ids[: self.max_length], made.learned[: self.max_length]))
        write_rows(dropped, lost, ("drop_reason", "drop_detail"))
        reasons = Counter(str(row["drop_reason"]) for row in lost)
        if not examples:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "there are none"
            raise StepFailed(f"no row of `{rows.name}` can be used: {listed}", tip="see the step before, or its data")
        over = [length - self.max_length for length in lengths if length > self.max_length]
        return Prepared(examples=examples, dropped=reasons, rows_truncated=len(over), tokens_truncated=sum(over))

    def _example(
        self, turns: Sequence[Message], format: PromptFormat, tokenizer: PreTrainedTokenizerBase
    ) -> Example | Unusable:
        encoded = encode(format, turns, tokenizer)
        learned = encoded.assistant if self.loss == "completion" else [True] * len(encoded.ids)
        if not any(learned[1 : self.max_length]):
            return Unusable("prompt_too_long", f"the answer lies behind the first {self.max_length} tokens")
        return Example(encoded.ids, learned)

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        learned: Sequence[Example],
        validation: Sequence[Example],
        best: Best,
        plan: Schedule,
        work: Path,
        log: Log,
        seed: int,
    ) -> SFTTrainer:
        """Return TRL's trainer over our token ids: its templates, EOS and truncation have nothing to do."""
        from datasets import Dataset
        from peft import LoraConfig
        from trl import SFTConfig, SFTTrainer

        gpu = on_gpu()
        auto = "paged_adamw_8bit" if gpu else "adamw_torch"
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=str(work),
                per_device_train_batch_size=self.batch_size,
                gradient_accumulation_steps=self.gradient_accumulation,
                max_steps=plan.steps,
                learning_rate=self.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=plan.warmup,
                optim=auto if self.optimizer == "auto" else self.optimizer,
                seed=seed,
                # TRL turns both on, which makes a step on a CPU 1.4 times as long; 4-bit layers multiply in bf16 anyway
                bf16=gpu,
                activation_checkpointing=False,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
                dataloader_pin_memory=gpu,
                use_cpu=not gpu,
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                report_to="none",
            ),
            train_dataset=Dataset.from_list([{"input_ids": e.ids, "labels": e.labels} for e in learned]),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=self.lora_rank,
                lora_alpha=self.lora_alpha,
                lora_dropout=self.lora_dropout,
                target_modules=list(self.lora_targets),
                bias="none",
                task_type="CAUSAL_LM",
            ),
            callbacks=[figures_to(log), gradients_flow()],
        )
        adapters_in_fp32(trainer.model)
        if validation:

            def loss() -> float:
                return loss_per_token(log_likelihoods(trainer.model, validation), validation)

            trainer.add_callback(best.watch(loss, self.validate_every))
        return trainer


def _split(examples: Sequence[Example], share: float, seed: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Return what is learned and what is held back to tell the best weights, drawn with `seed`; both in row order."""
    held = set(Random(seed).sample(range(len(examples)), int(share * len(examples))))
    learned = [example for place, example in enumerate(examples) if place not in held]
    if not learned:
        raise StepFailed(f"`validation_share: {share:g}` leaves no row to learn from", tip="lower it")
    return learned, [examples[place] for place in sorted(held)]


def _counts(data: Prepared, learned: int, validation: int) -> dict[str, float]:
    return {
        "rows_used": learned,
        "rows_validation": validation,
        "rows_dropped": sum(data.dropped.values()),
        **{f"dropped_{reason}": count for reason, count in sorted(data.dropped.items())},
        "rows_truncated": data.rows_truncated,
        "tokens_truncated": data.tokens_truncated,
    }


def _heldout(
    unseen: Prepared, before: Sequence[float], after: Sequence[float], saved: Sequence[float], path: Path
) -> dict[str, float]:
    """Write each held-out row's losses and return their means over all tokens."""
    kinds = {"loss_before": before, "loss_after": after, "loss_merged": saved}
    write_heldout(
        path,
        [
            {"tokens": example.tokens, **{kind: -values[place] / example.tokens for kind, values in kinds.items()}}
            for place, example in enumerate(unseen.examples)
        ],
    )
    return {
        "heldout_rows": len(unseen.examples),
        "heldout_dropped": sum(unseen.dropped.values()),
        **{f"heldout_{kind}": loss_per_token(values, unseen.examples) for kind, values in kinds.items()},
    }


@hookimpl
def bezoar_stages() -> list[type[Stage]]:
    """Register the stage."""
    return [Sft]
