from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from local_models import EXAMPLES
from stage_runs import (
    Chain,
    Interrupted,
    instructions,
    loss_gains,
    margin_gains,
    preferences,
    require_learned,
    tiny_dpo,
    tiny_sft,
    train,
    watched_gradients,
)

from bezoar_core.conversion import from_random
from bezoar_core.errors import StepFailed
from bezoar_core.records import ModelDir
from bezoar_plugins.stages import quantised


@pytest.mark.parametrize("name", ["sft", "orca", "hh"])
def test_sft_lowers_the_held_out_loss(chain: Chain, name: str) -> None:
    require_learned(loss_gains(getattr(chain, name)), chain.gradients[name])


def test_dpo_raises_the_held_out_margin(chain: Chain) -> None:
    require_learned(margin_gains(chain.dpo), chain.gradients["dpo"])


CELLS = {
    "qlora": tiny_sft(),
    "lora": replace(tiny_sft(), quantise=None),
    "full": replace(tiny_sft(3e-3), quantise=None, tune="full"),
    "hh": replace(tiny_sft(), format="hh", loss="completion"),
}


@pytest.mark.parametrize("until", [None, 8], ids=["straight", "resumed"])
@pytest.mark.parametrize("name", CELLS)
def test_whatever_is_tuned_lowers_the_held_out_loss(
    name: str, until: int | None, tiny: ModelDir, tmp_path: Path
) -> None:
    stage = replace(CELLS[name], save_every=3)
    rows = preferences if name == "hh" else instructions
    with watched_gradients() as gradients:
        if until:
            with pytest.raises(Interrupted):
                train(stage, tiny, rows(0, 10), rows(10, 24), tmp_path, until=until)
            gradients.moved.clear()
            gradients.tensors.clear()
        trained = train(stage, tiny, rows(0, 10), rows(10, 24), tmp_path)
    require_learned(loss_gains(trained), gradients)
    assert len([step for step, _, figures in trained.logged if "loss" in figures]) == (6 if until else 12)


@pytest.mark.parametrize("name", CELLS)
def test_sft_at_no_learning_rate_fails_the_same_test(name: str, tiny: ModelDir, tmp_path: Path) -> None:
    stage = replace(CELLS[name], learning_rate=0.0)
    rows = preferences if name == "hh" else instructions
    with watched_gradients() as gradients:
        still = train(stage, tiny, rows(0, 10), rows(10, 24), tmp_path / "sft")
    with pytest.raises(AssertionError, match=r"the mean gain a row is 0\.0000"):
        require_learned(loss_gains(still), gradients)
    if stage.tune == "lora":  # an adapter's A has none while its B is zero
        with pytest.raises(AssertionError, match="some trained tensor never had a gradient"):
            require_learned([1.0, 1.0, 1.1], gradients)


def test_figures_are_the_rows_own(chain: Chain) -> None:
    tokens, losses = chain.sft.heldout("tokens"), chain.sft.heldout("loss_after")
    whole = sum(t * loss for t, loss in zip(tokens, losses, strict=True)) / sum(tokens)
    assert chain.sft.metrics["heldout_loss_after"] == pytest.approx(whole, abs=1e-9)
    assert chain.sft.metrics["heldout_rows"] == len(tokens) == 24
    assert chain.dpo.metrics["heldout_margin_after"] == pytest.approx(fmean(chain.dpo.heldout("margin_after")))
    assert chain.dpo.metrics["heldout_reward_margin"] == pytest.approx(0.1 * fmean(margin_gains(chain.dpo)))
    assert chain.dpo.metrics["heldout_loss_before"] == pytest.approx(0.6931472)
    assert chain.dpo.metrics["heldout_loss_after"] < chain.dpo.metrics["heldout_loss_before"]
    assert chain.dpo.metrics["heldout_accuracy"] == 1.0


def test_what_is_saved_does_nearly_as_well_as_what_was_trained(chain: Chain) -> None:
    """The adapter learned on 4-bit weights and is merged into full ones."""
    for stage in (chain.sft, chain.orca, chain.hh):
        assert stage.metrics["heldout_loss_merged"] == pytest.approx(stage.metrics["heldout_loss_after"], abs=0.05)
        assert stage.metrics["heldout_loss_merged"] < stage.metrics["heldout_loss_before"]
    gained = chain.dpo.metrics["heldout_margin_after"] - chain.dpo.metrics["heldout_margin_before"]
    assert chain.dpo.metrics["heldout_margin_merged"] > chain.dpo.metrics["heldout_margin_before"] + gained / 2


def test_each_step_is_logged_and_its_time_shown_alone(chain: Chain) -> None:
    steps = [step for step, total, figures in chain.dpo.logged if "loss" in figures]
    assert steps == list(range(1, 13))
    assert {total for _, total, _ in chain.dpo.logged} == {12}
    lines = (chain.dpo.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    names = {name for line in lines for name in json.loads(line)}
    assert {"loss", "grad_norm", "learning_rate", "rewards/margins", "rewards/accuracies"} <= names
    assert not any("runtime" in name or "per_second" in name for name in names)


def test_every_figure_is_a_line_and_its_time_is_shown_alone(chain: Chain) -> None:
    lines = [json.loads(line) for line in (chain.sft.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "validation_loss" in line] == [10, 12]
    assert {"grad_norm", "learning_rate", "tokens", "epoch"} <= set(lines[0])
    shown = [{"step": step, **figures} for step, _, figures in chain.sft.logged]
    assert all(figures.pop("tokens_per_second") > 0 for figures in shown if "loss" in figures)
    assert shown == lines
    tokens = [line["tokens"] for line in lines if "loss" in line]
    assert len({tokens[step] + tokens[step + 1] for step in range(0, 12, 2)}) == 1  # two steps are one pass


@pytest.fixture
def packable(tmp_path: Path) -> ModelDir:
    """Return a tiny model whose layers bitsandbytes can repack: their sizes are multiples of 32."""
    keys = json.loads((EXAMPLES / "tiny" / "config.json").read_text(encoding="utf-8"))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**keys, "intermediate_size": 128}), encoding="utf-8")
    (tmp_path / "tokenizer.txt").write_bytes((EXAMPLES / "tiny" / "tokenizer.txt").read_bytes())
    from_random(config, tmp_path / "model")
    folder = tmp_path / "model"
    return ModelDir(name="packable", path=folder, format="openbezoar", content="packable", base=folder)


# what the trap is: it would be the only sign of it, and is a warning of the first time alone
repacked_weights_warn = pytest.mark.filterwarnings("ignore:bitsandbytes..gem[mv]_4bit. an autograd kernel:UserWarning")
needs_avx512_bf16 = pytest.mark.skipif("not __import__('bitsandbytes').functional.has_avx512bf16()")


@needs_avx512_bf16
@repacked_weights_warn
@pytest.mark.parametrize("cured", [True, False])
def test_an_evaluation_ends_learning_unless_it_is_cured(
    packable: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cured: bool
) -> None:
    if cured:
        with watched_gradients() as gradients:
            trained = train(tiny_sft(), packable, instructions(0, 10), instructions(10, 24), tmp_path / "sft")
        require_learned(loss_gains(trained), gradients)
        return
    monkeypatch.setattr(quantised, "keep_gradients", lambda model: None)
    with pytest.raises(StepFailed, match="every gradient is zero at step 1: nothing would be learned"):
        train(tiny_sft(), packable, instructions(0, 10), instructions(10, 24), tmp_path / "sft")


@needs_avx512_bf16
@repacked_weights_warn
def test_a_reference_asked_beforehand_leaves_every_gradient(packable: ModelDir, tmp_path: Path) -> None:
    with watched_gradients() as gradients:
        trained = train(tiny_dpo(), packable, preferences(0, 10), preferences(10, 24), tmp_path / "dpo")
    require_learned(margin_gains(trained), gradients)
