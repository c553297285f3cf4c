"""Kahneman-Tversky Optimization (KTO, arXiv 2402.01306): learn from answers that are good or bad, each by itself.

Where people said of one answer that it will do, and not which of two is the better, there are no pairs for DPO. Pairs
serve too: the chosen is a good answer, the rejected a bad one. Not a part of OpenBezoar's recipe.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
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
    Json,
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
from bezoar_plugins.stages.batches import longest
from bezoar_plugins.stages.checkpoints import require_space, train
from bezoar_plugins.stages.conversations import conversation
from bezoar_plugins.stages.dropped import Lost, lost_counts, over, require_whole
from bezoar_plugins.stages.hh import Unusable, pair
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
from bezoar_plugins.stages.seen import seen_answer
from bezoar_plugins.stages.sharding import require_shardable, sums_in_fp32, unsharded
from bezoar_plugins.stages.tokenizer_check import require_same_tokens
from bezoar_plugins.stages.watching import Figures, Reporter, gradients_flow, reporters, reports_in

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import KTOTrainer

_RATES: Mapping[Literal["lora", "full"], float] = {"lora": 5e-6, "full": 5e-7}
"""The default rates, DPO's: for all weights TRL's documentation advises against more than 1e-6 at a beta of 0.1."""

_ASKED = ("ref_logps", "ref_KL_logps")
"""TRL's columns of what the reference says."""

_SHOWN = 128
"""Training answers on which the divergence is measured where no rows are held out."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An answer as token ids, and whether it is desirable; `length` is its tokens before it was cut, with the prompt.

    `row` is the number of the row it was read from: two answers of one pair share it.
    """

    given: Answer
    desirable: bool
    row: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Answers as token ids, and what was lost on the way: rows by reason."""

    answers: Sequence[Judged] = ()
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Kto:
    """Train a model towards desirable answers and away from undesirable ones, by a merged adapter or in every weight.

    A row is a pair of HH-RLHF's transcripts (`chosen` is desirable, `rejected` is not); or `prompt` (text, or a list of
    messages), `completion` and `label` (true or false); or a conversation as `sft` reads it, with such a `label` for
    its last answer. `batch_size` times `gradient_accumulation` answers make one optimizer step; `epochs` passes are cut
    off at `max_steps`, and at most a tenth of the steps warm up. The reference is the start model, quantised as it
    trains: the model without its adapter, or with `tune: full` its log-probabilities from before the first step.
    """

    name: ClassVar[str] = "kto"
    version: ClassVar[int] = 2
    requires: ClassVar[Mapping[str, str]] = REQUIRES

    model: ModelRef
    """Where it starts, and the reference."""
    data: DatasetRef
    """Pairs, or answers with a `label`. They are shuffled once, and every pass has the same batches."""
    heldout: DatasetRef | None = None
    """Rows of the same kinds, on which log-probabilities and divergence are measured before and after."""
    format: NonEmptyStr | None = None
    """The prompt format; the start model's unless named."""
    tune: Literal["lora", "full"] = "lora"
    """Train an adapter, or every weight (in fp32, with bf16 products on a GPU)."""
    quantise: Quantise | None = None
    """Train the adapter on 4-bit weights. With `tune: full` there is nothing to quantise."""
    precision: Precision = "auto"
    """What matrices are multiplied in; `auto` is bf16 on a GPU that has it, fp16 on an older one, fp32 on a CPU."""
    beta: PositiveFloat = 0.1
    """How dear it is to leave the reference: a higher one keeps closer. 0.1 is usual."""
    desirable_weight: PositiveFloat = 1.0
    """Counts desirable answers so many times. The method's paper wants this weight times their number to be 1 to 4/3 of
    the same for undesirable ones: set it, or the other, where there are more of one kind."""
    undesirable_weight: PositiveFloat = 1.0
    """Counts undesirable answers so many times."""
    max_length: PositiveInt = 512
    """Tokens of prompt and answer together. A prompt that leaves no room for an answer is dropped, and answers are
    cut."""
    max_truncated: Fraction = 0.5
    """The share of answers that may be cut; more is an error, which says what length most of them would need."""
    epochs: PositiveInt = 1
    """Passes over the rows."""
    max_steps: PositiveInt | None = None
    """Stop after so many optimizer steps."""
    batch_size: PositiveInt = 8
    """Answers at once, two or more: the divergence in the loss is estimated by giving each prompt its neighbour's
    answer."""
    gradient_accumulation: PositiveInt = 4
    """Batches to an optimizer step."""
    learning_rate: NonNegativeFloat | None = None
    """5e-7 for `tune: full`, 5e-6 for an adapter, where not set."""
    warmup_steps: NonNegativeInt = 100
    """Steps in which the rate rises; then it falls to nothing, in a line."""
    optimizer: Literal["auto", "adamw_torch", "paged_adamw_8bit", "rmsprop"] = "auto"
    """`auto` is paged 8-bit AdamW on a GPU, plain AdamW on a CPU."""
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
        if self.batch_size < 2:
            raise ValueError("`batch_size` is 2 or more: the loss compares each answer with its neighbour's")

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

        A margin is the mean log-probability (natural log) of the desirable answers less that of the undesirable ones;
        of pairs it is the mean of theirs. `heldout_accuracy` is the share of answers that moved their way, `heldout_kl`
        the divergence from the reference in nats a token of these answers, or where none are held out `train_kl` of
        some trained on.
        """
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        in_precision(self.precision)
        require_shardable(self.quantise, self.optimizer)
        require_fit(start)
        tokenizer = load_tokenizer(start.path)
        format = get_format(self.format or start.format, tokenizer)
        require_memory(start.path, on_gpu())
        require_same_tokens(start, tokenizer, format, rows, _turns)
        data = self._prepare(rows, format, tokenizer, out / "dropped.parquet")
        unseen = self._prepare(heldout, format, tokenizer, out / "heldout_dropped.parquet") if heldout else Prepared()
        whole = [judged.length for judged in data.answers]
        require_whole(rows.name, "answers", whole, self.max_length, self.max_truncated)
        # TRL goes through the rows in their order, since its batches are paired with their neighbours' answers
        learned = Random(seed).sample(data.answers, len(data.answers))
        plan = schedule(
            len(learned),
            self.batch_size,
            self.gradient_accumulation,
            self.epochs,
            self.max_steps,
            self.warmup_steps,
            "answers",
        )

        model = load(start.path, self.quantise, self.precision, full=self.tune == "full")
        if self.tune == "lora":
            require_targets(model, self.lora_targets)
        lengths = [len(judged.given.example.ids) for judged in learned]
        figures = Figures(log, out / "metrics.jsonl", max(self.desirable_weight, self.undesirable_weight))
        with reports_in(work):
            trainer = self._trainer(model, tokenizer, learned, plan, figures, work, seed)
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
        shown = [judged.given for judged in unseen.answers or learned[:_SHOWN]]
        reference = None if self.tune == "lora" else load(start.path, None, self.precision, full=True)
        said = beside_reference(model, reference, shown)
        kl = sum(one.divergence for one in said) / sum(len(given.answer) for given in shown)
        del reference

        metrics = _counts(data, self.max_length) | _last_steps(out / "metrics.jsonl")
        metrics |= {"steps": plan.steps, "warmup_steps": plan.warmup, "learning_rate": self.rate}
        metrics |= {"trainable_parameters": trained, "heldout_kl" if unseen.answers else "train_kl": kl}
        if self.tune == "lora":
            save_adapter(model, out / "adapter")
            del model
            gc.collect()
            probes = [given.example.ids for given in shown[:2]]
            model, metrics["merge_gap"] = merge(start.path, out / "adapter", probes, on_gpu())
            if start.adapters is not None:
                concatenate(start.base, [*(a.path for a in start.adapters), out / "adapter"], out / "chain")
        save_model(model, load_tokenizer(start.path), format, self.save_dtype, out / "model")
        if unseen.answers:
            merged = log_likelihoods(model, [given.example for given in shown])
            metrics |= _heldout(unseen, said, merged, out / "heldout.jsonl")
        return metrics

    rebuild = staticmethod(rebuild)

    def memory(self, config: Path, gpu: bool) -> Memory:
        """Return what training takes at `batch_size` answers of `max_length` tokens."""
        estimate = needed(
            config,
            gpu,
            rows=self.batch_size,
            length=self.max_length,
            tune=self.tune,
            quantise=self.quantise,
            precision=self.precision,
            rank=self.lora_rank,
            targets=self.lora_targets,
            dropout=0.0,
            optimizer=self.optimizer,
        )
        return replace(estimate, compared=estimate.compared and not gpu)  # no GPU's peaks were held beside it yet

    def seen(self, row: Row, where: str, format: PromptFormat, tokenizer: Tokenizer) -> Sequence[Seen]:
        """Return the row's answers as they are trained on."""
        read = _judged(row, where)
        if isinstance(read, Unusable):
            raise DataError(f"the row is dropped: {read.reason}", where=where)
        titles = {True: "desirable", False: "undesirable"}
        return [
            seen_answer(turns, format, tokenizer, length=self.max_length, title=titles[desirable])
            for turns, desirable in read
        ]

    def _prepare(
        self, rows: RowsDir, format: PromptFormat, tokenizer: PreTrainedTokenizerBase, dropped: Path
    ) -> Prepared:
        """Return the rows' answers as token ids cut to `max_length`, and write what cannot be used to `dropped`."""
        answers: list[Judged] = []
        lost = Lost(rows.name)
        number = 0
        for number, row in enumerate(read_parquet(rows.path), start=1):
            read = _judged(row, f"{rows.name}:{number}")
            made = read if isinstance(read, Unusable) else self._answers(read, number, format, tokenizer)
            if isinstance(made, Unusable):
                lost.add(row, made)
            else:
                answers += made
        return Prepared(answers=answers, rows=number - len(lost.rows), dropped=lost.write(dropped, len(answers)))

    def _answers(
        self,
        read: Sequence[tuple[Sequence[Message], bool]],
        row: int,
        format: PromptFormat,
        tokenizer: PreTrainedTokenizerBase,
    ) -> list[Judged] | Unusable:
        made: list[Judged] = []
        for turns, desirable in read:
            whole = parted(encode(format, turns, tokenizer))
            room = self.max_length - len(whole.prompt)
            if room <= 0:
                return Unusable("prompt_too_long", f"the answer lies behind the first {self.max_length} tokens")
            length = len(whole.prompt) + len(whole.answer)
            given = Answer(whole.prompt, whole.answer[:room])
            made.append(Judged(given=given, desirable=desirable, row=row, length=length))
        if len(made) > 1 and made[0].given == made[1].given:
            return Unusable("same_answers", f"the answers do not differ within {self.max_length} tokens")
        return made

    def _trainer(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        learned: Sequence[Judged],
        plan: Schedule,
        figures: Figures,
        work: Path,
        seed: int,
    ) -> KTOTrainer:
        """Return TRL's trainer over our token ids; the reference is its model, without adapter or before a step."""
        from datasets import Dataset, disable_progress_bars
        from peft import LoraConfig
        from trl import KTOConfig, KTOTrainer

        class Tokenised(KTOTrainer):  # type: ignore[misc]  # trl is untyped here
            def _prepare_dataset(self, dataset: Dataset, *unused: object) -> Dataset:
                """Return the ids as they are: TRL would read text and tokenise prompt and answer as one."""
                return dataset

            def _precompute_ref_logps(self, dataset: Dataset, *unused: object) -> Dataset:
                """Put off asking the reference until it has been seen that a step fits into memory."""
                return dataset

            def _compute_loss(self, *given: object) -> object:
                """Return TRL's loss with the divergence of this batch alone, as one process has it.

                TRL gathers that before anything else, and would take the mean over the processes.
                """

                def own(divergence: torch.Tensor) -> torch.Tensor:
                    del self.accelerator.gather_for_metrics  # what follows is gathered as ever
                    return divergence

                self.accelerator.gather_for_metrics = own
                return super()._compute_loss(*given)

            def asked(self) -> Dataset:
                """Return the rows with what the reference says: the model, until it steps or without its adapter."""
                keep_reference(self.train_dataset, work)
                size = self.args.per_device_train_batch_size
                return super()._precompute_ref_logps(self.train_dataset, "train", size)

        disable_progress_bars()
        trainer = Tokenised(
            model=model,
            args=KTOConfig(
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
                desirable_weight=self.desirable_weight,
                undesirable_weight=self.undesirable_weight,
                # all weights: else TRL holds a second model. an adapter: a second pass would ask the reference again
                precompute_ref_log_probs=self.tune == "full" or plan.steps > plan.per_epoch,
            ),
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt_ids": judged.given.prompt,
                        "completion_ids": judged.given.answer,
                        "KL_completion_ids": other,
                        "label": judged.desirable,
                    }
                    for judged, other in zip(learned, _neighbours(learned, self.batch_size), strict=True)
                ]
            ),
            processing_class=tokenizer,
            # no dropout: KTO compares log-probabilities, and TRL would turn it off
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


def _judged(row: Row, where: str) -> Sequence[tuple[Sequence[Message], bool]] | Unusable:
    """Return a row's conversations, each with whether its last answer is desirable."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        read = pair(chosen, rejected)
        if isinstance(read, Unusable):
            return read
        answers = ((read.chosen, True), (read.rejected, False))
        return [((*read.prompt, Message("assistant", answer)), desirable) for answer, desirable in answers]
    label = row.get("label")
    if not isinstance(label, bool):
        raise DataError(
            "row has neither `chosen` and `rejected` nor a `label` of true or false",
            where=where,
            tip="`label: true` says that the answer is desirable",
        )
    if row.get("prompt") is None or row.get("completion") is None:
        turns = conversation(row, where)
    else:
        turns = conversation({"messages": [*_asked(row), {"role": "assistant", "content": row["completion"]}]}, where)
    return turns if isinstance(turns, Unusable) else [(turns, label)]


def _turns(row: Row, where: str) -> Sequence[Sequence[Message]]:
    read = _judged(row, where)
    return () if isinstance(read, Unusable) else [turns for turns, _ in read]


def _asked(row: Row) -> list[Json]:
    prompt = row["prompt"]
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]


def _neighbours(learned: Sequence[Judged], batch: int) -> Iterator[list[int]]:
    """Yield for each answer another of its batch, by which TRL estimates the divergence; the one before, if alone."""
    for place in range(len(learned)):
        first = place - place % batch
        last = min(first + batch, len(learned)) - 1
        other = place - 1 if place > first or first == last else last
        yield learned[other].given.answer


def _counts(data: Prepared, longest: int) -> dict[str, float]:
    return {
        "rows_used": data.rows,
        **lost_counts(data.dropped),
        "answers_desirable": sum(judged.desirable for judged in data.answers),
        "answers_undesirable": sum(not judged.desirable for judged in data.answers),
        "rows_truncated": len({judged.row for judged in data.answers if judged.length > longest}),
        "tokens_truncated": sum(over([judged.length for judged in data.answers], longest)),
    }


def _last_steps(path: Path) -> dict[str, float]:
    """Return the mean margin of the rewards in the last tenth of the steps, where TRL logged one."""
    told = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    margins = [figures["rewards/margins"] for figures in told if "rewards/margins" in figures]
    return {"train_margin": fmean(margins[-max(len(margins) // 10, 1) :])} if margins else {}


def _heldout(unseen: Prepared, said: Sequence[Said], merged: Sequence[float], path: Path) -> dict[str, float]:
    """Write each held-out answer's log-probabilities and return the means of what follows from them."""
    kinds = {"before": [one.before for one in said], "after": [one.now for one in said], "merged": merged}
    write_heldout(
        path,
        [
            {
                "pair": judged.row - 1,
                "desirable": judged.desirable,
                **{kind: values[place] for kind, values in kinds.items()},
            }
            for place, judged in enumerate(unseen.answers)
        ],
    )
    moved = [
        one.now > one.before if judged.desirable else one.now < one.before
        for judged, one in zip(unseen.answers, said, strict=True)
    ]
    figures: dict[str, float] = {
        "heldout_rows": unseen.rows,
        "heldout_dropped": sum(unseen.dropped.values()),
        "heldout_accuracy": fmean(moved),
    }
    if len({judged.desirable for judged in unseen.answers}) > 1:
        figures |= {f"heldout_margin_{kind}": _margin(unseen.answers, values) for kind, values in kinds.items()}
    return figures


def _margin(answers: Sequence[Judged], said: Sequence[float]) -> float:
    good = [value for judged, value in zip(answers, said, strict=True) if judged.desirable]
    bad = [value for judged, value in zip(answers, said, strict=True) if not judged.desirable]
    return fmean(good) - fmean(bad)


@hookimpl
def bezoar_stages() -> list[type[Stage]]:
    """Register the stage."""
    return [Kto]
