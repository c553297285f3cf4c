"""The reference of DPO and KTO is the model they start from, to the last log-probability."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage_runs import Chain, full_dpo, full_kto, preferences, tiny_dpo, tiny_kto, train
from transformers import PreTrainedModel, Trainer
from trl import DPOTrainer, KTOTrainer

from bezoar_plugins.stages import quantised
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto
from bezoar_plugins.stages.quantised import Quantise

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


def _batches(trainer: DPOTrainer | KTOTrainer) -> Iterator[dict[str, torch.Tensor]]:
    size = trainer.args.per_device_train_batch_size
    rows = list(trainer.train_dataset)
    for first in range(0, len(rows), size):
        yield trainer.data_collator(rows[first : first + size])


def _fresh(path: Path, batch: dict[str, torch.Tensor], quantise: Quantise | None, full: bool = False) -> torch.Tensor:
    """Return the answers' log-probabilities under a model loaded afresh, from its plain logits."""
    model = quantised.load(path, quantise, full=full)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    tokens = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (tokens * batch["completion_mask"][:, 1:]).sum(1)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("epochs", [1, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stage", [tiny_dpo(), replace(tiny_dpo(), quantise=None), full_dpo()], ids=str)
def test_the_reference_is_the_start_model_loaded_afresh(
    chain: Chain, tmp_path: Path, trainers: list[DPOTrainer], stage: Dpo, epochs: int
) -> None:
    full = stage.tune == "full"
    stage = replace(stage, epochs=epochs)
    trained = train(stage, chain.hh.model, preferences(0, 10), preferences(10, 24), tmp_path / "dpo")
    (trainer,) = trainers
    assert trainer.ref_model is None, "there is a second copy of the weights"
    assert trainer.precompute_ref_logps == (full or epochs > 1)
    others = (chain.base.path, chain.sft.model.path, chain.orca.model.path, trained.model.path)
    for batch in _batches(trainer):
        if trainer.precompute_ref_logps:
            used = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
            assert _gap(used, _fresh(chain.hh.model.path, batch, stage.quantise, full)) < 1e-4
        if not full:
            # the adapter is trained by now: what it does must not be in the reference
            reference = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
            assert _gap(reference, _fresh(chain.hh.model.path, batch, stage.quantise)) < 1e-4
            used = reference
        for other in others:
            assert _gap(used, _fresh(other, batch, stage.quantise, full)) > 0.1


@pytest.mark.parametrize("stage", [tiny_kto(), full_kto()], ids=str)
def test_kto_s_reference_is_the_start_model_too(
    chain: Chain, tmp_path: Path, trainers: list[KTOTrainer], stage: Kto
) -> None:
    train(stage, chain.hh.model, preferences(0, 10), None, tmp_path / "kto")
    (trainer,) = trainers
    assert trainer.ref_model is None
    full = stage.tune == "full"
    for batch in _batches(trainer):
        mismatched = {"input_ids": batch["KL_input_ids"], "attention_mask": batch["KL_attention_mask"]}
        mismatched["completion_mask"] = batch["KL_completion_mask"]
        for used, texts in ((batch["ref_logps"], batch), (batch["ref_KL_logps"], mismatched)):
            assert _gap(used, _fresh(chain.hh.model.path, texts, stage.quantise, full)) < 1e-4
            assert _gap(used, _fresh(chain.base.path, texts, stage.quantise, full)) > 0.1


@pytest.mark.parametrize("stage", [full_dpo(), full_kto()], ids=lambda s: s.name)
def test_full_tuning_holds_one_model_while_it_trains(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Dpo | Kto
) -> None:
    held: list[int] = []
    original = Trainer.training_step

    def spied(self: Trainer, *args: object, **kwargs: object) -> object:
        held.append(_models())
        return original(self, *args, **kwargs)

    gc.collect()
    before = _models()
    monkeypatch.setattr(Trainer, "training_step", spied)
    train(stage, chain.hh.model, preferences(0, 10), None, tmp_path / "stage")
    assert [models - before for models in held] == [1] * 13, "there is one rehearsal, then twelve steps"


def _models() -> int:
    """Return how many language models are in memory."""
    found = (one for one in gc.get_objects() if issubclass(type(one), PreTrainedModel))  # `isinstance` wakes proxies
    return sum(model.get_output_embeddings() is not None for model in found)


def test_the_held_out_margin_before_is_the_start_model_s(
    chain: Chain, tmp_path: Path, trainers: list[DPOTrainer]
) -> None:
    trained = train(tiny_dpo(), chain.hh.model, preferences(0, 10), preferences(0, 4), tmp_path / "dpo")
    (trainer,) = trainers
    batch = trainer.data_collator(list(trainer.train_dataset)[:4])
    chosen, rejected = _fresh(chain.hh.model.path, batch, "nf4").chunk(2)
    assert trained.heldout("chosen_before") == pytest.approx(chosen.tolist(), abs=0.05)
    assert trained.heldout("rejected_before") == pytest.approx(rejected.tolist(), abs=0.05)
