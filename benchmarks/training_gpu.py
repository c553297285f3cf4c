"""How fast do SFT, DPO and generation run on a GPU, and in how much of its memory? `make bench-gpu`.

Models of random weights, each row as long as the length allows, so that no token is padding. Training: 4-bit NF4 with
double quantisation, bf16, LoRA of rank 16 on q, k and v, paged 8-bit AdamW. The bare contestants are TRL's SFTTrainer
(its adapters are bf16, ours fp32: a third one has TRL's trainer on fp32) and transformers' `generate`, in the same
settings. A rate counts what is between the second optimizer step and the last, or all of a batch's reply tokens, the
median of three batches after a first; the whole stage also loads, checks, merges and saves.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean, median

import torch
from results import write

from bezoar_core.conversion import from_random
from bezoar_core.interfaces import Stage
from bezoar_core.parquet import write_rows
from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Message, ModelDir, Request, Row, RowsDir, Sampling
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.clients.transformers import Answering, Transformers
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.quantised import adapters_in_fp32
from bezoar_plugins.stages.sft import Sft

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
}
SHAPES: Mapping[str, Mapping[str, object]] = {
    # SmolLM2-135M, TinyLlama-1.1B and OpenLLaMA-3B
    "135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
    "3b": {
        "hidden_size": 3200,
        "intermediate_size": 8640,
        "num_hidden_layers": 26,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
}
SFT_LENGTH, DPO_LENGTH = 256, 512
SFT_BATCH, DPO_BATCH, ACCUMULATION = 8, 4, 4
WARM = 2
NEW_TOKENS = 64
ROUNDS = 3
PACKAGES = ["bezoar", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate"]
MODEL, DATA = ModelRef("start"), DatasetRef("rows")


@dataclass
class Steps:
    """When each optimizer step ended, and the most memory that had been allocated by then."""

    ends: list[float] = field(default_factory=list)
    peak: int = 0

    def end(self) -> None:
        torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.peak = torch.cuda.max_memory_allocated()

    def rate(self, tokens: int) -> float:
        """Return tokens a second, of `tokens` a step."""
        return tokens * (len(self.ends) - WARM) / (self.ends[-1] - self.ends[WARM - 1])


def words(count: int) -> list[str]:
    """Return words that no language has."""
    draw = Random(7)
    parts = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "ol", "um")]
    return ["".join(draw.choices(parts, k=draw.randint(2, 4))) for _ in range(count)]


def text(draw: Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


WORDS = words(60_000)


def start_model(shape: str, folder: Path) -> ModelDir:
    """Make a model of random weights, with a tokenizer of as many tokens."""
    folder.mkdir(parents=True)
    (folder / "tokenizer.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({**LLAMA, **SHAPES[shape]}), encoding="utf-8")
    path = folder / "model"
    from_random(folder / "config.json", path)
    return ModelDir(name=shape, path=path, format="openbezoar", content=shape, base=path)


def instructions(count: int) -> list[Row]:
    draw = Random(1)
    return [{"instruction": text(draw, 20), "response": text(draw, SFT_LENGTH)} for _ in range(count)]


def preferences(count: int) -> list[Row]:
    draw = Random(2)
    made: list[Row] = []
    for _ in range(count):
        asked = f"\n\nHuman: {text(draw, 40)}\n\nAssistant: "
        made.append({"chosen": asked + text(draw, DPO_LENGTH), "rejected": asked + text(draw, DPO_LENGTH)})
    return made


def stage_row(stage: Stage, rows: Sequence[Row], start: ModelDir, tokens: int, folder: Path) -> dict[str, object]:
    """Run a stage of ours."""
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir()
    write_rows(folder / "rows.parquet", rows)
    given = RowsDir(name="rows", path=folder / "rows.parquet", content="rows", count=len(rows))
    steps, losses = Steps(), list[float]()

    def log(step: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            losses.append(figures["loss"])
            steps.end()

    fresh_memory()
    began = time.perf_counter()
    metrics = stage.train(start, given, None, out, work, log, 42)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return {
        "tokens_per_s": steps.rate(tokens),
        "stage_s": seconds,
        "peak_training_gib": steps.peak / 2**30,
        "peak_stage_gib": torch.cuda.max_memory_allocated() / 2**30,
        "steps": metrics["steps"],
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "merge_gap": metrics["merge_gap"],
    }


def sft(start: ModelDir, count: int, batch: int, folder: Path) -> dict[str, object]:
    stage = Sft(
        model=MODEL,
        data=DATA,
        quantise="nf4",
        max_length=SFT_LENGTH,
        max_truncated=1.0,
        max_steps=count,
        batch_size=batch,
        gradient_accumulation=ACCUMULATION,
        warmup_steps=0,
        validation_share=0.0,
        save_dtype="bfloat16",
    )
    tokens = batch * ACCUMULATION * SFT_LENGTH
    return stage_row(stage, instructions(batch * ACCUMULATION * count), start, tokens, folder)


def dpo(start: ModelDir, count: int, folder: Path) -> dict[str, object]:
    stage = Dpo(
        model=MODEL,
        data=DATA,
        quantise="nf4",
        format="hh",
        max_length=DPO_LENGTH,
        max_truncated=1.0,
        max_steps=count,
        batch_size=DPO_BATCH,
        gradient_accumulation=ACCUMULATION,
        warmup_steps=0,
        save_dtype="bfloat16",
    )
    tokens = DPO_BATCH * ACCUMULATION * 2 * DPO_LENGTH
    return stage_row(stage, preferences(DPO_BATCH * ACCUMULATION * count), start, tokens, folder)


def bare_sft(start: ModelDir, count: int, fp32: bool, folder: Path) -> dict[str, object]:
    """Run TRL's trainer by itself on the same ids."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    steps = Steps()

    class Ends(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, *args: object, **unused: object) -> None:
            steps.end()

    tokenizer = AutoTokenizer.from_pretrained(start.path)
    form = get_format(start.format, tokenizer)
    rows = [
        encode(form, (Message("user", str(r["instruction"])), Message("assistant", str(r["response"]))), tokenizer).ids
        for r in instructions(SFT_BATCH * ACCUMULATION * count)
    ]
    fresh_memory()
    began = time.perf_counter()
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        start.path, quantization_config=four_bits, dtype=torch.bfloat16, device_map={"": 0}
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=SFT_BATCH,
            gradient_accumulation_steps=ACCUMULATION,
            max_steps=count,
            learning_rate=3e-4,
            optim="paged_adamw_8bit",
            bf16=True,
            activation_checkpointing=False,
            max_length=SFT_LENGTH,
            save_strategy="no",
            disable_tqdm=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in rows]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=16,
            lora_alpha=16,
            lora_dropout=0.05,
            target_modules=["q_proj", "k_proj", "v_proj"],
            bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[Ends()],
    )
    if fp32:
        adapters_in_fp32(trainer.model)
    trainer.train()
    return {
        "tokens_per_s": steps.rate(SFT_BATCH * ACCUMULATION * SFT_LENGTH),
        "stage_s": time.perf_counter() - began,
        "peak_training_gib": steps.peak / 2**30,
    }


def requests(count: int, first: int) -> list[Request]:
    draw = Random(first)
    sampling = Sampling(max_tokens=NEW_TOKENS, temperature=0.7)
    return [Request(messages=(Message("user", text(draw, 40)),), sampling=sampling) for _ in range(count)]


def replies(start: ModelDir, size: int, settings: Transformers) -> dict[str, object]:
    """Answer batches with our client."""

    async def answered() -> list[float]:
        client = settings.bind(start)
        if not isinstance(client, Answering):
            raise TypeError("a bound client answers")
        try:
            rates: list[float] = []
            for number in range(ROUNDS + 1):
                began = time.perf_counter()
                found = await asyncio.gather(*(client.complete(one) for one in requests(size, number)))
                rates.append(sum(one.usage.output_tokens or 0 for one in found) / (time.perf_counter() - began))
            return rates[1:]
        finally:
            await client.aclose()

    fresh_memory()
    return sampled_row(asyncio.run(answered()))


def sampled_row(rates: Sequence[float]) -> dict[str, object]:
    return {
        "tokens_per_s": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def bare_replies(start: ModelDir, size: int, dtype: torch.dtype) -> dict[str, object]:
    """Sample batches with `generate` alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fresh_memory()
    tokenizer = AutoTokenizer.from_pretrained(start.path)
    form = get_format(start.format, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(start.path, dtype=dtype).eval().to("cuda")

    def sampled(first: int) -> int:
        lines = [encode(form, one.messages, tokenizer).ids for one in requests(size, first)]
        width = max(map(len, lines))
        ids = torch.tensor([[0] * (width - len(line)) + line for line in lines], device="cuda")
        mask = torch.tensor([[0] * (width - len(line)) + [1] * len(line) for line in lines], device="cuda")
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=True,
            temperature=0.7,
            top_k=0,
            eos_token_id=None,
            pad_token_id=0,
        )
        torch.cuda.synchronize()
        return int(made[:, width:].numel())

    rates: list[float] = []
    for number in range(ROUNDS + 1):
        began = time.perf_counter()
        rates.append(sampled(number) / (time.perf_counter() - began))
    return sampled_row(rates[1:])


def fresh_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=sorted(SHAPES), default=["135m", "1b"])
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of each stage")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 64], help="requests at once")
    asked = parser.parse_args()
    gpu = torch.cuda.get_device_name(0)
    rows: list[dict[str, object]] = []
    ratios: dict[str, float | None] = {}

    def measure(shape: str, contestant: str, run: Callable[[], dict[str, object]]) -> float:
        found: dict[str, object] = {"gpu": gpu, "shape": shape, "contestant": contestant, **run()}
        rows.append(found)
        print(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in found.items()), flush=True)
        return float(str(found["tokens_per_s"]))

    for shape in asked.shape:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            start = start_model(shape, folder / "start")
            ours: list[float] = []
            bare: list[float] = []
            for contestant in ("TRL", "sft", "sft", "TRL"):  # in turn: the machine is not the same all the time
                if contestant == "sft":
                    run = partial(sft, start, asked.steps, SFT_BATCH, folder / "sft")
                    ours.append(measure(shape, contestant, run))
                else:
                    run = partial(bare_sft, start, asked.steps, False, folder / "trl")
                    bare.append(measure(shape, contestant, run))
            same = measure(shape, "TRL, fp32 adapters", partial(bare_sft, start, asked.steps, True, folder / "trl"))
            wide = measure(shape, "sft, 4 times the batch", partial(sft, start, 5, 4 * SFT_BATCH, folder / "sft"))
            measure(shape, "dpo", partial(dpo, start, asked.steps, folder / "dpo"))
            ratios[f"{shape}_sft_over_trl"] = fmean(ours) / fmean(bare)
            ratios[f"{shape}_sft_over_trl_with_fp32_adapters"] = fmean(ours) / same
            ratios[f"{shape}_sft_of_4_times_the_batch"] = wide / fmean(ours)
            for dtype in ("float32", "bfloat16"):
                for size in asked.batch:
                    client = Transformers(dtype=dtype, batch_size=size)  # type: ignore[arg-type] # one of the two
                    replied = measure(shape, f"replies {dtype} {size}", partial(replies, start, size, client))
                    alone = partial(bare_replies, start, size, getattr(torch, dtype))
                    generated = measure(shape, f"generate {dtype} {size}", alone)
                    ratios[f"{shape}_replies_over_generate_{dtype}_{size}"] = replied / generated
        print(f"written to {write('training_gpu', rows, ratios, PACKAGES)}")


if __name__ == "__main__":
    main()
