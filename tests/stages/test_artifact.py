"""What a stage leaves: folders that others load, the same bytes each time, and nothing of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from stage_runs import Chain, Trained, digests, instructions, preferences, tiny_dpo, tiny_sft, train
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from bezoar_core.errors import StepFailed
from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Message, ModelDir
from bezoar_core.types import Json
from bezoar_plugins.stages import merge as merging
from bezoar_plugins.stages.merge import concatenate, merge

STAGES = ["sft", "orca", "hh", "dpo"]
PROBE = torch.tensor([[5, 300, 41, 7, 99, 260, 13, 4]])


def _load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=PROBE).logits
    return logits


def _config(folder: Path, name: str) -> dict[str, Json]:
    config: dict[str, Json] = json.loads((folder / name).read_text(encoding="utf-8"))
    return config


@pytest.mark.parametrize("name", STAGES)
def test_the_merged_model_is_its_start_with_the_adapter_on_top(chain: Chain, name: str) -> None:
    starts = {"sft": chain.base, "orca": chain.sft.model, "hh": chain.orca.model, "dpo": chain.hh.model}
    trained: Trained = getattr(chain, name)
    on_top = PeftModel.from_pretrained(_load(starts[name].path), str(trained.out / "adapter")).eval()
    merged = _logits(_load(trained.out / "model"))
    assert float((_logits(on_top) - merged).abs().max()) < 1e-3
    assert trained.metrics["merge_gap"] < 1e-3
    assert float((_logits(_load(starts[name].path)) - merged).abs().max()) > 1e-2


@pytest.mark.parametrize(("name", "rank"), [("sft", 16), ("orca", 32), ("hh", 48), ("dpo", 64)])
def test_the_chain_s_adapter_on_the_first_model_is_the_last_model(chain: Chain, name: str, rank: int) -> None:
    trained: Trained = getattr(chain, name)
    folder = trained.out / "chain"
    assert _config(folder, "adapter_config.json")["r"] == rank
    whole = PeftModel.from_pretrained(_load(chain.base.path), str(folder)).eval()
    assert float((_logits(whole) - _logits(_load(trained.out / "model"))).abs().max()) < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_adapters_of_different_rank_and_targets_make_one_chain(chain: Chain, tmp_path: Path) -> None:
    small = tiny_sft()
    small = type(small)(**{**vars(small), "lora_rank": 4, "lora_alpha": 8, "lora_targets": ("o_proj", "up_proj")})
    second = train(small, chain.sft.model, instructions(0, 8), None, tmp_path / "second")
    whole = PeftModel.from_pretrained(_load(chain.base.path), str(second.out / "chain")).eval()
    assert float((_logits(whole) - _logits(_load(second.out / "model"))).abs().max()) < 1e-5


def test_a_chain_that_began_with_all_weights_has_no_adapter(tiny: ModelDir, tmp_path: Path) -> None:
    start = ModelDir(**{**vars(tiny), "adapters": None})
    trained = train(tiny_sft(), start, instructions(0, 8), None, tmp_path / "sft")
    assert not (trained.out / "chain").exists()


def test_weights_that_are_not_finite_stop_the_step(chain: Chain, tmp_path: Path) -> None:
    """A NaN in a key projection leaves the logits finite: torch's attention drops it."""
    broken = tmp_path / "adapter"
    broken.mkdir()
    for file in (chain.sft.out / "adapter").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "adapter_model.safetensors")
    first = next(name for name in sorted(weights) if "k_proj" in name)
    save_file({**weights, first: weights[first] * float("nan")}, broken / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(StepFailed, match="the adapter's weights are not finite"):
        merge(chain.base.path, broken, PROBE.tolist(), gpu=False)


def test_a_merge_that_changes_a_logit_stops_the_step(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "TOLERANCE", 1e-9)
    with pytest.raises(StepFailed, match=r"merging the adapter changed a logit by [\d.]+e-0\d, more than 1e-09"):
        merge(chain.base.path, chain.sft.out / "adapter", PROBE.tolist(), gpu=False)


@pytest.mark.parametrize("name", STAGES)
def test_whoever_loads_the_folder_prompts_and_stops_as_it_was_trained(chain: Chain, name: str) -> None:
    folder = getattr(chain, name).out / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = _load(folder)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    asked = [Message("system", "Be kind."), Message("user", "Hi")]
    turns = [{"role": message.role, "content": message.content} for message in asked]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == encode(get_format("openbezoar"), asked, tokenizer).ids


def test_another_format_is_packaged_and_other_weights_are_saved(tiny: ModelDir, tmp_path: Path) -> None:
    stage = tiny_sft()
    stage = type(stage)(**{**vars(stage), "format": "hh", "save_dtype": "bfloat16", "heldout": None})
    trained = train(stage, tiny, preferences(0, 8), None, tmp_path / "sft")
    folder = trained.out / "model"
    assert "Human:" in (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert _config(folder, "config.json")["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert not (trained.out / "heldout.jsonl").exists()
    assert not any(name.startswith("heldout") for name in trained.metrics)


def test_the_same_rows_and_seed_give_the_same_bytes(chain: Chain, tmp_path: Path) -> None:
    rows, unseen = (instructions(0, 10), instructions(10, 24))
    again = train(tiny_sft(), chain.base, rows, unseen, tmp_path / "sft")
    assert digests(again.out) == digests(chain.sft.out)
    assert again.metrics == chain.sft.metrics
    hh_rows, hh_unseen = (preferences(0, 10), preferences(10, 24))
    again = train(tiny_dpo(), chain.hh.model, hh_rows, hh_unseen, tmp_path / "dpo")
    assert digests(again.out) == digests(chain.dpo.out)
    assert again.metrics == chain.dpo.metrics


def test_another_seed_gives_other_weights(chain: Chain, tmp_path: Path) -> None:
    other = train(tiny_sft(), chain.base, instructions(0, 10), None, tmp_path / "sft", seed=7)
    assert digests(other.out)["model/model.safetensors"] != digests(chain.sft.out)["model/model.safetensors"]


@pytest.mark.parametrize("name", STAGES)
def test_nothing_of_this_machine_is_in_it_and_no_pickle(chain: Chain, name: str) -> None:
    out = getattr(chain, name).out
    kinds = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert kinds == {".json", ".jsonl", ".safetensors", ".jinja", ".parquet"}
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for place in (out.parents[1], chain.base.path, Path.home()):
                assert str(place).encode() not in content, f"{path.name} names {place}"
    config = _config(out / "adapter", "adapter_config.json")
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == ["k_proj", "q_proj", "v_proj"]


def test_concatenating_writes_nothing_but_the_adapter(chain: Chain, tmp_path: Path) -> None:
    concatenate(chain.base.path, [chain.sft.out / "adapter", chain.orca.out / "adapter"], tmp_path / "both")
    assert digests(tmp_path / "both") == digests(chain.orca.out / "chain")
