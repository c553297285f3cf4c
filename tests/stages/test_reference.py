"""DPO's reference is the model it starts from, to the last log-probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage_runs import Chain, preferences, tiny_dpo, train
from transformers import Trainer
from trl import DPOTrainer

from bezoar_plugins.stages import quantised

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="log-probabilities agree to 1e-4 in fp32, and on a GPU a model is trained in bf16"
)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[DPOTrainer]:
    """Return the trainers that ran."""
    ran: list[DPOTrainer] = []
    original = Trainer.train

    def spied(self: DPOTrainer, *args: object, **kwargs: object) -> object:
        ran.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "train", spied)
    return ran


def _batches(trainer: DPOTrainer) -> Iterator[dict[str, torch.Tensor]]:
    size = trainer.args.per_device_train_batch_size
    rows = list(trainer.train_dataset)
    for first in range(0, len(rows), size):
        yield trainer.data_collator(rows[first : first + size])


def _fresh(path: Path, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the answers' log-probabilities under a model loaded afresh, from its plain logits."""
    model = quantised.load(path, "nf4")
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    tokens = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (tokens * batch["completion_mask"][:, 1:]).sum(1)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("epochs", [1, 6])
def test_the_reference_is_the_start_model_loaded_afresh(
    chain: Chain, tmp_path: Path, trainers: list[DPOTrainer], epochs: int
) -> None:
    trained = train(
        replace(tiny_dpo(), epochs=epochs), chain.hh.model, preferences(0, 10), preferences(10, 24), tmp_path / "dpo"
    )
    (trainer,) = trainers
    assert trainer.ref_model is None, "there is a second copy of the weights"
    assert trainer.precompute_ref_logps == (epochs > 1)
    for batch in _batches(trainer):
        # the adapter is trained by now: what it does must not be in the reference
        reference = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
        if epochs > 1:
            used = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
            assert _gap(used, reference) < 1e-4
        assert _gap(reference, _fresh(chain.hh.model.path, batch)) < 1e-4
        for other in (chain.base.path, chain.sft.model.path, chain.orca.model.path, trained.model.path):
            assert _gap(reference, _fresh(other, batch)) > 0.1


def test_the_held_out_margin_before_is_the_start_model_s(
    chain: Chain, tmp_path: Path, trainers: list[DPOTrainer]
) -> None:
    trained = train(tiny_dpo(), chain.hh.model, preferences(0, 10), preferences(0, 4), tmp_path / "dpo")
    (trainer,) = trainers
    batch = trainer.data_collator(list(trainer.train_dataset)[:4])
    chosen, rejected = _fresh(chain.hh.model.path, batch).chunk(2)
    assert trained.heldout("chosen_before") == pytest.approx(chosen.tolist(), abs=0.05)
    assert trained.heldout("rejected_before") == pytest.approx(rejected.tolist(), abs=0.05)
