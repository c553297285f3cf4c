"""Projects whose stages train in one process and in two, and what their curves have to have in common."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pytest
from stage_runs import instructions, preferences

from bezoar_core.testing import BezoarProject

STAGES = {
    "sft": "{use: sft, data: texts, heldout: unseen-texts, quantise: nf4, lora_dropout: 0.0, validate_every: 3,",
    "full": "{use: sft, data: texts, heldout: unseen-texts, tune: full, validate_every: 3,",
    "dpo": "{use: dpo, data: pairs, heldout: unseen-pairs, quantise: nf4,",
    "kto": "{use: kto, data: pairs, heldout: unseen-pairs, tune: full,",
}
SETTINGS = " model: base, max_steps: 12, epochs: 9, batch_size: 2, gradient_accumulation: 2, save_every: 2, seed: 5,"
RATES = {"sft": 0.01, "full": 0.003, "dpo": 0.01, "kto": 0.003}
REGISTRY = """
bezoar: 1
name: processes
models:
  base: {source: "random:tiny/config.json", format: openbezoar, licence: apache-2.0}
datasets:
  texts: {source: "file:texts.jsonl", licence: apache-2.0}
  unseen-texts: {source: "file:unseen-texts.jsonl", licence: apache-2.0}
  pairs: {source: "file:pairs.jsonl", licence: apache-2.0}
  unseen-pairs: {source: "file:unseen-pairs.jsonl", licence: apache-2.0}
steps:
"""


def project(folder: Path, steps: dict[str, str]) -> BezoarProject:
    folder.mkdir(exist_ok=True)
    made = BezoarProject(folder)
    made.write("registry.yaml", REGISTRY + "".join(f"  {name}: {step}\n" for name, step in steps.items()))
    made.rows("texts.jsonl", instructions(0, 10))  # of which 8 are learned: they fill each pass's steps
    made.rows("unseen-texts.jsonl", instructions(10, 24))
    made.rows("pairs.jsonl", preferences(0, 8))
    made.rows("unseen-pairs.jsonl", preferences(10, 24))
    tiny = Path(__file__).parents[1] / "examples" / "tiny"
    for name in ("config.json", "tokenizer.txt"):
        made.write(f"tiny/{name}", (tiny / name).read_text(encoding="utf-8"))
    return made


def step(stage: str, processes: int, rate: float | None = None) -> str:
    rate = RATES[stage] if rate is None else rate
    return f"{STAGES[stage]}{SETTINGS} learning_rate: {rate}, processes: {processes}}}"


def artifact(root: Path, name: str) -> Path:
    return next(path for path in (root / ".bezoar" / "artifacts").iterdir() if path.name.rpartition("-")[0] == name)


def lines(root: Path, name: str, file: str) -> list[dict[str, float]]:
    text = (artifact(root, name) / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def gains(root: Path, name: str) -> list[float]:
    """Return by how much each held-out row did better, or pair for pair its margin."""
    rows = lines(root, name, "heldout.jsonl")
    if "loss_before" in rows[0] and "margin_before" not in rows[0]:
        return [row["loss_before"] - row["loss_after"] for row in rows]
    if "margin_before" in rows[0]:
        return [row["margin_after"] - row["margin_before"] for row in rows]
    moved = [row["after"] - row["before"] for row in rows]
    return [chosen - rejected for chosen, rejected in zip(moved[::2], moved[1::2], strict=True)]


def learned(found: list[float]) -> bool:
    return fmean(found) > 2 * stdev(found) / sqrt(len(found))


FIGURES = ("tokens", "learning_rate", "loss", "validation_loss", "grad_norm")


def require_same_curve(root: Path, one: str, two: str) -> None:
    alone, together = lines(root, one, "metrics.jsonl"), lines(root, two, "metrics.jsonl")
    assert [line["step"] for line in together] == [line["step"] for line in alone]
    for a, b in zip(alone, together, strict=True):
        for figure in FIGURES:
            if figure in a:
                assert b[figure] == pytest.approx(a[figure], rel=2e-3, abs=2e-4), (figure, a, b)
        if "kl" not in a and "rewards/margins" in a:  # KTO's are means over the rows that processes have at once
            assert b["rewards/margins"] == pytest.approx(a["rewards/margins"], rel=2e-3, abs=2e-4), (a, b)


ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: {kind}
num_processes: 2
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
main_process_port: 0
"""
