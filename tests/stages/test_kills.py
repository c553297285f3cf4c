"""SIGKILL of a real run at ten moments: the artifact is that of a run which nothing happened to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import orjson
import pytest
from runs.artifact_contents import artifact_contents
from stage_runs import instructions

from bezoar_core.testing import BezoarProject

REGISTRY = """
bezoar: 1
name: kills
models:
  base: {source: "random:tiny/config.json", format: openbezoar, licence: apache-2.0}
datasets:
  rows: {source: "file:rows.jsonl", licence: apache-2.0}
steps:
  sft: {use: sft, model: base, data: rows, quantise: nf4, max_steps: 60, epochs: 30, batch_size: 4,
    gradient_accumulation: 1, learning_rate: 0.01, validate_every: 3, save_every: 2}
"""
MOMENTS = (1, 4, 9, 14, 20, 26, 33, 41, 50, 60)
"""Each kill comes as soon as this step is told, when the step or its checkpoint may be half-way."""


def project(folder: Path) -> BezoarProject:
    folder.mkdir()
    made = BezoarProject(folder)
    made.write("registry.yaml", REGISTRY)
    made.rows("rows.jsonl", instructions(0, 10))
    tiny = Path(__file__).parents[2] / "examples" / "tiny"
    for name in ("config.json", "tokenizer.txt"):
        made.write(f"tiny/{name}", (tiny / name).read_text(encoding="utf-8"))
    return made


def told(root: Path) -> int:
    """Return the last optimizer step that any run has told of."""
    step = 0
    for path in root.glob(".bezoar/runs/*/events.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            found = orjson.loads(line)
            step = max(step, found.get("step", 0) if found.get("event") == "progress" else 0)
    return step


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    straight = project(tmp_path / "straight")
    ended = straight.bezoar("run")
    assert ended.status == 0, ended.err

    killed = project(tmp_path / "killed")
    died = 0
    for moment in MOMENTS:
        process = killed.start("run")
        while process.poll() is None and told(killed.root) < moment:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            died += 1
        process.communicate()
    assert died >= 9, "the runs ended before they were killed"
    work = next((killed.root / ".bezoar" / "work").iterdir())
    assert list(work.glob("checkpoint-*/whole"))
    last = killed.bezoar("run")
    assert last.status == 0, last.err
    logs = "".join(path.read_text(encoding="utf-8") for path in killed.root.glob(".bezoar/runs/*/logs/*"))
    assert logs.count("resuming from checkpoint-") >= 8
    assert artifact_contents(killed.root / ".bezoar") == artifact_contents(straight.root / ".bezoar")
    assert not work.exists()
