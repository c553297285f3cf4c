from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from types import SimpleNamespace

import pytest
from clients import loopback
from clients.loopback import Loopback, scripted

from bezoar_core.errors import Transient
from bezoar_core.interfaces import Client
from bezoar_core.records import Message, Request, Sampling, Usage
from bezoar_plugins.clients.anthropic import END_OF_LIFE, Anthropic, bezoar_inspect, end_of_life

KEY = "sk-ant-canary-0123456789"
ASK = Request(messages=(Message("user", "What is 1 + 1?"),))
HOST = "https://api.anthropic.com"


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as server:
        yield server


@pytest.fixture
async def claude(server: Loopback) -> AsyncIterator[Anthropic]:
    client = Anthropic(model="claude-x", api_key=KEY, base_url=server.url)
    yield client
    await client.aclose()


def test_it_is_a_client() -> None:
    assert isinstance(Anthropic(model="m", api_key="k"), Client)
    assert Anthropic(model="m", api_key="k").supports == {"choices", "stop"}
    assert Anthropic(model="m", api_key="k", without=("choices",)).supports == {"stop"}


async def test_a_request_as_it_goes_over_the_wire(server: Loopback, claude: Anthropic) -> None:
    request = Request(
        messages=(Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v")),
        sampling=Sampling(max_tokens=64, temperature=0.0, top_p=0.9, seed=5),
        stop=("\n", "###"),
    )
    reply = await claude.complete(request)
    assert server.bodies == [
        {
            "model": "claude-x",
            "max_tokens": 64,
            "system": "s",
            "messages": [
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "v"},
            ],
            "stop_sequences": ["###"],
        }
    ]
    headers = server.headers[0]
    assert headers["x-api-key"] == KEY and headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in headers
    assert reply.text == "v" and reply.finish == "stop" and reply.model == "claude-x"
    assert reply.usage == Usage(input_tokens=4, output_tokens=7)


async def test_an_empty_system_message_is_not_sent(server: Loopback, claude: Anthropic) -> None:
    await claude.complete(Request(messages=(Message("system", ""), *ASK.messages)))
    assert "system" not in server.bodies[0]


async def test_a_stop_of_white_space_which_the_api_refuses_is_kept_here(server: Loopback, claude: Anthropic) -> None:
    server.echo = scripted({"replies": ["one\n\ntwo\nthree"]})
    server.faults.append("length")
    reply = await claude.complete(Request(messages=ASK.messages, stop=("\n\n", "\n")))
    assert (reply.text, reply.finish) == ("one", "stop")
    assert "stop_sequences" not in server.bodies[0]


async def test_choices_are_asked_for_by_a_schema_and_read_back(server: Loopback, claude: Anthropic) -> None:
    server.echo = scripted({"replies": ["Accept"]})
    reply = await claude.complete(Request(messages=ASK.messages, choices=("Accept", "Reject")))
    assert reply.text == "Accept"
    assert server.bodies[0]["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"choice": {"type": "string", "enum": ["Accept", "Reject"]}},
                "required": ["choice"],
                "additionalProperties": False,
            },
        }
    }


@pytest.mark.parametrize(("fault", "finish"), [("length", "length"), ("refusal", "refused")])
async def test_a_reply_that_is_not_whole_is_marked(
    fault: str, finish: str, server: Loopback, claude: Anthropic
) -> None:
    server.faults.append(fault)
    assert (await claude.complete(ASK)).finish == finish


@pytest.mark.parametrize(
    ("fault", "message"),
    [("empty", "the reply has no content"), ("abort", "the reply ended with `pause_turn`"), ("html", "no JSON object")],
)
async def test_a_reply_that_makes_no_sense_may_heal(
    fault: str, message: str, server: Loopback, claude: Anthropic
) -> None:
    server.faults.append(fault)
    with pytest.raises(Transient, match=message) as caught:
        await claude.complete(ASK)
    assert caught.value.kind == "reply"


async def test_only_text_is_taken_of_the_content(claude: Anthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    whole = loopback._messages_reply
    monkeypatch.setattr(loopback, "_messages_reply", lambda *args: {**whole(*args), "content": blocks})
    assert (await claude.complete(ASK)).text == "ab"


def test_models_past_their_end_are_known() -> None:
    assert end_of_life("claude-2.1", HOST, date(2025, 7, 21)) == date(2025, 7, 21)
    assert end_of_life("claude-2.1", HOST, date(2025, 7, 20)) is None
    assert end_of_life("claude-2.1", "http://127.0.0.1:8000", date(2026, 1, 1)) is None
    assert end_of_life("claude-new", HOST, date(2030, 1, 1)) is None
    assert end_of_life("claude-2.1", HOST + "/", date(2030, 1, 1)) == END_OF_LIFE["claude-2.1"]


def test_preflight_refuses_them_with_the_date() -> None:
    models = {
        "judge": SimpleNamespace(settings=Anthropic(model="claude-2.1", api_key="k")),
        "live": SimpleNamespace(settings=Anthropic(model="claude-live", api_key="k")),
    }
    (finding,) = bezoar_inspect(SimpleNamespace(registry=SimpleNamespace(models=models)))  # type: ignore[arg-type]
    assert finding.severity == "error" and tuple(finding.path) == ("models", "judge", "model")
    assert finding.message == "`claude-2.1` reached its end of life on 2025-07-21"
    assert "live model" in finding.tip
