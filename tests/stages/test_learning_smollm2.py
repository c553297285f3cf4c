"""The demo's model and held-out rows: SFT and DPO learn there too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_models import EXAMPLES, SMOLLM2, local_model
from stage_runs import DATA, MODEL, loss_gains, margin_gains, require_learned, train, watched_gradients

from bezoar_core.records import Row
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.sft import Sft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def _rows(file: str, stage: str | None = None) -> list[Row]:
    rows = (json.loads(line) for line in (EXAMPLES / file).read_text(encoding="utf-8").splitlines())
    return [row for row in rows if stage is None or row["stage"] == stage]


def _sft(learning_rate: float = 3e-4) -> Sft:
    return Sft(
        model=MODEL,
        data=DATA,
        heldout=DATA,
        quantise="nf4",
        max_length=192,
        max_steps=12,
        epochs=12,
        batch_size=2,
        gradient_accumulation=1,
        learning_rate=learning_rate,
    )


def _dpo(learning_rate: float = 3e-4) -> Dpo:
    return Dpo(
        model=MODEL,
        data=DATA,
        heldout=DATA,
        quantise="nf4",
        max_length=192,
        max_steps=12,
        epochs=12,
        batch_size=2,
        gradient_accumulation=1,
        learning_rate=learning_rate,
    )


def test_sft_and_dpo_learn_on_smollm2(cache: Path, tmp_path: Path) -> None:
    base = local_model(SMOLLM2, "openbezoar")
    dolly = _rows("dolly.jsonl")[:10]
    hh = _rows("hh.jsonl")[:12]
    with watched_gradients() as gradients:
        sft = train(_sft(), base, dolly, _rows("heldout.jsonl", "lamini"), tmp_path / "sft")
    require_learned(loss_gains(sft), gradients)
    still = train(_sft(learning_rate=0.0), base, dolly[:4], _rows("heldout.jsonl", "lamini")[:8], tmp_path / "still")
    with pytest.raises(AssertionError, match="the mean gain"):
        require_learned(loss_gains(still), gradients)

    with watched_gradients() as gradients:
        dpo = train(_dpo(), sft.model, hh, _rows("heldout.jsonl", "hh"), tmp_path / "dpo")
    require_learned(margin_gains(dpo), gradients)
    for stage in (sft, dpo):
        assert stage.metrics["merge_gap"] < 1e-3
