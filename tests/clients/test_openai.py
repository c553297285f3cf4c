from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from clients.loopback import Loopback, scripted

from bezoar_core.errors import BezoarError, RequestFailed, Transient
from bezoar_core.interfaces import Client
from bezoar_core.records import Completion, Message, Request, Sampling, Usage
from bezoar_plugins.clients.openai import OpenAI, bezoar_inspect

KEY = "sk-canary-0123456789"
ASK = Request(messages=(Message("system", "Be brief."), Message("user", "What is 1 + 1?")))


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as server:
        yield server


@pytest.fixture
async def chat(server: Loopback) -> AsyncIterator[OpenAI]:
    client = OpenAI(model="m-1", base_url=f"{server.url}/v1/", api_key=KEY)
    yield client
    await client.aclose()


@pytest.fixture
async def raw(server: Loopback) -> AsyncIterator[OpenAI]:
    client = OpenAI(model="m-1", base_url=f"{server.url}/v1", api="completions")
    yield client
    await client.aclose()


def test_it_is_a_client() -> None:
    assert isinstance(OpenAI(model="m"), Client)


async def test_a_chat_request_as_it_goes_over_the_wire(server: Loopback, chat: OpenAI) -> None:
    request = Request(
        messages=(Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v")),
        sampling=Sampling(max_tokens=64, temperature=0.0, top_p=0.9, seed=5),
        stop=("\n", "###"),
        sample=2,
    )
    reply = await chat.complete(request)
    assert server.bodies == [
        {
            "model": "m-1",
            "max_tokens": 64,
            "temperature": 0.0,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["\n", "###"],
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "v"},
            ],
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert reply.text == "v" and reply.finish == "stop" and reply.model == "m-1"
    assert reply.usage == Usage(input_tokens=4, output_tokens=7)
    assert isinstance(reply.raw, dict) and reply.raw["id"] == "loopback"


async def test_what_is_left_to_the_provider_is_not_sent(server: Loopback, chat: OpenAI) -> None:
    await chat.complete(ASK)
    assert set(server.bodies[0]) == {"model", "max_tokens", "messages"}


async def test_a_reasoning_model_has_its_own_word_for_the_limit(server: Loopback) -> None:
    client = OpenAI(model="o", base_url=f"{server.url}/v1", limit_key="max_completion_tokens", without=("seed", "stop"))
    await client.complete(ASK)
    await client.aclose()
    assert server.bodies[0]["max_completion_tokens"] == 512 and "max_tokens" not in server.bodies[0]
    assert client.supports == {"choices", "temperature", "top_p"}


async def test_raw_completions_render_the_prompt_and_begin_the_answer(server: Loopback, raw: OpenAI) -> None:
    request = Request(
        messages=(Message("user", "Say it."),),
        format="falcon-h2o",
        prefill="<example>",
        stop=("</example>",),
        sampling=Sampling(max_tokens=9, temperature=0.7),
    )
    await raw.complete(request)
    assert server.bodies[0] == {
        "model": "m-1",
        "max_tokens": 9,
        "temperature": 0.7,
        "stop": ["</example>", "<|endoftext|>", "<|prompt|>"],
        "prompt": "<|prompt|>Say it.<|endoftext|><|answer|><example>",
    }
    assert server.counts["answered"] == 1


async def test_raw_completions_send_no_stops_to_a_server_without_them(server: Loopback) -> None:
    client = OpenAI(model="m", base_url=f"{server.url}/v1", api="completions", without=("stop",))
    await client.complete(Request(messages=ASK.messages, format="hh"))
    await client.aclose()
    assert "stop" not in server.bodies[0]


async def test_raw_completions_need_a_format(raw: OpenAI) -> None:
    with pytest.raises(RequestFailed, match=r"has no prompt format\n  tip: give the model a `format`"):
        await raw.complete(ASK)
    with pytest.raises(BezoarError, match="`chat` is read from a model's tokenizer"):
        await raw.complete(Request(messages=ASK.messages, format="chat"))


def test_what_each_api_supports() -> None:
    assert OpenAI(model="m").supports == {"choices", "stop", "temperature", "top_p", "seed"}
    assert OpenAI(model="m", api="completions").supports == {
        "raw",
        "prefill",
        "stop",
        "temperature",
        "top_p",
        "seed",
    }


async def test_choices_are_asked_for_by_a_schema_and_read_back(server: Loopback, chat: OpenAI) -> None:
    server.echo = scripted({"replies": ["Reject"]})
    reply = await chat.complete(Request(messages=ASK.messages, choices=("Accept", "Reject")))
    assert reply.text == "Reject"
    form = server.bodies[0]["response_format"]
    assert isinstance(form, dict) and form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["properties"] == {"choice": {"type": "string", "enum": ["Accept", "Reject"]}}


@pytest.mark.parametrize("said", ["Accept.", '{"verdict": 1}', '["Accept"]', '{"choice": 3}', ""])
async def test_a_server_that_ignores_the_schema_is_taken_at_its_word(said: str, server: Loopback, chat: OpenAI) -> None:
    from clients import loopback

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loopback, "_formed", lambda text, asked: said)
        reply = await chat.complete(Request(messages=ASK.messages, choices=("Accept", "Reject")))
    assert reply.text == said


@pytest.mark.parametrize(("fault", "finish"), [("length", "length"), ("filter", "filtered"), ("refusal", "refused")])
async def test_a_reply_that_is_not_whole_is_marked(fault: str, finish: str, server: Loopback, chat: OpenAI) -> None:
    server.faults.append(fault)
    reply = await chat.complete(ASK)
    assert reply.finish == finish
    assert reply.text == ("I would rather not." if fault == "refusal" else "What is 1 + 1?")


async def test_raw_completions_mark_the_length_too(server: Loopback, raw: OpenAI) -> None:
    server.faults.append("length")
    assert (await raw.complete(Request(messages=ASK.messages, format="hh"))).finish == "length"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("empty", "the reply has no choices"),
        ("html", "the reply is no JSON object: <html>bad gateway</html>"),
        ("list", "the reply is no JSON object"),
        ("abort", "the reply ended with `abort`: it may not be whole"),
    ],
)
async def test_a_reply_that_makes_no_sense_may_heal(fault: str, message: str, server: Loopback, chat: OpenAI) -> None:
    server.faults.append(fault)
    with pytest.raises(Transient, match=message) as caught:
        await chat.complete(ASK)
    assert caught.value.kind == "reply"
    assert isinstance(await chat.complete(ASK), Completion)


async def test_a_reply_without_token_counts(chat: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    from clients import loopback

    whole = loopback._openai_reply
    monkeypatch.setattr(loopback, "_openai_reply", lambda *args: {**whole(*args), "usage": None})
    assert (await chat.complete(ASK)).usage == Usage(input_tokens=None, output_tokens=None)


async def test_content_that_is_all_reasoning_is_empty_text(chat: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    from clients import loopback

    monkeypatch.setattr(loopback, "_formed", lambda text, asked: None)
    assert (await chat.complete(ASK)).text == ""


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://me:secret@host/v1", "`base_url` holds a login: give the key as `api_key`"),
        ("https://host/v1?key=secret", "`base_url` holds more than an address: give what follows"),
        ("localhost:8000/v1", "`base_url` must begin with `http://` or `https://`"),
    ],
)
def test_an_address_with_a_fault_is_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenAI(model="m", base_url=address)
    assert OpenAI(model="m", base_url="${SERVER}/v1")


def plan_of(**models: object) -> object:
    return SimpleNamespace(registry=SimpleNamespace(models=models))


def test_preflight_wants_a_written_format_for_raw_completions() -> None:
    client = OpenAI(model="m", api="completions")
    plan = plan_of(
        none=SimpleNamespace(settings=client, format=None),
        chat=SimpleNamespace(settings=client, format="chat"),
        fine=SimpleNamespace(settings=client, format="falcon-h2o"),
        other=SimpleNamespace(settings=OpenAI(model="m"), format=None),
    )
    findings = bezoar_inspect(plan)  # type: ignore[arg-type]
    assert [(f.severity, tuple(f.path)) for f in findings] == [
        ("error", ("models", "none", "format")),
        ("error", ("models", "chat", "format")),
    ]
    assert findings[0].message == "model `none` is asked through raw completions and needs a written prompt format"
