"""`processes: 2`: two real processes on a CPU train what one does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType
from stage_runs import instructions, preferences

from bezoar_core.errors import StepFailed
from bezoar_core.testing import BezoarProject
from bezoar_plugins.stages.processes import require_replicas, share

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
    tiny = Path(__file__).parents[2] / "examples" / "tiny"
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


FIGURES = ("tokens", "learning_rate", "loss", "validation_loss", "grad_norm", "rewards/margins")


def require_same_curve(root: Path, one: str, two: str, figures: Sequence[str] = FIGURES) -> None:
    alone, together = lines(root, one, "metrics.jsonl"), lines(root, two, "metrics.jsonl")
    assert [line["step"] for line in together] == [line["step"] for line in alone]
    for a, b in zip(alone, together, strict=True):
        for figure in figures:
            if figure in a:
                assert b[figure] == pytest.approx(a[figure], rel=2e-3, abs=2e-4), (figure, a, b)


@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    steps = {"one": step("sft", 1), "two": step("sft", 2)}
    root = project(tmp_path / "project", steps).root
    ended = BezoarProject(root).bezoar("run")
    assert ended.status == 0, ended.err + ended.out
    require_same_curve(root, "one", "two")
    assert learned(gains(root, "two"))
    manifest = json.loads((artifact(root, "two") / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["hardware"]["processes"] == 2
    assert not (root / ".bezoar" / "work").exists() or not list((root / ".bezoar" / "work").iterdir())
    # one process or two: the same artifact is wanted
    text = (root / "registry.yaml").read_text(encoding="utf-8")
    (root / "registry.yaml").write_text(text.replace("processes: 2", "processes: 1"), encoding="utf-8")
    assert BezoarProject(root).bezoar("run").status == 0
    record = json.loads(max((root / ".bezoar" / "runs").glob("*/run.json")).read_text(encoding="utf-8"))
    assert {node["status"] for node in record["nodes"].values()} == {"cached"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_at_no_learning_rate_fail_the_same_test(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    steps = {"two": step("sft", 2), "still": step("sft", 2, rate=0.0)}
    root = project(tmp_path / "project", steps).root
    assert BezoarProject(root).bezoar("run").status == 0
    assert learned(gains(root, "two"))
    assert not learned(gains(root, "still"))
    weights = {name: load_file(artifact(root, name) / "adapter" / "adapter_model.safetensors") for name in steps}
    moved = {name for name, tensor in weights["two"].items() if bool((tensor != weights["still"][name]).any())}
    assert moved == set(weights["two"]), "some tensor never had a gradient"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["full", "dpo", "kto"])
def test_two_processes_learn_what_one_does_in_every_stage(stage: str, tmp_path: Path) -> None:
    steps = {"one": step(stage, 1), "two": step(stage, 2)}
    root = project(tmp_path / "project", steps).root
    ended = BezoarProject(root).bezoar("run")
    assert ended.status == 0, ended.err + ended.out
    # KTO estimates the divergence in its loss over what all processes have at once, and these have more than one
    require_same_curve(root, "one", "two", FIGURES[:2] if stage == "kto" else FIGURES)
    assert learned(gains(root, "two"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_that_are_killed_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    made = project(tmp_path / "project", {"one": step("sft", 1), "two": step("sft", 2)})
    assert made.bezoar("run", "--only", "one").status == 0
    process = made.start("run")
    while process.poll() is None and not list(made.root.glob(".bezoar/work/two-*/checkpoint-6/whole")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ended = made.bezoar("run")
    assert ended.status == 0, ended.err
    logs = "".join(path.read_text(encoding="utf-8") for path in made.root.glob(".bezoar/runs/*/logs/two.log"))
    assert "resuming from checkpoint-" in logs
    require_same_curve(made.root, "one", "two")


ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: {kind}
num_processes: 2
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
main_process_port: 0
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_accelerate_s_launcher_starts_them_by_its_file_or_is_found_out(tmp_path: Path) -> None:
    """On a CPU it starts several for `MULTI_GPU` alone; told `MULTI_CPU` it silently starts one."""
    with_file = "processes: 2, accelerate_config: accelerate.yaml"
    made = project(
        tmp_path / "project", {"one": step("sft", 1), "two": step("sft", 2).replace("processes: 2", with_file)}
    )
    made.write("accelerate.yaml", ACCELERATE.format(kind="MULTI_CPU"))
    ended = made.bezoar("run")
    assert ended.status == 1
    assert "the launcher started 1 processes, and `processes` is 2" in ended.err
    assert "Traceback" not in ended.err
    made.write("accelerate.yaml", ACCELERATE.format(kind="MULTI_GPU"))
    ended = made.bezoar("run")
    assert ended.status == 0, ended.err
    require_same_curve(made.root, "one", "two")


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_sharded_model_is_refused_before_it_is_trained(kind: str) -> None:
    trainer: Any = SimpleNamespace(accelerator=SimpleNamespace(distributed_type=DistributedType(kind)))
    with pytest.raises(
        StepFailed, match=rf"shards the model over the processes \({kind}\), which is not supported yet"
    ):
        require_replicas(trainer)


def test_what_cannot_be_shared_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert share(16) == 8
    wanted = "`processes: 2` cannot share out the 3 batches of an optimizer step alike"
    with pytest.raises(StepFailed, match=wanted) as error:
        share(3)
    assert "set `gradient_accumulation` to a multiple of 2" in error.value.tip
