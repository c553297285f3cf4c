"""The loss that is reported on held-out pairs is the one that TRL trains with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Literal

import pytest
import torch
from stage_runs import DATA, MODEL, preferences, tiny_dpo, train
from transformers import Trainer
from trl import DPOTrainer

from bezoar_core.records import ModelDir
from bezoar_plugins.stages.dpo import Dpo


@pytest.mark.parametrize(
    ("loss", "smoothing"), [("sigmoid", 0.0), ("ipo", 0.0), ("hinge", 0.0), ("robust", 0.2)], ids=lambda x: str(x)
)
def test_the_held_out_loss_is_trl_s(
    tiny: ModelDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: Literal["sigmoid", "ipo", "hinge", "robust"],
    smoothing: float,
) -> None:
    told: list[float] = []
    original = Trainer.train

    def spied(self: DPOTrainer, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        batch = self.data_collator(list(self.train_dataset))
        with torch.no_grad():
            told.append(float(self.compute_loss(self.model, batch)))

    monkeypatch.setattr(Trainer, "train", spied)
    stage = replace(tiny_dpo(3e-3), quantise=None, loss=loss, label_smoothing=smoothing, beta=0.5, max_steps=3)
    trained = train(stage, tiny, preferences(0, 6), preferences(0, 6), tmp_path / "dpo")
    assert trained.metrics["heldout_loss_after"] == pytest.approx(told[0], abs=1e-4)
    assert trained.metrics["heldout_loss_after"] != pytest.approx(trained.metrics["heldout_loss_before"], abs=1e-3)
    assert fmean(trained.heldout("loss_after")) == pytest.approx(trained.metrics["heldout_loss_after"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tune": "full", "quantise": "nf4"}, "`quantise` is for adapters"),
        ({"loss": "robust"}, "`loss: robust` needs a `label_smoothing` above 0 and under 0.5"),
        ({"loss": "robust", "label_smoothing": 0.5}, "`loss: robust` needs a `label_smoothing`"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "`label_smoothing` is for `loss: robust`: `hinge` knows none"),
    ],
)
def test_what_does_not_go_together_is_a_fault(fields: dict[str, str | float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dpo(model=MODEL, data=DATA, **fields)  # type: ignore[arg-type] # fields of several types


def test_the_rate_that_is_not_set_is_that_of_what_is_trained() -> None:
    assert Dpo(model=MODEL, data=DATA).rate == 5e-6
    assert Dpo(model=MODEL, data=DATA, tune="full").rate == 5e-7
    assert Dpo(model=MODEL, data=DATA, tune="full", learning_rate=0.0).rate == 0.0
