"""`processes: 2`: two real processes on a CPU train what one does."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from process_runs import ACCELERATE, artifact, gains, learned, project, require_same_curve, step

from bezoar_core.errors import StepFailed
from bezoar_core.testing import BezoarProject
from bezoar_plugins.stages.processes import share


@pytest.mark.timeout(600)
@pytest.mark.slow
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
    require_same_curve(root, "one", "two")
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


def test_what_cannot_be_shared_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert share(16) == 8
    wanted = "`processes: 2` cannot share out the 3 batches of an optimizer step alike"
    with pytest.raises(StepFailed, match=wanted) as error:
        share(3)
    assert "set `gradient_accumulation` to a multiple of 2" in error.value.tip
