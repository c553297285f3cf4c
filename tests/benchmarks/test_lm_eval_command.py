"""Our benchmark against the harness's own command, in a process of its own: every figure to the last digit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness_runs import BOTH, ROOT, TASKS, benchmark, compared, documents, measured
from local_models import SMOLLM2, TINY, local_model

from bezoar_core.records import ModelDir

CHANGING = {"date", "git_hash", "upper_git_hash", "pretty_env_info", "total_evaluation_time_seconds"}


def command(model: ModelDir, out: Path, *options: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return what the command writes: its results, and by task the samples in order."""
    arguments = ["run", "--model", "hf", "--model_args", f"pretrained={model.path},dtype=float32"]
    arguments += ["--include_path", str(TASKS), "--tasks", ",".join(BOTH), "--batch_size", "8", "--device", "cpu"]
    arguments += ["--output_path", str(out), "--log_samples", *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run([sys.executable, "-m", "lm_eval", *arguments], env=environment, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()
    (results,) = out.rglob("results_*.json")
    samples = {}
    for task in BOTH:
        (file,) = out.rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        samples[task] = sorted(rows, key=lambda row: int(row["doc_id"]))
    return json.loads(results.read_text()), samples


@pytest.mark.parametrize(
    ("source", "limit", "chat"),
    [
        (TINY, 12, False),
        pytest.param(TINY, 12, True, marks=pytest.mark.slow),
        pytest.param(SMOLLM2, 24, False, marks=pytest.mark.slow),
    ],
    ids=["tiny", "tiny-chat", "smollm2"],
)
async def test_every_figure_equals_the_commands(source: str, limit: int, chat: bool, tmp_path: Path) -> None:
    model = local_model(source)
    bench = benchmark(limit=limit, apply_chat_template=chat)
    samples = await measured(bench, model, tmp_path / "ours")
    template = ["--apply_chat_template"] if chat else []
    theirs, rows = command(model, tmp_path / "theirs", "--limit", str(limit), *template)

    text = (tmp_path / "ours" / "results.json").read_text()
    ours = json.loads(text)
    assert set(theirs) - set(ours) == CHANGING and set(ours) - set(theirs) == {"tokenisation_differs"}
    named = {"config", "configs", "model_name", "model_name_sanitized"}
    same = set(ours) & set(theirs) - named
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same} and "results" in same
    apart = dict.fromkeys(("model", "model_args", "batch_size", "gen_kwargs"), "")  # as a command line has them
    assert {**ours["config"], **apart} == {**theirs["config"], **apart}
    for task in BOTH:
        apart = {"metadata": "", "custom_dataset": ""}  # the command writes the model's folder and the code there
        assert {**ours["configs"][task], **apart} == {**theirs["configs"][task], **apart}
    for place in (str(ROOT), str(model.path), str(tmp_path)):
        assert place not in text

    scores = await compared(bench, samples, tmp_path)
    figures = {
        (task, key.removesuffix(",none")): value
        for task, listed in theirs["results"].items()
        for key, value in listed.items()
        if "," in key and "_stderr" not in key
    }
    assert {name: score.value for name, score in scores.items()} == figures

    for task in BOTH:
        mine = [sample for sample in documents(samples) if sample.category == task]
        metrics = list(dict.fromkeys(sample.metric for sample in mine))
        assert len(mine) == limit * len(metrics) and len(rows[task]) == limit
        for sample in mine:
            row = rows[task][int(sample.item.partition("/")[2])]
            assert sample.value == float(row[sample.metric.partition(",")[0]])
            assert sample.data["doc"] == row["doc"]
            assert sample.data["prompts"] == [row["arguments"]["gen_args_0"]["arg_0"]]
            shown = [sample.data["responses"], sample.data["filtered"]]
            assert _texts(shown) == _texts([row["resps"], row["filtered_resps"]])


def _texts(value: object) -> object:
    """Return a value with every leaf as text: the command writes numbers so in its samples."""
    return [_texts(one) for one in value] if isinstance(value, list | tuple) else str(value)
