"""How long does `sft` take beside a plain TRL script; what do batches of like length save? `make bench-training`.

On a CPU, with a small Llama of random weights, LoRA of rank 16 on q, k and v in fp32 and AdamW; both contestants have
the same model, rows (as token ids), rate and batch, in turn, five times; a ratio is one of medians.

`wall_vs_trl` is of rows of one length, so that both do the same work: the time from the end of the first optimizer step
to the end of the last. `script_vs_trl` is of the whole: the script loads, trains and saves an adapter; the stage
also reads and formats rows, rehearses the longest batch, writes a checkpoint, merges, checks that and saves the model.
`mixed_lengths_speedup` is of the same number of passes over rows whose lengths spread as instructions' do
(log-normal), the script in TRL's default order; `final_loss_ratio` is the stage's held-out loss after it over the
script's, and both began at `loss_before`.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from results import write
from training_gpu import LLAMA, words

from bezoar_core.conversion import from_random
from bezoar_core.parquet import write_rows
from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Message, ModelDir, Row, RowsDir
from bezoar_core.store import write_json
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.stages.likelihood import Example, log_likelihoods, loss_per_token
from bezoar_plugins.stages.sft import Sft

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 4096,
    "tie_word_embeddings": True,
}
BATCH, ACCUMULATION, RATE, LENGTH = 8, 2, 3e-3, 256
PACKAGES = ["bezoar", "torch", "transformers", "trl", "peft", "accelerate"]
VOCABULARY = words(3000)


@dataclass
class Run:
    """One contestant's training."""

    contestant: str
    whole: float = 0.0
    """Seconds from the start of the script or stage to its end."""
    ends: list[float] = field(default_factory=list)
    padding: float = 0.0
    loss: float = 0.0

    @property
    def loop(self) -> float:
        """Return the seconds from the end of the first optimizer step to the end of the last."""
        return self.ends[-1] - self.ends[0]


def start_model(folder: Path) -> ModelDir:
    folder.mkdir()
    (folder / "tokenizer.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    write_json(folder / "config.json", {**LLAMA, **SHAPE})
    from_random(folder / "config.json", folder / "model")
    return ModelDir(name="small", path=folder / "model", format="hh", content="small", base=folder / "model")


def rows(count: int, mixed: bool, seed: int) -> list[Row]:
    """Return rows whose text can be learned: each word follows from the one before, nine times in ten."""
    draw = Random(seed)
    made: list[Row] = []
    for _ in range(count):
        length = max(int(draw.lognormvariate(2.9, 0.9)), 6) if mixed else LENGTH
        place = draw.randrange(len(VOCABULARY))
        text: list[str] = []
        for _ in range(length):
            text.append(VOCABULARY[place])
            place = (place * 7 + 11) % len(VOCABULARY) if draw.random() < 0.9 else draw.randrange(len(VOCABULARY))
        made.append({"instruction": " ".join(text[:4]), "response": " ".join(text[4:])})
    return made


def ids(start: ModelDir, given: Sequence[Row]) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(start.path)
    form = get_format(start.format, tokenizer)
    turns = [(Message("user", str(r["instruction"])), Message("assistant", str(r["response"]))) for r in given]
    return [encode(form, turn, tokenizer).ids[:LENGTH] for turn in turns]


def stage(start: ModelDir, given: Sequence[Row], unseen: Sequence[Row], epochs: int, folder: Path) -> Run:
    run = Run("sft")
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir()
    dirs: dict[str, RowsDir] = {}
    for name, some in (("rows", given), ("unseen", unseen)):
        write_rows(folder / f"{name}.parquet", some)
        dirs[name] = RowsDir(name=name, path=folder / f"{name}.parquet", content=name, count=len(some))

    def log(step: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            run.ends.append(time.perf_counter())

    sft = Sft(
        model=ModelRef("small"),
        data=DatasetRef("rows"),
        heldout=DatasetRef("unseen"),
        max_length=LENGTH,
        max_truncated=1.0,
        epochs=epochs,
        batch_size=BATCH,
        gradient_accumulation=ACCUMULATION,
        learning_rate=RATE,
        warmup_steps=0,
        validation_share=0.0,
        lora_dropout=0.0,
    )
    began = time.perf_counter()
    metrics = sft.train(start, dirs["rows"], dirs["unseen"], out, work, log, 42)
    run.whole = time.perf_counter() - began
    run.padding, run.loss = metrics["padding_share"], metrics["heldout_loss_after"]
    return run


def script(start: ModelDir, given: Sequence[Row], unseen: Sequence[Row], epochs: int, folder: Path) -> Run:
    """Run what a user of TRL alone would write for the same training."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    run = Run("TRL")

    class Ends(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_log(self, *args: object, logs: Mapping[str, float], **unused: object) -> None:
            if "loss" in logs:
                run.ends.append(time.perf_counter())

    learned, measured = ids(start, given), ids(start, unseen)
    began = time.perf_counter()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(start.path),
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATION,
            num_train_epochs=epochs,
            learning_rate=RATE,
            optim="adamw_torch",
            seed=42,
            bf16=False,
            activation_checkpointing=False,
            max_length=LENGTH,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"input_ids": line} for line in learned]),
        processing_class=AutoTokenizer.from_pretrained(start.path),
        peft_config=LoraConfig(
            r=16,
            lora_alpha=16,
            target_modules=["q_proj", "k_proj", "v_proj"],
            bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[Ends()],
    )
    padded = Counted(trainer.data_collator)
    trainer.data_collator = padded
    trainer.train()
    trainer.save_model(str(folder / "adapter"))
    run.whole = time.perf_counter() - began
    run.padding = 1 - padded.tokens / padded.places
    examples = [Example(line, [True] * len(line)) for line in measured]
    run.loss = loss_per_token(log_likelihoods(trainer.model, examples), examples)
    return run


@dataclass
class Counted:
    """A collator that counts its tokens, and the places that it pads them to."""

    collate: object
    tokens: int = 0
    places: int = 0

    def __call__(self, features: list[dict[str, list[int]]]) -> object:
        batch = self.collate(features)  # type: ignore[operator]  # TRL's
        self.tokens += int(batch["attention_mask"].sum())
        self.places += batch["attention_mask"].numel()
        return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=288, help="rows of mixed lengths; a third as many of one length")
    asked = parser.parse_args()
    found: list[dict[str, object]] = []
    medians: dict[tuple[str, str], Run] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = start_model(folder / "start")
        unseen = rows(64, True, 3)
        for lengths, count, epochs in (("one", asked.rows // 3 // 16 * 16, 1), ("mixed", asked.rows, 1)):
            given = rows(count, lengths == "mixed", 1)
            runs: list[Run] = []
            for number in range(asked.rounds):
                for contest in (stage, script) if number % 2 else (script, stage):
                    run = contest(start, given, unseen, epochs, folder / f"{lengths}-{number}-{contest.__name__}")
                    gc.collect()
                    runs.append(run)
                    row = {
                        "lengths": lengths,
                        "contestant": run.contestant,
                        "loop_s": run.loop,
                        "whole_s": run.whole,
                        "padding_share": run.padding,
                        "heldout_loss": run.loss,
                        "steps": len(run.ends),
                    }
                    found.append(row)
                    print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
            for contestant in ("sft", "TRL"):
                own = [run for run in runs if run.contestant == contestant]
                middle = Run(contestant, median(run.whole for run in own), [0.0, median(run.loop for run in own)])
                middle.padding, middle.loss = median(r.padding for r in own), median(r.loss for r in own)
                medians[lengths, contestant] = middle
    ours, theirs = (medians["one", contestant] for contestant in ("sft", "TRL"))
    sorted_, random = (medians["mixed", contestant] for contestant in ("sft", "TRL"))
    ratios = {
        "wall_vs_trl": ours.loop / theirs.loop,
        "script_vs_trl": ours.whole / theirs.whole,
        "mixed_lengths_speedup": random.loop / sorted_.loop,
        "padding_share": sorted_.padding,
        "padding_share_trl": random.padding,
        "final_loss_ratio": sorted_.loss / random.loss,
    }
    print(f"written to {write('training', found, ratios, PACKAGES)}")


if __name__ == "__main__":
    main()
