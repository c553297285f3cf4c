"""Direct Preference Optimization (arXiv 2305.18290); the reference is the model it starts from.

OpenBezoar (arXiv 2404.12195) trained every weight for one epoch, its authors' script at a learning rate of 5e-7 with
RMSprop and 512 tokens; beta is unknown, and so are batch size and schedule. `tune: full` with `optimizer: rmsprop` is
that; we train an adapter unless told.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log1p
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from bezoar_core.errors import DataError
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Log, Stage
from bezoar_core.prompt_format import PromptFormat, Tokenizer, encode, get_format
from bezoar_core.records import Memory, Message, Metrics, ModelDir, Row, RowsDir, Seen
from bezoar_core.rows import read_parquet
from bezoar_core.types import (
    DatasetRef,
    Fraction,
    ModelRef,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
)
from bezoar_plugins.stages.answers import Answer, Said, beside_reference, parted
from bezoar_plugins.stages.arguments import arguments
from bezoar_plugins.stages.batches import ByLength, longest, padding_share
from bezoar_plugins.stages.checkpoints import require_space, train
from bezoar_plugins.stages.dropped import Lost, lost_counts, over, require_whole
from bezoar_plugins.stages.hh import Pair, Unusable, pair
from bezoar_plugins.stages.likelihood import log_likelihoods, write_heldout
from bezoar_plugins.stages.memory import needed, optimizer_bytes, require_memory
from bezoar_plugins.stages.merge import concatenate, merge, rebuild, require_fit, save_adapter
from bezoar_plugins.stages.model_folder import SaveDtype, load_tokenizer, save_model, weights_bytes
from bezoar_plugins.stages.quantised import (
    REQUIRES,
    Precision,
    Quantise,
    adapters_in_fp32,
    in_precision,
    load,
    on_gpu,
    require_targets,
)
from bezoar_plugins.stages.reference import keep_reference
from bezoar_plugins.stages.rehearsal import rehearse, short_of_memory
from bezoar_plugins.stages.schedule import Schedule, schedule
from bezoar_plugins.stages.seen import seen_pair
from bezoar_plugins.stages.sharding import require_shardable, sums_in_fp32, unsharded
from bezoar_plugins.stages.tokenizer_check import require_same_tokens
from bezoar_plugins.stages.watching import Figures, Reporter, gradients_flow, reporters, reports_in

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer


_RATES: Mapping[Literal["lora", "full"], float] = {"lora": 5e-6, "full": 5e-7}
"""The default rates: the authors' script's for all weights, and ten times that for an adapter, whose factors begin at
nothing and are few."""

_ASKED = ("ref_chosen_logps", "ref_rejected_logps")
"""TRL's columns of what the reference says."""

_SHOWN = 64
"""Training pairs on which the divergence is measured where no rows are held out."""


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A pair as token ids; `lengths` are those of its answers before they were cut, with the prompt."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    lengths: tuple[int, int]

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """Return the chosen and the rejected answer to the prompt."""
        return Answer(self.prompt, self.chosen), Answer(self.prompt, self.rejected)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows as token ids, and what was lost on the way."""

    pairs: Sequence[Preference] = ()
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Dpo:
    """Train a model to prefer the chosen of two answers, by an adapter that is merged or in every weight.

    `batch_size` times `gradient_accumulation` pairs make one optimizer step; `epochs` passes are cut off at
    `max_steps`, and at most a tenth of the steps warm up. The reference is the start model, quantised as it trains:
    the model without its adapter, or with `tune: full` its log-probabilities from before the first step, so that there
    is one model in memory.
    """

    name: ClassVar[str] = "dpo"
    version: ClassVar[int] = 2
    requires: ClassVar[Mapping[str, str]] = REQUIRES
    columns: ClassVar[frozenset[str]] = frozenset({"chosen", "rejected"})

    model: ModelRef
    """Where it starts, and the reference."""
    data: DatasetRef
    """HH-RLHF's transcripts, `chosen` and `rejected`, that differ in their last answer."""
    heldout: DatasetRef | None = None
    """Pairs on which margin, accuracy and divergence are measured before and after."""
    format: NonEmptyStr | None = None
    """The prompt format; the start model's unless named."""
    tune: Literal["lora", "full"] = "lora"
    """Train an adapter, or every weight as the paper did (in fp32, with bf16 products on a GPU)."""
    quantise: Quantise | None = None
    """Train the adapter on 4-bit weights. With `tune: full` there is nothing to quantise."""
    precision: Precision = "auto"
    """What matrices are multiplied in; `auto` is bf16 on a GPU that has it, fp16 on an older one, fp32 on a CPU."""
    beta: PositiveFloat = 0.1
    """How dear it is to leave the reference: a higher one keeps closer. The paper's is unknown; 0.1 is usual. For `ipo`
    it is that loss's tau."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = "sigmoid"
    """DPO's own; IPO's (arXiv 2310.12036, on log-probabilities a token); SLiC's hinge (arXiv 2305.10425); or `robust`
    (arXiv 2403.00409), for labels of which a share is wrong."""
    label_smoothing: Fraction = 0.0
    """The share of labels taken to be wrong, under a half: `robust` needs it, the others know none."""
    max_length: PositiveInt = 512
    """Tokens of prompt and answer together, as in the paper's script. A pair whose prompt leaves no room for an answer
    is dropped, and answers are cut."""
    max_truncated: Fraction = 0.5
    """The share of pairs that may be cut; more is an error, which says what length most of them would need."""
    epochs: PositiveInt = 1
    """Passes over the rows; the paper made one."""
    max_steps: PositiveInt | None = None
    """Stop after so many optimizer steps."""
    batch_size: PositiveInt = 4
    """Pairs at once, of like length. The paper's batch is unknown; ours is 32, as 4 times 8."""
    gradient_accumulation: PositiveInt = 8
    """Batches to an optimizer step."""
    learning_rate: NonNegativeFloat | None = None
    """5e-7 for `tune: full`, as in the paper's script, and 5e-6 for an adapter, where not set."""
    warmup_steps: NonNegativeInt = 100
    """Steps in which the rate rises; then it falls to nothing, in a line."""
    optimizer: Literal["auto", "adamw_torch", "paged_adamw_8bit", "rmsprop"] = "auto"
    """`auto` is paged 8-bit AdamW on a GPU, plain AdamW on a CPU. The paper's script had `rmsprop`."""
    lora_rank: PositiveInt = 16
    """Rank of the adapter, where there is one."""
    lora_alpha: PositiveInt = 16
    """The adapter counts `lora_alpha / lora_rank` times."""
    lora_targets: tuple[NonEmptyStr, ...] = ("q_proj", "k_proj", "v_proj")
    """Layers that get an adapter."""
    save_dtype: SaveDtype = "float32"
    """How the weights are written. What full tuning changes at its rate may be too little for bf16 to hold."""
    save_every: Annotated[PositiveInt, Operational] = 100
    """Optimizer steps between two checkpoints; the last step has one too."""
    report_to: Annotated[tuple[Reporter, ...], Operational] = ()
    """Where else the figures go, each by its own settings; TensorBoard's files lie in the step's work folder."""

    def __post_init__(self) -> None:
        if self.tune == "full" and self.quantise is not None:
            raise ValueError("`quantise` is for adapters: `tune: full` trains the weights themselves")
        if self.loss == "robust" and not 0 < self.label_smoothing < 0.5:
            raise ValueError("`loss: robust` needs a `label_smoothing` above 0 and under 0.5")
        if self.loss != "robust" and self.label_smoothing:
            raise ValueError(f"`label_smoothing` is for `loss: robust`: `{self.loss}` knows none")

    @property
    def rate(self) -> float:
        """Return the learning rate: what was set, or the default for what is trained."""
        return _RATES[self.tune] if self.learning_rate is None else self.learning_rate

    @property
    def also_requires(self) -> Mapping[str, str]:
        """Return the packages that `report_to` needs."""
        return reporters(self.report_to)

    def train(
        self, start: ModelDir, rows: RowsDir, heldout: RowsDir | None, out: Path, work: Path, log: Log, seed: int
    ) -> Metrics:
        """Write `model/`, `heldout.jsonl` and `dropped.parquet` to `out`; for LoRA `adapter/` and the chain's `chain/`.

        A margin is the log-probability (natural log) of the chosen answer less that of the rejected one. `heldout_kl`
        is the divergence from the reference in nats a token of these answers, or where none are held out `train_kl` of
        some trained on. `train_margin` and `train_accuracy` are of the rewards in the last tenth of the steps.
        """
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        in_precision(self.precision)
        require_shardable(self.quantise, self.optimizer)
        require_fit(start)
        tokenizer = load_tokenizer(start.path)
        format = get_format(self.format or start.format, tokenizer)
        require_memory(start.path, on_gpu())
        require_same_tokens(start, tokenizer, format, rows)
        data = self._prepare(rows, format, tokenizer, out / "dropped.parquet")
        unseen = self._prepare(heldout, format, tokenizer, out / "heldout_dropped.parquet") if heldout else Prepared()
        whole = [max(p.lengths) for p in data.pairs]
        require_whole(rows.name, "pairs", whole, self.max_length, self.max_truncated)
        plan = schedule(
            len(data.pairs),
            self.batch_size,
            self.gradient_accumulation,
            self.epochs,
            self.max_steps,
            self.warmup_steps,
            "pairs",
        )

        model = load(start.path, self.quantise, self.precision, full=self.tune == "full")
        if self.tune == "lora":
            require_targets(model, self.lora_targets)
        lengths = [len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in data.pairs]
        figures = Figures(log, out / "metrics.jsonl", self._loss(data.pairs[0], 0.0, 0.0))
        with reports_in(work):
            trainer = self._trainer(model, tokenizer, data.pairs, lengths, plan, figures, work, seed)
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        require_space(
            out,
            work,
            trainer.model,
            optimizer_bytes(self.optimizer, on_gpu()),
            weights_bytes(start.path, self.save_dtype),
        )
        unasked = dict.fromkeys(_ASKED, 0.0) if trainer.precompute_ref_logps else {}
        rehearse(trainer, [{**trainer.train_dataset[n], **unasked} for n in longest(lengths, self.batch_size)])
        with short_of_memory():
            if unasked:
                trainer.train_dataset = trainer.asked()
            train(trainer, (figures,))
        # bf16 products are for training: before and after are measured alike
        model = unsharded(trainer, lambda: load(start.path, None, self.precision, full=self.tune == "full"))
        if model is None:
            return {}
        model.zero_grad()
        del trainer  # and the optimizer with it, before there is a second model
        gc.collect()
        shown = unseen.pairs or data.pairs[:_SHOWN]
        answers = [answer for p in shown for answer in p.answers]
        reference = None if self.tune == "lora" else load(start.path, None, self.precision, full=True)
        said = beside_reference(model, reference, answers)
        kl = sum(one.divergence for one in said) / sum(len(answer.answer) for answer in answers)
        del reference

        metrics = _counts(data, self.max_length) | _last_steps(out / "metrics.jsonl")
        metrics |= {"steps": plan.steps, "warmup_steps": plan.warmup, "learning_rate": self.rate}
        metrics |= {"padding_share": padding_share(lengths, self.batch_size, seed)}
        metrics |= {"trainable_parameters": trained, "heldout_kl" if unseen.pairs else "train_kl": kl}
        if self.tune == "lora":
            save_adapter(model, out / "adapter")
            del model
            gc.collect()
            probes = [p.prompt + p.chosen for p in shown[:2]]
            model, metrics["merge_gap"] = merge(start.path, out / "adapter", probes, on_gpu())
            if start.adapters is not None:
                concatenate(start.base, [*(a.path for a in start.adapters), out / "adapter"], out / "chain")
        save_model(model, load_tokenizer(start.path), format, self.save_dtype, out / "model")
        if unseen.pairs:
            merged = log_likelihoods(model, [answer.example for answer in answers])
            metrics |= self._heldout(unseen, said, merged, out / "heldout.jsonl")
        return metrics

    rebuild = staticmethod(rebuild)

    def memory(self, config: Path, gpu: bool) -> Memory:
        """Return what training takes at `batch_size` pairs, each of two rows of `max_length` tokens."""
        return needed(
            config,
            gpu,
            rows=2 * self.batch_size,
            length=self.max_length,
            tune=self.tune,
            quantise=self.quantise,
            precision=self.precision,
            rank=self.lora_rank,
            targets=self.lora_targets,
            dropout=0.0,
            optimizer=self.optimizer,
        )

    def seen(self, row: Row, where: str, format: PromptFormat, tokenizer: Tokenizer) -> Sequence[Seen]:
        """Return the row as it is trained on."""
        return seen_pair(row, where, format, tokenizer, length=self.max_length)

    def _prepare(
        self, rows: RowsDir, format: PromptFormat, tokenizer: PreTrainedTokenizerBase, dropped: Path
    ) -> Prepared:
        """Return the rows as token ids cut to `max_length`, and write those that cannot be used to `dropped`."""
        pairs: list[Preference] = []
        lost = Lost(rows.name)
        for number, row in enumerate(read_parquet(rows.path), start=1):
            chosen, rejected = row.get("chosen"), row.get("rejected")
            if not isinstance(chosen, str) or not isinstance(rejected, str):
                raise DataError("`chosen` and `rejected` are not both transcripts", where=f"{rows.name}:{number}")
            read = pair(chosen, rejected)
            made = read if isinstance(read, Unusable) else self._preference(read, format, tokenizer)
            if isinstance(made, Unusable):
                lost.add(row, made)
            else:
                pairs.append(made)
        return Prepared(pairs=pairs, dropped=lost.write(dropped, len(pairs)))

    def _preference(
        self, read: Pair, format: PromptFormat, tokenizer: PreTrainedTokenizerBase
    ) -> Preference | Unusable:
        better = parted(encode(format, (*read.prompt, Message("assistant", read.chosen)), tokenizer))
        worse = parted(encode(format, (*read.prompt, Message("assistant", read.rejected)), tokenizer))
        prompt, chosen, rejected = better.prompt, better.answer, worse.answer
        room = self.max_length - len(prompt)
        if room <= 0:
            return Unusable("prompt_too_long", f"the answers lie behind the first {self.max_length} tokens")
        if chosen[:room] == rejected[:room]:
            return Unusable("same_answers", f"the answers do not differ within {self.max_length} tokens")
        lengths = (len(prompt) + len(chosen), len(prompt) + len(rejected))
        return Preference(prompt=prompt, chosen=chosen[:room], rejected=rejected[:room], lengths=lengths)

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Preference],
        lengths: Sequence[int],
        plan: Schedule,
        figures: Figures,
        work: Path,
        seed: int,
    ) -> DPOTrainer:
        """Return TRL's trainer over our token ids; the reference is its model, without adapter or before a step."""
        from datasets import Dataset, disable_progress_bars
        from peft import LoraConfig
        from trl import DPOConfig, DPOTrainer

        batch = self.batch_size

        class Tokenised(DPOTrainer):  # type: ignore[misc]  # trl is untyped here
            def _get_train_sampler(self, *unused: object) -> ByLength:
                return ByLength(lengths, batch, seed, lambda: self.state.global_step // plan.per_epoch)

            def _prepare_dataset(self, dataset: Dataset, *unused: object) -> Dataset:
                """Return the ids as they are: TRL would read text and tokenise prompt and answer as one."""
                return dataset

            def _precompute_ref_logps(self, dataset: Dataset, *unused: object) -> Dataset:
                """Put off asking the reference until it has been seen that a step fits into memory."""
                return dataset

            def asked(self) -> Dataset:
                """Return the rows with what the reference says: the model, until it steps or without its adapter."""
                keep_reference(self.train_dataset, work)
                size = self.args.per_device_train_batch_size
                return super()._precompute_ref_logps(self.train_dataset, "train", size)

        disable_progress_bars()
        trainer = Tokenised(
            model=model,
            args=DPOConfig(
                **arguments(
                    work,
                    plan,
                    seed,
                    rate=self.rate,
                    optimizer=self.optimizer,
                    precision=self.precision,
                    save_every=self.save_every,
                    report_to=self.report_to,
                ),
                beta=self.beta,
                loss_type=[self.loss],
                label_smoothing=self.label_smoothing,
                # all weights: else TRL holds a second model. an adapter: a second pass would ask the reference again
                precompute_ref_log_probs=self.tune == "full" or plan.steps > plan.per_epoch,
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
            )
            if self.tune == "lora"
            else None,
            callbacks=[figures.watch(), gradients_flow(first=True)],
        )
        adapters_in_fp32(trainer.model)
        sums_in_fp32(trainer)
        return trainer

    def _heldout(self, unseen: Prepared, said: Sequence[Said], merged: Sequence[float], path: Path) -> dict[str, float]:
        """Write each held-out pair's log-probabilities and return the means of what follows from them.

        `said` and `merged` have a pair's chosen answer and then its rejected one.
        """
        rows: list[dict[str, float]] = []
        for place, pair_ in enumerate(unseen.pairs):
            chosen, rejected = said[2 * place : 2 * place + 2]
            gained = chosen.now - chosen.before, rejected.now - rejected.before
            rows.append(
                {
                    "chosen_before": chosen.before,
                    "rejected_before": rejected.before,
                    "chosen_after": chosen.now,
                    "rejected_after": rejected.now,
                    "margin_before": chosen.before - rejected.before,
                    "margin_after": chosen.now - rejected.now,
                    "margin_merged": merged[2 * place] - merged[2 * place + 1],
                    "reward_margin": self.beta * (gained[0] - gained[1]),
                    "loss_before": self._loss(pair_, 0.0, 0.0),
                    "loss_after": self._loss(pair_, *gained),
                }
            )
        write_heldout(path, rows)
        means = ("margin_before", "margin_after", "margin_merged", "reward_margin", "loss_before", "loss_after")
        return {
            "heldout_rows": len(rows),
            "heldout_dropped": sum(unseen.dropped.values()),
            **{f"heldout_{name}": fmean(row[name] for row in rows) for name in means},
            "heldout_accuracy": fmean(row["reward_margin"] > 0 for row in rows),
        }

    def _loss(self, pair: Preference, chosen: float, rejected: float) -> float:
        """Return the loss of a pair whose answers' log-probabilities rose by so much over the reference's."""
        reward = self.beta * (chosen - rejected)
        if self.loss == "hinge":
            return max(1 - reward, 0.0)
        if self.loss == "ipo":
            return (chosen / len(pair.chosen) - rejected / len(pair.rejected) - 0.5 / self.beta) ** 2
        wrong = self.label_smoothing
        return ((1 - wrong) * _doubt(reward) - wrong * _doubt(-reward)) / (1 - 2 * wrong)


def _doubt(reward: float) -> float:
    """Return -log sigmoid."""
    return max(-reward, 0.0) + log1p(exp(-abs(reward)))


def _last_steps(path: Path) -> dict[str, float]:
    """Return the means of what TRL logged in the last tenth of the steps."""
    told = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    steps = [figures for figures in told if "rewards/margins" in figures]
    last = steps[-max(len(steps) // 10, 1) :]
    names = {"train_margin": "rewards/margins", "train_accuracy": "rewards/accuracies"}
    return {name: fmean(figures[logged] for figures in last) for name, logged in names.items()}


def _counts(data: Prepared, longest: int) -> dict[str, float]:
    return {
        "rows_used": len(data.pairs),
        **lost_counts(data.dropped),
        "rows_truncated": len(over([max(p.lengths) for p in data.pairs], longest)),
        "tokens_truncated": sum(over([length for p in data.pairs for length in p.lengths], longest)),
    }


@hookimpl
def bezoar_stages() -> list[type[Stage]]:
    """Register the stage."""
    return [Dpo]
