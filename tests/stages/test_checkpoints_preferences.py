"""DPO and KTO that are cut off go on, with what the reference said, and end with the bytes of a run that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stage_runs import Interrupted, Trained, digests, full_dpo, full_kto, preferences, tiny_dpo, tiny_kto, train
from trl import DPOTrainer

from bezoar_core.records import ModelDir
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto

pytestmark = pytest.mark.slow  # a minute and more; test_checkpoints.py shows the same of sft in `make test`

STAGES: dict[str, Dpo | Kto] = {
    "dpo-qlora": tiny_dpo(),
    "dpo-lora": replace(tiny_dpo(), quantise=None),
    "dpo-lora-one-pass": replace(tiny_dpo(), quantise=None, epochs=1, batch_size=1),
    "dpo-full": replace(full_dpo(1e-4), optimizer="rmsprop"),
    "kto-qlora": tiny_kto(),
    "kto-full": full_kto(),
}
"""Ten to twelve steps; with batches of four each pass has three, the last of them half full."""


class Straight:
    """A stage and what it makes when nothing happens."""

    def __init__(self, stage: Dpo | Kto, start: ModelDir, folder: Path) -> None:
        self.stage = replace(stage, save_every=3)
        self.start = start
        self.made = self.train(folder)

    def train(self, folder: Path, until: int | None = None) -> Trained:
        return train(self.stage, self.start, preferences(0, 10), preferences(10, 6), folder, until=until)


@pytest.fixture(scope="module", params=STAGES)
def straight(request: pytest.FixtureRequest, tiny: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return Straight(STAGES[request.param], tiny, tmp_path_factory.mktemp("straight"))


@pytest.mark.parametrize("moments", [(2,), (5, 8), (10,)], ids=str)
def test_resumed_equals_straight(straight: Straight, tmp_path: Path, moments: tuple[int, ...]) -> None:
    for moment in moments:
        with pytest.raises(Interrupted):
            straight.train(tmp_path, until=moment)
    resumed = straight.train(tmp_path)
    assert digests(resumed.out) == digests(straight.made.out)
    assert resumed.metrics == straight.made.metrics


def test_a_run_that_goes_on_does_not_ask_the_reference_again(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    original = DPOTrainer.compute_ref_log_probs

    def spied(self: DPOTrainer, model: object, inputs: object) -> object:
        asked.append(inputs)
        return original(self, model, inputs)

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", spied)
    stage = replace(full_dpo(), save_every=3)
    for until in (5, None):
        with pytest.raises(Interrupted) if until else monkeypatch.context():
            train(stage, tiny, preferences(0, 10), None, tmp_path, until=until)
    assert len(asked) == 3, "ten pairs are three batches"
