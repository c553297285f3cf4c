"""DPO and KTO teach a preference, whatever is trained, by whichever loss, cut off or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from stage_runs import (
    Chain,
    Interrupted,
    full_dpo,
    full_kto,
    kto_gains,
    margin_gains,
    preferences,
    require_learned,
    tiny_dpo,
    tiny_kto,
    train,
    watched_gradients,
)

from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto

pytestmark = pytest.mark.slow  # a minute and more; test_learning.py shows DPO learn in `make test`

CELLS: dict[str, Dpo | Kto] = {
    "dpo-qlora": tiny_dpo(),
    "dpo-lora": replace(tiny_dpo(), quantise=None),
    "dpo-full": full_dpo(),
    "kto-qlora": tiny_kto(),
    "kto-lora": replace(tiny_kto(), quantise=None),
    "kto-full": full_kto(),
}
OTHERS = {
    "rmsprop": replace(full_dpo(1e-4), optimizer="rmsprop"),
    "ipo": replace(tiny_dpo(), loss="ipo"),
    "hinge": replace(tiny_dpo(), loss="hinge"),
    "robust": replace(tiny_dpo(), loss="robust", label_smoothing=0.1),
}
ROWS, UNSEEN = preferences(0, 10), preferences(10, 24)


@pytest.mark.parametrize("until", [None, pytest.param(8, marks=pytest.mark.slow)], ids=["straight", "resumed"])
@pytest.mark.parametrize("name", CELLS)
def test_the_held_out_margin_rises(chain: Chain, tmp_path: Path, name: str, until: int | None) -> None:
    stage = replace(CELLS[name], save_every=3)
    with watched_gradients() as gradients:
        if until:
            with pytest.raises(Interrupted):
                train(stage, chain.hh.model, ROWS, UNSEEN, tmp_path, until=until)
            gradients.moved.clear()
            gradients.tensors.clear()
        trained = train(stage, chain.hh.model, ROWS, UNSEEN, tmp_path)
    gains = margin_gains(trained) if isinstance(stage, Dpo) else kto_gains(trained)
    require_learned(gains, gradients)
    figures = trained.metrics
    assert len([step for step, _, told in trained.logged if "loss" in told]) == (6 if until else 12)
    assert figures["heldout_margin_after"] - figures["heldout_margin_before"] == pytest.approx(fmean(gains))
    assert figures["heldout_margin_merged"] > figures["heldout_margin_before"] + fmean(gains) / 2
    assert figures["heldout_accuracy"] > 0.9
    assert figures["heldout_kl"] > 0
    assert figures["train_margin"] > 0
    assert (trained.out / "adapter").exists() == ("merge_gap" in figures) == (stage.tune == "lora")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_it_rises_by_other_losses_and_optimizers(chain: Chain, tmp_path: Path, name: str) -> None:
    with watched_gradients() as gradients:
        trained = train(OTHERS[name], chain.hh.model, ROWS, UNSEEN, tmp_path)
    require_learned(margin_gains(trained), gradients)


@pytest.mark.parametrize("name", CELLS)
def test_at_no_learning_rate_the_same_test_fails(chain: Chain, tmp_path: Path, name: str) -> None:
    stage = replace(CELLS[name], learning_rate=0.0)
    with watched_gradients() as gradients:
        still = train(stage, chain.hh.model, ROWS, UNSEEN, tmp_path)
    with pytest.raises(AssertionError, match=r"the mean gain a row is 0\.0000"):
        require_learned(margin_gains(still) if isinstance(stage, Dpo) else kto_gains(still), gradients)
    assert still.metrics["heldout_kl"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("stage", [full_dpo(0.0), full_kto(0.0)], ids=lambda stage: stage.name)
def test_before_and_after_are_measured_alike_whatever_it_trained_in(
    chain: Chain, tmp_path: Path, stage: Dpo | Kto
) -> None:
    """A trainer leaves its bf16 products around the model: fp32 weights that did not move would seem to have."""
    stage = replace(stage, precision="bfloat16", max_steps=2)
    still = train(stage, chain.hh.model, ROWS, UNSEEN, tmp_path)
    assert set(margin_gains(still) if isinstance(stage, Dpo) else kto_gains(still)) == {0.0}
    assert still.metrics["heldout_kl"] == 0


def test_a_weight_for_undesirable_answers_moves_them_more(chain: Chain, tmp_path: Path) -> None:
    """Kinds that count for nearly nothing stay nearly where they were."""
    fell = {}
    for weight in (0.01, 1.0):
        stage = replace(full_kto(1e-3), undesirable_weight=weight)
        trained = train(stage, chain.hh.model, ROWS, UNSEEN, tmp_path / str(weight))
        moved = zip(trained.heldout("before")[1::2], trained.heldout("after")[1::2], strict=True)
        fell[weight] = fmean(before - after for before, after in moved)
    assert fell[1.0] > fell[0.01] + 5


def test_where_nothing_is_held_out_the_figures_are_of_what_was_trained_on(chain: Chain, tmp_path: Path) -> None:
    for name, stage in (("dpo", tiny_dpo()), ("kto", tiny_kto())):
        figures = train(stage, chain.hh.model, ROWS, None, tmp_path / name).metrics
        assert figures["train_margin"] > 0
        assert figures["train_kl"] > 0
        assert not any("heldout" in figure for figure in figures)
