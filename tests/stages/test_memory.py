from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from local_models import EXAMPLES
from stage_runs import instructions, preferences, tiny_dpo, tiny_kto, tiny_sft, train

from bezoar_core.errors import StepFailed
from bezoar_core.interfaces import Stage
from bezoar_core.records import Memory, ModelDir, Row
from bezoar_plugins.stages import memory
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto
from bezoar_plugins.stages.memory import counting, needed
from bezoar_plugins.stages.sft import Sft

pytestmark = pytest.mark.slow  # a minute


@dataclass
class Counted:
    """Bytes of the tensors of a training step."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    length: int = 0
    activations: int = 0


@contextmanager
def counted_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Count the tensors of whatever TRL trains."""
    import torch
    from bitsandbytes.nn import Linear4bit
    from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
    from trl import DPOTrainer, KTOTrainer, SFTTrainer

    counted = Counted()

    def bytes_of(tensors: list[torch.Tensor]) -> int:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    def step(optimizer: Optimizer, args: object, kwargs: object) -> None:
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        counted.gradients = bytes_of([p.grad for p in trained])
        states = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
        counted.optimizer = bytes_of(states)

    def own(model: torch.nn.Module) -> list[torch.Tensor]:
        found = [*model.parameters(), *model.buffers()]
        for module in model.modules():
            if isinstance(module, Linear4bit):
                state = module.weight.quant_state
                found += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
        return found

    for trainer in (SFTTrainer, DPOTrainer, KTOTrainer):
        plain = trainer.compute_loss

        def compute_loss(self, model, inputs, *rest, plain=plain, **named):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN202
            if not model.training:
                return plain(self, model, inputs, *rest, **named)
            tensors = own(model)
            counted.weights = bytes_of(tensors)
            with counting([*tensors, *(v for v in inputs.values() if isinstance(v, torch.Tensor))]) as kept:
                loss = plain(self, model, inputs, *rest, **named)
            if sum(kept.values()) > counted.activations:
                counted.length = max(v.shape[1] for n, v in inputs.items() if n.endswith("input_ids"))
                counted.activations = sum(kept.values())
            return loss

        monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    hook = register_optimizer_step_post_hook(step)
    try:
        yield counted
    finally:
        hook.remove()


def estimated(stage: Sft | Dpo | Kto, start: ModelDir, length: int, gpu: bool = False) -> Memory:
    pairs = isinstance(stage, Dpo)
    return needed(
        start.path / "config.json",
        gpu,
        rows=(2 if pairs else 1) * stage.batch_size,
        length=length,
        tune=stage.tune,
        quantise=stage.quantise,
        precision=stage.precision,
        rank=stage.lora_rank,
        targets=stage.lora_targets,
        dropout=stage.lora_dropout if isinstance(stage, Sft) else 0.0,
        optimizer=stage.optimizer,
    )


@pytest.mark.parametrize("quantise", ["nf4", None])
@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_what_is_expected_is_what_its_tensors_take(
    kind: str, quantise: str | None, tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = replace({"sft": tiny_sft, "dpo": tiny_dpo, "kto": tiny_kto}[kind](), quantise=quantise, max_steps=2)
    rows = instructions(0, 8) if kind == "sft" else preferences(0, 8)
    with counted_tensors(monkeypatch) as counted:
        train(stage, tiny, rows, None, tmp_path / "run")

    expected = estimated(stage, tiny, counted.length)
    assert expected.compared
    assert expected.weights == counted.weights
    assert expected.gradients == counted.gradients
    assert expected.optimizer == counted.optimizer
    assert expected.activations == pytest.approx(counted.activations, rel=0.15)


def test_training_every_weight_takes_gradients_and_states_of_every_weight(tiny: ModelDir) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    ids, mask = torch.ones(4, 64, dtype=torch.long), torch.ones(4, 64, dtype=torch.long)
    mask[0, -1] = 0
    with counting((*model.parameters(), *model.buffers(), ids)) as kept:
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state.sum().backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]

    stage = tiny_sft()
    config = tiny.path / "config.json"
    expected = needed(
        config,
        False,
        rows=4,
        length=64,
        tune="full",
        quantise=None,
        precision="auto",
        rank=stage.lora_rank,
        targets=stage.lora_targets,
        dropout=0.0,
        optimizer="auto",
    )

    trained = [p for p in model.parameters() if p.grad is not None]
    assert expected.weights == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    assert expected.gradients == sum(p.grad.nbytes for p in trained)
    assert expected.optimizer == sum(value.nbytes for value in states)
    assert expected.activations == pytest.approx(sum(kept.values()), rel=0.15)
    assert expected.merging == 0


_SHAPES = {
    "135m": (576, 1536, 30, 9, 3, 49152),
    "1b": (2048, 5632, 22, 32, 4, 32000),
}


@pytest.mark.parametrize(
    ("shape", "rows", "length", "dropout", "peak"),
    [  # GiB allocated while training on an H100, in 4 bits: docs/performance.md; DPO's rows are pairs
        ("135m", 8, 256, 0.05, 1.67),
        ("135m", 32, 256, 0.05, 5.81),
        ("135m", 2 * 4, 512, 0.0, 2.81),
        ("1b", 8, 256, 0.05, 4.76),
        ("1b", 2 * 4, 512, 0.0, 7.56),
    ],
)
def test_what_is_expected_of_a_gpu_is_what_one_took(
    shape: str, rows: int, length: int, dropout: float, peak: float, tmp_path: Path
) -> None:
    hidden, inner, layers, heads, shared, vocabulary = _SHAPES[shape]
    settings = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "vocab_size": vocabulary,
        "tie_word_embeddings": shape == "135m",
    }
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")

    expected = needed(
        config,
        True,
        rows=rows,
        length=length,
        tune="lora",
        quantise="nf4",
        precision="auto",
        rank=16,
        targets=("q_proj", "k_proj", "v_proj"),
        dropout=dropout,
        optimizer="auto",
    )

    assert expected.compared
    assert replace(expected, merging=0).total / 2**30 == pytest.approx(peak, rel=0.15)


@pytest.mark.gpu
@pytest.mark.parametrize("quantise", ["nf4", None])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_gpu_takes_what_is_expected(kind: str, quantise: str | None, tmp_path: Path) -> None:
    start = _of_fifty_million_weights(tmp_path)
    stage = replace(
        tiny_sft() if kind == "sft" else tiny_dpo(),
        heldout=None,
        quantise=quantise,
        max_steps=1,
        batch_size=16,
        max_length=256,
        **({"validation_share": 0.0} if kind == "sft" else {}),
    )
    made = instructions(0, 32) if kind == "sft" else preferences(0, 16)
    # as long as the length allows, and many enough that cuBLAS's workspace is little beside them
    rows = [{name: f"{text} {'and so on ' * 200}" for name, text in row.items()} for row in made]
    _train_alone(stage, start, rows, tmp_path, peaks := [])

    expected = replace(estimated(stage, start, 256, gpu=True), merging=0)

    assert expected.total == pytest.approx(peaks[0], rel=0.15)


def _of_fifty_million_weights(folder: Path) -> ModelDir:
    from bezoar_core.conversion import from_random

    settings = {
        "model_type": "llama",
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "vocab_size": 512,
    }
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copy(EXAMPLES / "tiny" / "tokenizer.txt", folder)
    from_random(folder / "config.json", folder / "model")
    return ModelDir(name="start", path=folder / "model", format="openbezoar", content="start", base=folder / "model")


def _train_alone(stage: Stage, start: ModelDir, rows: Sequence[Row], folder: Path, peaks: list[int]) -> None:
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

    def step(optimizer: Optimizer, args: object, kwargs: object) -> None:
        peaks.append(torch.cuda.max_memory_allocated())

    hook = register_optimizer_step_post_hook(step)
    torch.cuda.reset_peak_memory_stats()
    try:
        train(stage, start, rows, None, folder / "run")
    finally:
        hook.remove()


def test_a_longer_row_a_wider_batch_and_a_higher_rank_take_more(tiny: ModelDir) -> None:
    base = tiny_sft()
    plain = estimated(base, tiny, 64)
    assert estimated(base, tiny, 128).activations > 1.9 * plain.activations
    assert estimated(replace(base, batch_size=8), tiny, 64).activations > 1.9 * plain.activations
    wider = estimated(replace(base, lora_rank=32), tiny, 64)
    assert wider.gradients == 2 * plain.gradients
    assert wider.optimizer > 1.9 * plain.optimizer
    assert estimated(replace(base, quantise=None), tiny, 64).weights > plain.weights


def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(
    tiny: ModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = estimated(tiny_sft(), tiny, 64).merging
    monkeypatch.setattr(memory, "free_memory", lambda gpu: least)
    memory.require_memory(tiny.path, False)
    monkeypatch.setattr(memory, "free_memory", lambda gpu: least - 1)
    with pytest.raises(StepFailed, match=f"the weights alone take {least:,} bytes, and {least - 1:,} are free"):
        memory.require_memory(tiny.path, False)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_no_stage_loads_weights_that_do_not_fit(
    kind: str, tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda gpu: 1000)
    rows = instructions(0, 8) if kind == "sft" else preferences(0, 8)
    with pytest.raises(StepFailed, match="the weights alone take"):
        train(tiny_sft() if kind == "sft" else tiny_dpo(), tiny, rows, None, tmp_path / "run")


@pytest.mark.parametrize("stage", [tiny_sft(), tiny_dpo(), tiny_kto()], ids=["sft", "dpo", "kto"])
def test_stages_say_what_they_take_at_their_own_settings(stage: Sft | Dpo | Kto, tiny: ModelDir) -> None:
    assert stage.memory(tiny.path / "config.json", False) == estimated(stage, tiny, stage.max_length)
