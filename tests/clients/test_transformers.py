from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from local_models import EXAMPLES, SMOLLM2, TINY, local_model, tokenizer_of

from bezoar_core.conversion import from_random
from bezoar_core.errors import Fault, RequestFailed
from bezoar_core.interfaces import LocalClient
from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Completion, Message, ModelDir, Request, Sampling
from bezoar_core.schema import check
from bezoar_core.yaml_tree import Tree
from bezoar_plugins.clients.transformers import Answering, Transformers


@pytest.fixture(scope="module")
def tiny() -> ModelDir:
    return local_model(TINY)


@asynccontextmanager
async def answering(model: ModelDir, settings: Transformers | None = None) -> AsyncIterator[Answering]:
    client = (settings or Transformers()).bind(model)
    assert isinstance(client, Answering)
    try:
        yield client
    finally:
        await client.aclose()


def ask(text: str, **fields: Any) -> Request:  # noqa: ANN401 - the fields of Request and of Sampling
    sampling = {name: fields.pop(name) for name in ("max_tokens", "temperature", "top_p", "seed") if name in fields}
    return Request(messages=(Message("user", text),), sampling=Sampling(**sampling), **fields)


async def answer(
    model: ModelDir, requests: Sequence[Request], settings: Transformers | None = None
) -> list[Completion]:
    async with answering(model, settings) as client:
        return list(await asyncio.gather(*(client.complete(request) for request in requests)))


def mixed(count: int, tokens: int) -> list[Request]:
    """Return requests that differ in length, sampling, stops and choices."""
    made = []
    for n in range(count):
        options: dict[str, Any] = {"temperature": (None, 0.0, 0.7, 1.3)[n % 4], "top_p": (None, 0.9)[n % 2]}
        if n % 7 == 6:
            options["choices"] = ("Accept", "Reject", "Accept it")
        if n % 5 == 4:
            options |= {"stop": ("e", "\n"), "prefill": "So"}
        made.append(ask(f"Write {n} words about rain. " * (1 + n * 5 % 11), max_tokens=tokens - n % 3, **options))
    return made


async def test_a_reply_is_the_same_however_requests_are_batched(tiny: ModelDir) -> None:
    requests = mixed(42, 24)
    order = list(range(len(requests)))
    random.Random(1).shuffle(order)
    alone = await answer(tiny, requests, Transformers(exact=True, batch_size=1))
    for size in (4, 16):
        assert await answer(tiny, requests, Transformers(exact=True, batch_size=size)) == alone
    shuffled = await answer(tiny, [requests[n] for n in order], Transformers(exact=True, batch_size=16))
    assert shuffled == [alone[n] for n in order]
    assert len({reply.text for reply in alone}) > len(alone) // 2


@pytest.mark.gpu
async def test_a_wider_model_s_reply_is_the_same_too(tmp_path: Path) -> None:
    """A GPU multiplies the tiny model's narrow matrices by other kernels than those of a model in use."""
    keys = json.loads((EXAMPLES / "tiny" / "config.json").read_text(encoding="utf-8"))
    wide = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps({**keys, **wide}), encoding="utf-8")
    shutil.copy(EXAMPLES / "tiny" / "tokenizer.txt", tmp_path)
    from_random(tmp_path / "config.json", tmp_path / "model")
    model = ModelDir(name="wide", path=tmp_path / "model", format="chat", content="wide", base=tmp_path / "model")
    alone = await answer(model, mixed(42, 24), Transformers(exact=True, batch_size=1))
    assert await answer(model, mixed(42, 24), Transformers(exact=True, batch_size=16)) == alone
    assert len({reply.text for reply in alone}) > len(alone) // 2


async def test_sample_and_seed_make_another_draw_and_temperature_0_makes_none(tiny: ModelDir) -> None:
    drawn = [ask("Hi", max_tokens=8), ask("Hi", max_tokens=8, sample=1), ask("Hi", max_tokens=8, seed=1)]
    assert len({reply.text for reply in await answer(tiny, drawn)}) == 3
    sure = [replace(r, sampling=replace(r.sampling, temperature=0.0)) for r in drawn]
    assert len({reply.text for reply in await answer(tiny, sure)}) == 1


async def test_greedy_replies_are_those_of_plain_generate(tiny: ModelDir) -> None:
    requests = [ask("Say something about " + "rain and snow " * n, max_tokens=12, temperature=0.0) for n in range(6)]
    async with answering(tiny) as client:
        replies = await asyncio.gather(*(client.complete(request) for request in requests))
        model, tokenizer = client.model.model, client.model.tokenizer
    for request, reply in zip(requests, replies, strict=True):
        ids = encode(get_format("chat", tokenizer), request.messages, tokenizer).ids
        made = model.generate(
            torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=tokenizer.eos_token_id
        )
        assert reply.text == tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True)


async def test_tokens_are_drawn_as_often_as_their_probability_says(tiny: ModelDir) -> None:
    temperature, top_p, count = 0.5, 0.6, 1500
    requests = [ask("Hi", max_tokens=1, temperature=temperature, top_p=top_p, sample=n) for n in range(count)]
    async with answering(tiny, Transformers(batch_size=64)) as client:
        replies = await asyncio.gather(*(client.complete(request) for request in requests))
        prompt = client.model.prompt(requests[0])
        model = client.model.model
        logits = model(input_ids=torch.tensor([prompt.ids]).to(model.device)).logits[0, -1].detach().cpu()
        texts = [client.model.tokenizer.decode([n], skip_special_tokens=True) for n in range(len(logits))]
    likely, places = (logits / temperature).softmax(-1).sort(descending=True)
    inside = int((likely.cumsum(-1) < top_p).sum()) + 1
    expected: Counter[str] = Counter()
    for share, place in zip(likely[:inside].tolist(), places[:inside].tolist(), strict=True):
        expected[texts[place]] += share / float(likely[:inside].sum()) * count
    seen = Counter(reply.text for reply in replies)
    assert set(seen) <= set(expected)
    distance = sum((seen[text] - mean) ** 2 / mean for text, mean in expected.items())
    spread = (2 * len(expected)) ** 0.5  # of a chi-squared distribution
    assert abs(distance - len(expected)) < 5 * spread


async def test_a_stop_text_ends_a_reply_and_is_cut_off(tiny: ModelDir) -> None:
    [whole] = await answer(tiny, [ask("Hi", max_tokens=40, temperature=0.0, prefill="A")])
    assert whole.finish == "length"
    stop = whole.text[9:12]  # over a token's edge: the tiny model's tokens are of one to three characters
    [cut] = await answer(tiny, [ask("Hi", max_tokens=40, temperature=0.0, prefill="A", stop=("never", stop))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.usage.output_tokens is not None and cut.usage.output_tokens < 40
    assert isinstance(cut.raw, dict) and str(cut.raw["text"]).startswith(cut.text + stop)


async def test_the_end_of_a_turn_ends_a_reply(tiny: ModelDir) -> None:
    requests = [ask("Hi", max_tokens=500, sample=n) for n in range(12)]
    tokenizer = tokenizer_of(tiny)
    replies = await answer(tiny, requests)
    assert {reply.finish for reply in replies} == {"stop", "length"}
    for reply in replies:
        ended = reply.finish == "stop"
        assert ended == (reply.usage.output_tokens is not None and reply.usage.output_tokens < 500)
        assert tokenizer.eos_token not in reply.text


async def test_the_end_that_a_generation_config_names_wrongly_is_ignored(tiny: ModelDir, tmp_path: Path) -> None:
    request = ask("Hi", max_tokens=30, temperature=0.0)
    [right] = await answer(tiny, [request])
    folder = shutil.copytree(tiny.path, tmp_path / "model")
    wrong = tokenizer_of(tiny)(right.text)["input_ids"][3]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": wrong, "temperature": 0.1}))
    [reply] = await answer(replace(tiny, path=folder), [request])
    assert reply == right


async def test_prefill_is_not_a_part_of_the_text(tiny: ModelDir) -> None:
    for format in ("chat", "hh", "openbezoar"):
        requests = [
            ask("Hi", max_tokens=6, temperature=0.0, prefill=prefill, format=format) for prefill in ("", "Well, ")
        ]
        bare, begun = await answer(tiny, requests)
        assert not begun.text.startswith("Well")
        assert begun.usage.input_tokens is not None and bare.usage.input_tokens is not None
        assert begun.usage.input_tokens > bare.usage.input_tokens


async def test_choices_are_scored_by_their_log_probability(tiny: ModelDir) -> None:
    choices = ("Accept", "Reject", "no")
    request = ask("Is it good?", choices=choices, prefill="Verdict: ")
    async with answering(tiny) as client:
        reply = await client.complete(request)
        model, tokenizer = client.model.model, client.model.tokenizer
    expected = []
    for choice in choices:
        prompt = encode(get_format("chat", tokenizer), request.messages, tokenizer, "Verdict: ").ids
        ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
        logs = model(input_ids=torch.tensor([prompt + ids]).to(model.device)).logits[0].detach().log_softmax(-1)
        expected.append(sum(float(logs[len(prompt) - 1 + n, token]) for n, token in enumerate(ids)))
    assert reply.scores == pytest.approx(expected, abs=1e-4)
    assert reply.text == choices[expected.index(max(expected))]
    assert len({len(tokenizer(choice)["input_ids"]) for choice in choices}) > 1


async def test_a_choice_that_begins_another_does_not_win_by_being_short(tiny: ModelDir) -> None:
    [alone] = await answer(tiny, [ask("How many?", choices=("1", "x"))])
    [both] = await answer(tiny, [ask("How many?", choices=("1", "10", "x"))])
    assert both.scores[0] < alone.scores[0]
    assert both.scores[2] < alone.scores[1]
    with pytest.raises(RequestFailed, match="one of `choices` is empty"):
        await answer(tiny, [ask("How many?", choices=("1", ""))])


async def test_a_prompt_that_fills_the_context_fails_and_the_others_do_not(tiny: ModelDir) -> None:
    requests = [ask("long " * 400, max_tokens=2), ask("short", max_tokens=99, temperature=0.0)]
    short = len(encode(get_format("chat", tokenizer_of(tiny)), requests[1].messages, tokenizer_of(tiny)).ids)
    async with answering(tiny, Transformers(max_length=short + 3)) as client:
        results = await asyncio.gather(*(client.complete(r) for r in requests), return_exceptions=True)
    assert isinstance(results[0], RequestFailed)
    assert results[0].kind == "context"
    assert f"tokens, and the context length is {short + 3}" in results[0].message
    assert isinstance(results[1], Completion)
    assert (results[1].finish, results[1].usage.output_tokens) == ("length", 3)


async def test_batches_are_sorted_by_length_and_hold_who_waits_longest(tiny: ModelDir) -> None:
    requests = [ask("word " * n, max_tokens=1) for n in (9, 1, 8, 2, 7, 3, 6, 4, 5, 10)]
    shapes: list[tuple[int, ...]] = []
    async with answering(tiny, Transformers(batch_size=4)) as client:
        await client.complete(requests[0])
        generate = client.model.model.generate

        def noting(**inputs: Any) -> object:  # noqa: ANN401 - what `generate` takes
            shapes.append(tuple(inputs["attention_mask"].sum(-1).tolist()))
            return generate(**inputs)

        client.model.model.generate = noting
        await asyncio.gather(*(client.complete(request) for request in requests))
    assert [len(shape) for shape in shapes] == [2, 4, 4]
    assert all(list(shape) == sorted(shape) for shape in shapes)
    assert min(shapes[0]) > max(max(shape) for shape in shapes[1:])


async def test_a_reply_that_nobody_waits_for_is_not_gone_on_with(tiny: ModelDir) -> None:
    passes: list[int] = []
    async with answering(tiny) as client:
        await client.complete(ask("Hi", max_tokens=1))
        client.model.model.register_forward_hook(lambda *_: passes.append(1))
        task = asyncio.create_task(client.complete(ask("Hi", max_tokens=1900, format="openbezoar", sample=3)))
        while len(passes) < 5:
            await asyncio.sleep(0.001)
        task.cancel()
        await client.complete(ask("Hi", max_tokens=1))
    assert len(passes) < 1000


async def test_what_breaks_inside_reaches_who_asked(tiny: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(tiny) as client:
        await client.complete(ask("Hi", max_tokens=1))

        def broken(**inputs: object) -> None:
            raise RuntimeError("out of luck")

        monkeypatch.setattr(client.model.model, "generate", broken)
        results = await asyncio.gather(
            *(client.complete(ask("Hi", sample=n)) for n in range(3)), return_exceptions=True
        )
    assert [str(result) for result in results] == ["out of luck"] * 3


async def test_bfloat16_answers_too(tiny: ModelDir) -> None:
    replies = await answer(tiny, mixed(8, 6), Transformers(dtype="bfloat16"))
    assert all(reply.usage.output_tokens for reply in replies)


def test_exact_and_bfloat16_exclude_each_other() -> None:
    faults: list[Fault] = []
    data = {"exact": True, "dtype": "bfloat16"}
    assert check(Transformers, data, ("models", "m"), Tree(data, {(): "registry.yaml:3:1"}), faults) is None
    assert "`exact: true` computes in float32: leave out `dtype: bfloat16`" in str(faults[0])


def test_what_changes_no_reply_is_no_part_of_the_identity() -> None:
    assert isinstance(Transformers(), LocalClient)
    assert Transformers(batch_size=3).identity() == Transformers().identity()
    assert Transformers(dtype="bfloat16").identity() != Transformers().identity()
    assert Transformers(max_length=9).identity() != Transformers().identity()


@pytest.mark.slow
async def test_smollm2_from_its_wheel_answers_the_same_in_any_batch() -> None:
    model = local_model(SMOLLM2)
    texts = ["Name a fruit.", "Write one sentence about the sea and the wind.", "What is 2 + 3?", "Say hello."]
    begun = ask(
        "Write tasks like <example>Name a river.</example>",
        max_tokens=24,
        prefill="<example>",
        stop=("</example>", "\n"),
    )
    requests = [*(ask(t * n, max_tokens=16, temperature=0.9, top_p=0.95) for n in (1, 3) for t in texts), begun]
    together = await answer(model, requests, Transformers(exact=True, batch_size=16))
    assert await answer(model, requests[::-1], Transformers(exact=True, batch_size=2)) == together[::-1]
    assert "<" not in together[-1].text and together[-1].text.strip()
    [sea] = await answer(model, [ask("What is the capital of France?", max_tokens=24, temperature=0.0)])
    assert "Paris" in sea.text
    named = ask("Name a capital.", prefill="The capital of France is", choices=(" Rome", " Paris", " Berlin"))
    [verdict] = await answer(model, [named])
    assert verdict.text == " Paris" and len(verdict.scores) == 3
