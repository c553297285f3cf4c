"""A run that is cut off anywhere goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stage_runs import Interrupted, Trained, digests, instructions, preferences, tiny_sft, train

from bezoar_core.records import ModelDir
from bezoar_plugins.stages.sft import Sft

STAGES = {
    "qlora": tiny_sft(),
    "lora": replace(tiny_sft(), quantise=None),
    "full": replace(tiny_sft(3e-3), quantise=None, tune="full"),
    "hh": replace(tiny_sft(), format="hh"),
}
"""Twelve steps of four rows, eight rows learned: each pass has two steps."""


@pytest.fixture(scope="module", params=STAGES)
def straight(request: pytest.FixtureRequest, tiny: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    stage = replace(STAGES[request.param], save_every=3, validate_every=2, lora_dropout=0.1)
    return Straight(stage, request.param == "hh", tiny, tmp_path_factory.mktemp("straight"))


class Straight:
    """A stage and what it makes when nothing happens."""

    def __init__(self, stage: Sft, hh: bool, start: ModelDir, folder: Path) -> None:
        self.stage = stage
        self.start = start
        rows = preferences if hh else instructions
        self.rows, self.heldout = rows(0, 10), rows(10, 6)
        self.made = self.train(folder)

    def train(self, folder: Path, until: int | None = None) -> Trained:
        return train(self.stage, self.start, self.rows, self.heldout, folder, until=until)


@pytest.mark.parametrize("moments", [(2,), (4,), (5, 8), (6, 7, 12), (12,)], ids=str)
def test_resumed_equals_straight(straight: Straight, tmp_path: Path, moments: tuple[int, ...]) -> None:
    for moment in moments:
        with pytest.raises(Interrupted):
            straight.train(tmp_path, until=moment)
    resumed = straight.train(tmp_path)
    assert digests(resumed.out) == digests(straight.made.out)
    assert resumed.metrics == straight.made.metrics
