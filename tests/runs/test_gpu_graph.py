"""A graph that trains and asks a model, by the real command line, on a GPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stage_runs import instructions, preferences

from bezoar_core.testing import BezoarProject

EXAMPLES = Path(__file__).parents[2] / "examples"

REGISTRY = """
bezoar: 1
name: on-a-gpu
seed: 42

models:
  base: {client: transformers, source: "random:tiny/config.json", exact: true, licence: mit, format: openbezoar}
  judge: {client: echo, replies: ["It answers. Rating: [[7]]"], licence: mit}

datasets:
  rows: {source: "file:rows.jsonl", licence: mit}
  pairs: {source: "file:pairs.jsonl", licence: mit}
  questions: {source: "file:questions.jsonl", licence: mit}
  prompts: {source: "file:prompts.jsonl", licence: mit}

judges:
  grader: {use: mt-bench-single, model: judge, prompts: prompts}

steps:
  sft:
    use: sft
    model: base
    data: rows
    quantise: nf4
    epochs: 10
    batch_size: 8
    gradient_accumulation: 1
    learning_rate: 1.0e-2
    warmup_steps: 0
  dpo:
    use: dpo
    model: sft
    data: pairs
    format: hh
    quantise: nf4
    epochs: 4
    batch_size: 4
    gradient_accumulation: 1
    learning_rate: 1.0e-2
    warmup_steps: 0
  mt-bench: {use: mt-bench, models: [base, dpo], judge: grader, questions: questions, max_tokens: 16}
"""
JUDGED = {
    "single-v1": "Grade {answer} to {question}",
    "single-v1-multi-turn": "Grade {answer_2} to {question_2} after {answer_1} to {question_1}",
}


@pytest.mark.gpu
def test_a_graph_trains_and_asks_on_the_gpu_each_step_in_a_fresh_process(bezoar_project: BezoarProject) -> None:
    import torch

    shutil.copytree(EXAMPLES / "tiny", bezoar_project.root / "tiny")
    bezoar_project.rows("rows.jsonl", instructions(0, 32))
    bezoar_project.rows("pairs.jsonl", preferences(0, 32))
    bezoar_project.rows("questions.jsonl", [question(number) for number in range(4)])
    bezoar_project.rows(
        "prompts.jsonl", [{"name": n, "system_prompt": "", "prompt_template": JUDGED[n]} for n in JUDGED]
    )
    bezoar_project.write("registry.yaml", REGISTRY)

    ended = bezoar_project.bezoar("run")

    assert ended.status == 0, ended.err
    (run,) = (bezoar_project.root / ".bezoar" / "runs").iterdir()
    assert not (run / "logs" / "warm.log").exists(), "steps were forked"
    manifests = {
        found["step"]: found for found in map(read, bezoar_project.root.glob(".bezoar/artifacts/*/manifest.json"))
    }
    for step in ("sft", "dpo"):
        assert manifests[step]["hardware"]["gpu"] == torch.cuda.get_device_name(0)
        assert manifests[step]["metrics"]["merge_gap"] < 1e-3
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    losses = [one["figures"]["loss"] for one in events if one.get("node") == "sft" and "loss" in one.get("figures", {})]
    assert losses[-1] < losses[0] - 0.5


def question(number: int) -> Mapping[str, object]:
    return {"question_id": number, "category": ("writing", "stem")[number % 2], "turns": [f"What is {number}?", "Why?"]}


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))
