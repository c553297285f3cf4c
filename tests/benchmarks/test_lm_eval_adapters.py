"""A chain measured by its adapters on the model it began with, against its merged weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_runs import benchmark, compared, documents, measured, tiny_model

from bezoar_core.records import Adapter, ModelDir, Sample

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    """Return the tiny model with two adapters of random weights, one merged after the other."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = tiny_model()
    folder = tmp_path_factory.mktemp("chain")
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(start.path, dtype=torch.float32)
    adapters = []
    for step, rank in (("sft.one", 4), ("dpo", 8)):
        config = LoraConfig(r=rank, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        on_top = get_peft_model(model, config)
        on_top.save_pretrained(str(folder / step))
        adapters.append(Adapter(step=step, path=folder / step))
        model = on_top.merge_and_unload()
    model.save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(start.path).save_pretrained(folder / "merged")
    return ModelDir(
        name="dpo",
        path=folder / "merged",
        format="chat",
        content="chain",
        base=start.path,
        adapters=tuple(adapters),
    )


def likelihoods(samples: list[Sample]) -> list[float]:
    return [float(str(one[0][0])) for s in documents(samples) if s.metric == "acc" for one in s.data["responses"]]


async def test_the_adapters_score_as_the_merged_weights(chain: ModelDir, tmp_path: Path) -> None:
    bench = benchmark(adapters=True)
    on_top = await measured(bench, chain, tmp_path / "adapters")
    merged = await measured(benchmark(), chain, tmp_path / "merged")
    base = await measured(benchmark(), tiny_model(), tmp_path / "base")
    assert likelihoods(on_top) == pytest.approx(likelihoods(merged), abs=1e-3)
    assert likelihoods(base) != pytest.approx(likelihoods(merged), abs=1e-1), "the adapters do something"
    ours, theirs = await compared(bench, on_top, tmp_path), await compared(benchmark(), merged, tmp_path)
    assert {name: score.value for name, score in ours.items()} == {name: s.value for name, s in theirs.items()}
    assert {score.data["adapters"] for score in ours.values()} == {2}
    assert not any("adapters" in score.data for score in theirs.values())


async def test_a_model_without_adapters_is_measured_by_its_weights(tmp_path: Path) -> None:
    with_field = await measured(benchmark(adapters=True), tiny_model(), tmp_path / "a")
    assert with_field == await measured(benchmark(), tiny_model(), tmp_path / "b")
