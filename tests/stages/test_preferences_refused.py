"""What DPO and KTO cannot train on is found before the first step, with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from local_models import EXAMPLES
from stage_runs import Chain, full_dpo, full_kto, preferences, tiny_dpo, tiny_kto, train
from trl import DPOTrainer, KTOTrainer

from bezoar_core.conversion import from_random
from bezoar_core.errors import StepFailed
from bezoar_core.records import ModelDir
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto
from bezoar_plugins.stages.watching import Figures

BOTH = pytest.mark.parametrize("stage", [tiny_dpo(), tiny_kto()], ids=lambda stage: stage.name)


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no trainer be made."""

    def made(*args: object, **kwargs: object) -> None:
        raise AssertionError("a trainer was made")

    for trainer in (DPOTrainer, KTOTrainer):
        monkeypatch.setattr(trainer, "__init__", made)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (replace(tiny_dpo(), gradient_accumulation=2), "4 pairs to learn are fewer than one batch of 8"),
        (replace(tiny_kto(), gradient_accumulation=3), "8 answers to learn are fewer than one batch of 12"),
    ],
    ids=["dpo", "kto"],
)
def test_fewer_rows_than_a_batch(tiny: ModelDir, tmp_path: Path, stage: Dpo | Kto, message: str) -> None:
    with pytest.raises(StepFailed, match=message):
        train(stage, tiny, preferences(0, 4), None, tmp_path / "stage")


@BOTH
def test_no_usable_pair(tiny: ModelDir, tmp_path: Path, stage: Dpo | Kto) -> None:
    same = [{**row, "rejected": row["chosen"]} for row in preferences(0, 4)]
    with pytest.raises(StepFailed, match="no row of `rows` can be used: 4 same_answers"):
        train(stage, tiny, same, None, tmp_path / "stage")


@BOTH
def test_fp16_on_a_cpu(tiny: ModelDir, tmp_path: Path, stage: Dpo | Kto) -> None:
    with pytest.raises(StepFailed, match="`precision: float16` needs a GPU, and none is visible"):
        train(replace(stage, precision="float16"), tiny, preferences(0, 8), None, tmp_path / "stage")


@BOTH
def test_adapters_of_another_base(chain: Chain, tmp_path: Path, stage: Dpo | Kto) -> None:
    config = (EXAMPLES / "tiny" / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace('"hidden_size": 64', '"hidden_size": 32'), encoding="utf-8")
    (tmp_path / "tokenizer.txt").write_bytes((EXAMPLES / "tiny" / "tokenizer.txt").read_bytes())
    from_random(tmp_path / "config.json", tmp_path / "base")
    start = replace(chain.hh.model, base=tmp_path / "base")
    with pytest.raises(StepFailed, match="the adapter of `sft` does not fit"):
        train(stage, start, preferences(0, 8), None, tmp_path / "stage")


@pytest.mark.parametrize("stage", [full_dpo(), full_kto()], ids=lambda stage: stage.name)
def test_all_weights_of_a_quantised_model(stage: Dpo | Kto) -> None:
    with pytest.raises(ValueError, match="`tune: full` trains the weights themselves"):
        replace(stage, quantise="nf4")


def test_a_loss_that_had_fallen_to_nothing_may_rise_to_the_first_and_over(tmp_path: Path) -> None:
    """A pair that people labelled the wrong way has a loss far over the median of the others."""
    from transformers import TrainerState, TrainingArguments

    figures = Figures(lambda *told: None, tmp_path / "metrics.jsonl", 0.7)
    watch, args = figures.watch(), TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    for step, loss in enumerate((0.7, 0.2, 0.1, 0.01, 0.01, 0.01, 6.9)):
        watch.on_log(args, TrainerState(global_step=step), None, {"loss": loss})
    with pytest.raises(StepFailed, match=r"the loss is 7\.1, and its running median 0\.7"):
        watch.on_log(args, TrainerState(global_step=7), None, {"loss": 7.1})
