"""The longest batch comes first, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stage_runs import digests, instructions, tiny_sft, train
from trl import SFTTrainer

from bezoar_core.errors import StepFailed
from bezoar_core.records import ModelDir, Row
from bezoar_plugins.stages import sft


def test_a_rehearsal_changes_nothing(tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = instructions(0, 10)
    with_one = train(tiny_sft(), tiny, rows, None, tmp_path / "with")
    monkeypatch.setattr(sft, "rehearse", lambda *unused: None)
    without = train(tiny_sft(), tiny, rows, None, tmp_path / "without")
    assert digests(with_one.out) == digests(without.out)


def test_it_is_the_longest_batch_and_comes_first(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = SFTTrainer.training_step
    shapes: list[tuple[int, int]] = []

    def spied(trainer: SFTTrainer, model: object, inputs: dict[str, torch.Tensor], *rest: object) -> torch.Tensor:
        rows, tokens = inputs["input_ids"].shape
        shapes.append((rows, tokens))
        return stepped(trainer, model, inputs, *rest)

    monkeypatch.setattr(SFTTrainer, "training_step", spied)
    long: Row = {"instruction": "Count.", "response": "word " * 90}
    train(tiny_sft(), tiny, [*instructions(0, 10), long], None, tmp_path / "stage")
    assert len(shapes) == 13
    assert shapes[0] == (4, max(tokens for _, tokens in shapes))


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_memory_that_does_not_suffice_is_found_first_and_says_what_to_lower(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def allocate(*unused: object) -> torch.Tensor:
        if kind == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return torch.empty(1 << 55)

    monkeypatch.setattr(SFTTrainer, "training_step", allocate)
    with pytest.raises(StepFailed, match=r"there is too little memory to train: .*(out of|allocate) memory") as raised:
        train(tiny_sft(), tiny, instructions(0, 10), None, tmp_path / "stage")
    assert "`batch_size`" in raised.value.tip and "`max_length`" in raised.value.tip


def test_any_other_error_keeps_its_traceback(tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*unused: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(SFTTrainer, "training_step", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        train(tiny_sft(), tiny, instructions(0, 10), None, tmp_path / "stage")
