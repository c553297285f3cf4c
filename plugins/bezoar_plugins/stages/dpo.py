"""Direct Preference Optimization (arXiv 2305.18290) with a LoRA adapter; the reference is the model it starts from.

OpenBezoar (arXiv 2404.12195) trained all weights for one epoch, its authors' script at a learning rate of 5e-7 with
RMSprop and 512 tokens; beta is unknown. An adapter wants about ten times the rate of full training, hence 5e-6; beta is
the usual 0.1.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log1p
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bezoar_core.errors import DataError, StepFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Log, Stage
from bezoar_core.parquet import write_rows
from bezoar_core.prompt_format import Encoded, PromptFormat, encode, get_format
from bezoar_core.records import Message, Metrics, ModelDir, Row, RowsDir
from bezoar_core.rows import read_parquet
from bezoar_core.types import (
    DatasetRef,
    ModelRef,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from bezoar_plugins.stages.hh import Pair, Unusable, pair
from bezoar_plugins.stages.likelihood import Example, log_likelihoods, write_heldout
from bezoar_plugins.stages.merge import concatenate, merge, save_adapter
from bezoar_plugins.stages.model_folder import SaveDtype, save_model
from bezoar_plugins.stages.quantised import REQUIRES, Quantise, adapters_in_fp32, load, on_gpu, require_targets
from bezoar_plugins.stages.schedule import Schedule, schedule
from bezoar_plugins.stages.watching import figures_to, gradients_flow

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A pair as token ids; `cut` counts those that its answers lost to the length."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    cut: int = 0

    def example(self, answer: list[int]) -> Example:
        """Return the prompt with one of the answers, of which the answer alone counts."""
        return Example(self.prompt + answer, [False] * len(self.prompt) + [True] * len(answer))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows as token ids, and what was lost on the way."""

    pairs: Sequence[Preference] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of a pair's answers."""

    chosen: float
    rejected: float

    @property
    def margin(self) -> float:
        """Return by how much the chosen is the likelier."""
        return self.chosen - self.rejected


@dataclass(frozen=True, kw_only=True)
class Dpo:
    """Train a model to prefer the chosen of two answers, and merge the adapter.

    `batch_size` times `gradient_accumulation` pairs make one optimizer step; `epochs` passes are cut off at
    `max_steps`, and at most a tenth of the steps warm up. `format` is the start model's unless named. A higher `beta`
    keeps closer to the reference. `optimizer: auto` is paged 8-bit AdamW on a GPU, plain AdamW on a CPU.
    """

    name: ClassVar[str] = "dpo"
    version: ClassVar[int] = 1
    requires: ClassVar[Mapping[str, str]] = REQUIRES
    columns: ClassVar[frozenset[str]] = frozenset({"chosen", "rejected"})

    model: ModelRef
    data: DatasetRef
    heldout: DatasetRef | None = None
    format: NonEmptyStr | None = None
    quantise: Quantise | None = None
    beta: PositiveFloat = 0.1
    max_length: PositiveInt = 512
    epochs: PositiveInt = 1
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 4
    gradient_accumulation: PositiveInt = 8
    learning_rate: NonNegativeFloat = 5e-6
    warmup_steps: NonNegativeInt = 100
    optimizer: Literal["auto", "adamw_torch", "paged_adamw_8bit"] = "auto"
    lora_rank: PositiveInt = 16
    lora_alpha: PositiveInt = 16
    lora_targets: tuple[NonEmptyStr, ...] = ("q_proj", "k_proj", "v_proj")
    save_dtype: SaveDtype = "float32"

    def train(
        self, start: ModelDir, rows: RowsDir, heldout: RowsDir | None, out: Path, work: Path, log: Log, seed: int
    ) -> Metrics:
        """Write `model/`, `adapter/`, the chain's `chain/`, `heldout.jsonl` and `dropped.parquet` to `out`.

        A margin is the log-probability (natural log) of the chosen answer less that of the rejected one.
        """
        from transformers import AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(start.path)
        format = get_format(self.format or start.format, tokenizer)
        data = self._prepare(rows, format, tokenizer, out / "dropped.parquet")
        unseen = self._prepare(heldout, format, tokenizer, out / "heldout_dropped.parquet") if heldout else Prepared()
        plan = schedule(
            len(data.pairs), self.batch_size, self.gradient_accumulation, self.epochs, self.max_steps, self.warmup_steps
        )

        model = load(start.path, self.quantise)
        require_targets(model, self.lora_targets)
        before = _answers(model, unseen.pairs)
        trainer = self._trainer(model, tokenizer, data.pairs, plan, work, log, seed)
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        trainer.train()
        after = _answers(trainer.model, unseen.pairs)
        save_adapter(trainer.model, out / "adapter")
        del trainer, model
        gc.collect()

        probes = [p.prompt + p.chosen for p in (unseen.pairs or data.pairs)[:2]]
        merged, gap = merge(start.path, out / "adapter", probes, on_gpu())
        save_model(merged, AutoTokenizer.from_pretrained(start.path), format, self.save_dtype, out / "model")
        if start.adapters is not None:
            concatenate(start.base, [*(a.path for a in start.adapters), out / "adapter"], out / "chain")
        saved = _answers(merged, unseen.pairs)

        metrics = _counts(data)
        metrics |= {"steps": plan.steps, "warmup_steps": plan.warmup, "trainable_parameters": trained, "merge_gap": gap}
        if unseen.pairs:
            metrics |= self._heldout(unseen, before, after, saved, out / "heldout.jsonl")
        return metrics

    def _prepare(
        self, rows: RowsDir, format: PromptFormat, tokenizer: PreTrainedTokenizerBase, dropped: Path
    ) -> Prepared:
        """Return the rows as token ids cut to `max_length`, and write those that cannot be used to `dropped`."""
        pairs: list[Preference] = []
        lost: list[Row] = []
        for number, row in enumerate(read_parquet(rows.path), start=1):
            chosen, rejected = row.get("chosen"), row.get("rejected")
            if not isinstance(chosen, str) or not isinstance(rejected, str):
                raise DataError("`chosen` and `rejected` are not both transcripts", where=f"{rows.name}:{number}")
            read = pair(chosen, rejected)
            made = read if isinstance(read, Unusable) else self._preference(read, format, tokenizer)
            if isinstance(made, Unusable):
                lost.append({**row, "drop_reason": made.reason, "drop_detail": made.detail})
            else:
                pairs.append(made)
        write_rows(dropped, lost, ("drop_reason", "drop_detail"))
        reasons = Counter(str(row["drop_reason"]) for row in lost)
        if not pairs:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "there are none"
            raise StepFailed(f"no row of `{rows.name}` can be used: {listed}", tip="see the step before, or its data")
        return Prepared(pairs=pairs, dropped=reasons)

    def _preference(
        self, read: Pair, format: PromptFormat, tokenizer: PreTrainedTokenizerBase
    ) -> Preference | Unusable:
        prompt, chosen = _parted(encode(format, (*read.prompt, Message("assistant", read.chosen)), tokenizer))
        _, rejected = _parted(encode(format, (*read.prompt, Message("assistant", read.rejected)), tokenizer))
        room = self.max_length - len(prompt)
        if room <= 0:
            return Unusable("prompt_too_long", f"the answers lie behind the first {self.max_length} tokens")
        if chosen[:room] == rejected[:room]:
            return Unusable("same_answers", f"the answers do not differ within {self.max_length} tokens")
        cut = sum(max(len(answer) - room, 0) for answer in (chosen, rejected))
        return Preference(prompt=prompt, chosen=chosen[:room], rejected=rejected[:room], cut=cut)

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Preference],
        plan: Schedule,
        work: Path,
        log: Log,
        seed: int,
    ) -> DPOTrainer:
        """Return TRL's trainer over our token ids; without the fresh adapter its model is the reference."""
        from datasets import Dataset, disable_progress_bars
        from peft import LoraConfig
        from trl import DPOConfig, DPOTrainer

        class Tokenised(DPOTrainer):  # type: ignore[misc]  # trl is untyped here
            def _prepare_dataset(self, dataset: Dataset, *unused: object) -> Dataset:
                """Return the ids as they are: TRL would read text and tokenise prompt and answer as one."""
                return dataset

        disable_progress_bars()
        gpu = on_gpu()
        auto = "paged_adamw_8bit" if gpu else "adamw_torch"
        trainer = Tokenised(
            model=model,
            args=DPOConfig(
                output_dir=str(work),
                beta=self.beta,
                per_device_train_batch_size=self.batch_size,
                gradient_accumulation_steps=self.gradient_accumulation,
                max_steps=plan.steps,
                learning_rate=self.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=plan.warmup,
                optim=auto if self.optimizer == "auto" else self.optimizer,
                seed=seed,
                # in a second pass the reference would only say again what it said in the first
                precompute_ref_log_probs=plan.steps > plan.per_epoch,
                # TRL turns both on, which makes a step on a CPU 1.4 times as long; 4-bit layers multiply in bf16 anyway
                bf16=gpu,
                activation_checkpointing=False,
                max_length=None,
                dataloader_pin_memory=gpu,
                use_cpu=not gpu,
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                report_to="none",
            ),
            train_dataset=Dataset.from_list(
                [{"prompt_ids": p.prompt, "chosen_ids": p.chosen, "rejected_ids": p.rejected} for p in pairs]
            ),
            processing_class=tokenizer,
            # no dropout: DPO compares log-probabilities, and TRL would turn it off
            peft_config=LoraConfig(
                r=self.lora_rank,
                lora_alpha=self.lora_alpha,
                target_modules=list(self.lora_targets),
                bias="none",
                task_type="CAUSAL_LM",
            ),
            callbacks=[figures_to(log), gradients_flow()],
        )
        adapters_in_fp32(trainer.model)
        return trainer

    def _heldout(
        self,
        unseen: Prepared,
        before: Sequence[Answers],
        after: Sequence[Answers],
        saved: Sequence[Answers],
        path: Path,
    ) -> dict[str, float]:
        """Write each held-out pair's log-probabilities and return the means of what follows from them."""
        rows: list[dict[str, float]] = []
        for was, now, merged in zip(before, after, saved, strict=True):
            reward = self.beta * (now.margin - was.margin)
            rows.append(
                {
                    "chosen_before": was.chosen,
                    "rejected_before": was.rejected,
                    "chosen_after": now.chosen,
                    "rejected_after": now.rejected,
                    "margin_before": was.margin,
                    "margin_after": now.margin,
                    "margin_merged": merged.margin,
                    "reward_margin": reward,
                    "loss_before": _loss(0.0),
                    "loss_after": _loss(reward),
                }
            )
        from statistics import fmean

        write_heldout(path, rows)
        means = ("margin_before", "margin_after", "margin_merged", "reward_margin", "loss_before", "loss_after")
        return {
            "heldout_rows": len(rows),
            "heldout_dropped": sum(unseen.dropped.values()),
            **{f"heldout_{name}": fmean(row[name] for row in rows) for name in means},
            "heldout_accuracy": fmean(row["reward_margin"] > 0 for row in rows),
        }


def _loss(reward_margin: float) -> float:
    """Return -log sigmoid of the margin."""
    return max(-reward_margin, 0.0) + log1p(exp(-abs(reward_margin)))


def _parted(encoded: Encoded) -> tuple[list[int], list[int]]:
    """Return the ids up to the last answer, and those of the answer; what a template writes after it is left out."""
    end = len(encoded.ids)
    while not encoded.assistant[end - 1]:
        end -= 1
    start = end
    while encoded.assistant[start - 1]:
        start -= 1
    return encoded.ids[:start], encoded.ids[start:end]


def _answers(model: PreTrainedModel, pairs: Sequence[Preference]) -> list[Answers]:
    chosen = log_likelihoods(model, [p.example(p.chosen) for p in pairs])
    rejected = log_likelihoods(model, [p.example(p.rejected) for p in pairs])
    return [Answers(*both) for both in zip(chosen, rejected, strict=True)]


def _counts(data: Prepared) -> dict[str, float]:
    return {
        "rows_used": len(data.pairs),
        "rows_dropped": sum(data.dropped.values()),
        **{f"dropped_{reason}": count for reason, count in sorted(data.dropped.items())},
        "rows_truncated": sum(p.cut > 0 for p in data.pairs),
        "tokens_truncated": sum(p.cut for p in data.pairs),
    }


@hookimpl
def bezoar_stages() -> list[type[Stage]]:
    """Register the stage."""
    return [Dpo]
