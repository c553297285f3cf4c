"""FSDP2 by accelerate's file: two real processes on a CPU, each with a half of the weights, train what one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_runs import ACCELERATE, artifact, gains, learned, lines, project, require_same_curve, step
from safetensors.torch import load_file

from bezoar_core.errors import StepFailed
from bezoar_core.testing import BezoarProject
from bezoar_plugins.stages.sharding import require_shardable, sharded, twice_saved

FSDP = """
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: SHARDED_STATE_DICT
"""


def two(folder: Path, stage: str, keys: str = "", settings: str = "") -> BezoarProject:
    """Return a project that trains in `one` process, and in `two` that share the weights."""
    alone = step(stage, 1).replace("quantise: nf4,", keys)
    together = alone.replace("processes: 1", "processes: 2, accelerate_config: accelerate.yaml")
    made = project(folder, {"one": alone, "two": together})
    made.write("accelerate.yaml", ACCELERATE.format(kind="FSDP") + FSDP + settings)
    return made


def require_same_files(root: Path, tolerance: float) -> None:
    kept = {name: artifact(root, name) for name in ("one", "two")}
    files = {
        name: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for name, folder in kept.items()
    }
    assert files["two"] == files["one"]
    for file in files["one"]:
        if file.endswith(".safetensors"):
            alone, together = (load_file(kept[name] / file) for name in ("one", "two"))
            assert together.keys() == alone.keys()
            for name, weights in alone.items():
                assert together[name].dtype == weights.dtype
                assert float((together[name] - weights).abs().max()) <= tolerance, (file, name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ("sft", ""),
        ("full", "ac"),
        ("dpo", ""),
        ("dpo", "tune: full, optimizer: rmsprop,"),
        ("kto", ""),
    ],
)
def test_two_halves_learn_what_one_model_does(stage: str, keys: str, tmp_path: Path) -> None:
    settings = "  fsdp_activation_checkpointing: true\n  fsdp_cpu_ram_efficient_loading: true\n" if keys == "ac" else ""
    made = two(tmp_path / "project", stage, "" if settings else keys, settings)
    if "full" in keys:  # an adapter's rate is more than all weights bear
        text = (made.root / "registry.yaml").read_text(encoding="utf-8")
        made.write("registry.yaml", text.replace("learning_rate: 0.01", "learning_rate: 0.0003"))
    ended = made.bezoar("run")
    assert ended.status == 0, ended.err + ended.out
    require_same_curve(made.root, "one", "two")
    require_same_files(made.root, 1e-5)
    assert learned(gains(made.root, "two"))
    manifests = {name: json.loads((artifact(made.root, name) / "manifest.json").read_text()) for name in ("one", "two")}
    assert manifests["two"]["metrics"].keys() == manifests["one"]["metrics"].keys()
    for name, value in manifests["one"]["metrics"].items():
        if (stage, name) == ("kto", "train_margin"):  # a mean over the rows that processes have at once
            continue
        assert manifests["two"]["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bfloat16_rounds_the_weights_and_not_the_loss(tmp_path: Path) -> None:
    made = two(tmp_path / "project", "sft", "precision: bfloat16,")
    ended = made.bezoar("run")
    assert ended.status == 0, ended.err + ended.out
    told = [
        [line["loss"] for line in lines(made.root, name, "metrics.jsonl") if "loss" in line] for name in ("one", "two")
    ]
    assert told[1] == pytest.approx(told[0], rel=5e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("stage", "at", "saved"),
    [("full", 6, "SHARDED_STATE_DICT"), ("sft", 12, "SHARDED_STATE_DICT"), ("sft", 6, "FULL_STATE_DICT")],
)
def test_halves_that_are_killed_go_on_from_their_checkpoint(stage: str, at: int, saved: str, tmp_path: Path) -> None:
    made = two(tmp_path / "project", stage)
    text = (made.root / "accelerate.yaml").read_text(encoding="utf-8")
    made.write("accelerate.yaml", text.replace("SHARDED_STATE_DICT", saved))
    assert made.bezoar("run", "--only", "one").status == 0
    process = made.start("run")
    while process.poll() is None and not list(made.root.glob(f".bezoar/work/two-*/checkpoint-{at}/whole")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    checkpoints = [path.parent for path in made.root.glob(".bezoar/work/two-*/checkpoint-*/whole")]
    newest = max(checkpoints, key=lambda path: int(path.name.rpartition("-")[2]))
    shards = {path.name for path in newest.glob("*model_fsdp*/*.distcp")}
    assert shards == ({"__0_0.distcp", "__1_0.distcp"} if saved == "SHARDED_STATE_DICT" else set())
    ended = made.bezoar("run")
    assert ended.status == 0, ended.err
    logs = "".join(path.read_text(encoding="utf-8") for path in made.root.glob(".bezoar/runs/*/logs/two.log"))
    assert f"resuming from {newest.name}" in logs
    require_same_curve(made.root, "one", "two")
    require_same_files(made.root, 1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_fsdp_would_not_shard_is_refused_by_the_step(tmp_path: Path) -> None:
    made = two(tmp_path / "project", "sft", "quantise: nf4,")
    text = (made.root / "registry.yaml").read_text(encoding="utf-8")
    made.write("registry.yaml", "\n".join(line for line in text.splitlines() if not line.startswith("  one:")))
    ended = made.bezoar("run")
    assert ended.status == 1
    assert "`quantise: nf4` cannot be sharded: FSDP leaves 4-bit weights whole" in ended.err
    assert "Traceback" not in ended.err


def test_what_cannot_be_sharded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_shardable("nf4", "paged_adamw_8bit")  # one process, or several that each hold the model
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert sharded()
    require_shardable(None, "auto")
    with pytest.raises(StepFailed, match="`quantise: nf4` cannot be sharded") as error:
        require_shardable("nf4", "auto")
    assert "set `distributed_type: MULTI_GPU`" in error.value.tip
    with pytest.raises(StepFailed, match="`optimizer: paged_adamw_8bit` knows no sharded weights"):
        require_shardable(None, "paged_adamw_8bit")
    assert not twice_saved()
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    assert twice_saved()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(StepFailed, match="`fsdp_offload_params` has no GPU to offload from"):
        require_shardable(None, "auto")


_ONE_HALF_HAS_A_GRADIENT = """
import torch
from torch.distributed import init_process_group
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
from bezoar_plugins.stages.sharding import agreed, flow

init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
of = lambda values: distribute_tensor(torch.tensor(values), mesh, [Shard(0)])
print("found", flow([of([0.0, 0.0])]), flow([of([1.0, 0.0])]), flow([of([0.0, 1.0])]), agreed(float(mesh.get_rank())))
"""


def test_a_gradient_in_one_half_is_seen_by_both(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(_ONE_HALF_HAS_A_GRADIENT, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"ACCELERATE_USE_FSDP": "true", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*launcher, str(script)], env=environment, capture_output=True, text=True, check=False)
    told = [line for line in ended.stdout.splitlines() if line.startswith("found")]
    assert told == ["found False True True 0.0"] * 2, ended.stderr
