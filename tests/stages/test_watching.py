"""A run that has gone wrong stops, says so, and keeps its last good checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stage_runs import digests, instructions, tiny_sft, train
from trl import SFTTrainer

from bezoar_core.errors import StepFailed
from bezoar_core.records import ModelDir
from bezoar_plugins.stages.checkpoints import whole
from bezoar_plugins.stages.watching import Figures


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (float("nan"), r"the loss is nan at step 8: training has diverged; `.*checkpoint-6` is the last good state"),
        (40.0, r"the loss is 2\d\d\.\d, and its running median 6\.\d+ at step 8: .*`.*checkpoint-6` is the last good"),
    ],
)
def test_a_loss_that_runs_away_stops_the_stage(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, message: str
) -> None:
    stage = replace(tiny_sft(), save_every=3)
    rows = instructions(0, 10)
    computed = SFTTrainer.compute_loss
    calls = 0

    def runs_away(trainer: SFTTrainer, *arguments: object, **named: object) -> torch.Tensor:
        nonlocal calls
        calls += 1  # the first is the rehearsal
        return computed(trainer, *arguments, **named) * (factor if calls == 9 else 1)

    with monkeypatch.context() as patched, pytest.raises(StepFailed, match=message):
        patched.setattr(SFTTrainer, "compute_loss", runs_away)
        train(stage, tiny, rows, None, tmp_path / "stage")
    assert [path.name for path in whole(tmp_path / "stage" / "work")] == ["checkpoint-3", "checkpoint-6"]
    lines = (tmp_path / "stage/out/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1], parse_constant=pytest.fail)
    assert last["step"] == 8 and (last["loss"] is None or last["loss"] > 200)
    again = train(stage, tiny, rows, None, tmp_path / "stage")
    assert digests(again.out) == digests(train(stage, tiny, rows, None, tmp_path / "straight").out)


@pytest.mark.parametrize(
    ("losses", "figures", "fp16", "stops"),
    [
        ([2.0] * 9, {"loss": 19.9}, False, None),
        ([2.0] * 9, {"loss": 20.1}, False, "the loss is 20.1, and its running median 2 at step 10"),
        ([2.0] * 4, {"loss": 99.0}, False, None),  # no median yet
        ([0.7, *[0.01] * 9], {"loss": 0.5}, False, None),  # a hard row after easy ones: less than at the start
        ([0.7, *[-0.1] * 9], {"loss": 0.2}, False, None),
        ([2.0] * 200 + [0.3] * 100, {"loss": 3.1}, False, "the loss is 3.1, and its running median 0.3 at step 301"),
        ([], {"loss": float("inf")}, False, "the loss is inf at step 1"),
        ([2.0], {"loss": 2.0, "grad_norm": float("nan")}, False, "the gradient's norm is nan at step 2"),
        ([2.0], {"loss": 2.0, "grad_norm": float("inf")}, True, None),  # a factor of fp16 that is too high
    ],
)
def test_what_counts_as_divergence(
    tmp_path: Path, losses: list[float], figures: dict[str, float], fp16: bool, stops: str | None
) -> None:
    watch = Figures(lambda *unused: None, tmp_path / "metrics.jsonl").watch()
    args = SimpleNamespace(fp16=fp16, output_dir=str(tmp_path))

    def log(step: int, logs: dict[str, float]) -> None:
        watch.on_log(args, SimpleNamespace(global_step=step, max_steps=999), None, logs=logs)

    for step, loss in enumerate(losses, start=1):
        log(step, {"loss": loss})
    if stops is None:
        log(len(losses) + 1, figures)
        return
    with pytest.raises(StepFailed) as raised:
        log(len(losses) + 1, figures)
    assert raised.value.message.startswith(stops)
    assert raised.value.message.endswith("no checkpoint was written before")


def test_tensorboard_gets_every_figure_and_the_result_is_the_same(tiny: ModelDir, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stage, rows = tiny_sft(), instructions(0, 10)
    plain = train(stage, tiny, rows, None, tmp_path / "plain")
    told = train(replace(stage, report_to=("tensorboard",)), tiny, rows, None, tmp_path / "told")
    assert digests(told.out) == digests(plain.out)
    events = EventAccumulator(str(tmp_path / "told/work/reports"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 13))
