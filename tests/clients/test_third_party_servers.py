"""Our clients against mock servers that others wrote, with the faults those can make."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients.remote import fetched

from bezoar_core.engine import Engine, Retries, Target
from bezoar_core.errors import RequestFailed
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Client
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.stats import count
from bezoar_core.records import Message
from bezoar_core.types import ModelRef
from bezoar_plugins.clients.anthropic import Anthropic
from bezoar_plugins.clients.openai import OpenAI

pytestmark = pytest.mark.slow  # their servers take five seconds a test

COUNT = 200
FAULTS = (
    {"type": "fail", "status": 500, "times": 10},
    {"type": "fail", "status": 502, "times": 10},
    {"type": "fail", "status": 408, "times": 5},
    {"type": "fail", "status": 429, "retry_after": 0.2, "times": 4},
    {"type": "fail", "status": 503, "times": 2},
    {"type": "fail", "status": 529, "times": 2},
    {"type": "delay", "seconds": 0.1, "times": 20},
)
RULES = """\
version: 1
defaults: {fallback: deterministic_echo}
rules:
  - {name: busy, when: {messages_contain: "number 7."}, respond: {status: 503, error: "busy (mock)"}}
  - {name: turned away, when: {messages_contain: "number 8."}, respond: {status: 429, error: "slow down (mock)"}}
  - {name: refused, when: {messages_contain: "number 9."}, respond: {status: 400, error: "no (mock)"}}
  - {name: called, when: {messages_contain: "number 1."}, respond: {tool_calls: [{name: look, arguments: {}}]}}
  - {name: usual, when: {messages_contain: "number"}, respond: {content: "a usual reply"}}
"""


@contextmanager
def serving(folder: Path, command: str, health: str, *options: str) -> Iterator[str]:
    """Serve on a free port until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command), "serve", "--port", str(port), *options],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, (folder / "server.log").read_text()
            try:
                fetched(url + health)
                break
            except urllib.error.URLError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


async def ask_all(client: Client, ledger: Ledger, retries: Retries) -> tuple[Engine, list[str | RequestFailed]]:
    target = Target(name="m", client=client, identity=client.identity(), concurrency=32)
    ask = Engine(ledger=ledger, targets={"m": target}, retries=retries)

    async def one(number: int) -> str | RequestFailed:
        return (await ask(ModelRef("m"), [Message("user", f"Say the number {number}.")])).text

    replies = [text async for text in in_order(one, range(COUNT), failed=lambda number, error: error)]
    await ask.aclose()
    return ask, replies


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_llmock_finds_no_fault_with_us_and_every_request_has_its_reply(protocol: str, tmp_path: Path) -> None:
    with serving(
        tmp_path,
        "llmock",
        "/health",
        "--response-style",
        "echo",
        "--error-rate",
        "500=0.1",
        "--error-rate",
        "504=0.1",
    ) as url:
        fetched(f"{url}/_llmock/scenario", {"behaviors": FAULTS})
        client: Client = (
            OpenAI(model="m", base_url=f"{url}/v1", api_key="k")
            if protocol == "openai"
            else Anthropic(model="m", base_url=f"{url}/anthropic", api_key="k")
        )
        with Ledger(tmp_path / "ledger") as ledger:
            ask, replies = await ask_all(client, ledger, Retries(first=0.1, most=1.0))
            assert count(ledger.folder).replies == COUNT
        verdict = fetched(f"{url}/_llmock/verdict")
    assert [f"number {number}." in str(reply) for number, reply in enumerate(replies)] == [True] * COUNT
    assert (verdict["errors"], verdict["calls"]) == (0, COUNT), verdict
    assert verdict["faults_injected"] >= 33
    assert ask.totals.retries == verdict["attempts"] - COUNT


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_what_fakellm_does_not_answer_is_listed_and_the_rest_is_kept(protocol: str, tmp_path: Path) -> None:
    (tmp_path / "fakellm.yaml").write_text(RULES)
    with serving(tmp_path, "fakellm", "/_fakellm/stats") as url:
        client: Client = (
            OpenAI(model="m", base_url=f"{url}/v1")
            if protocol == "openai"
            else Anthropic(model="m", base_url=url, api_key="k")
        )
        with Ledger(tmp_path / "ledger") as ledger:
            _, replies = await ask_all(client, ledger, Retries(first=0.001, most=0.01))
            assert count(ledger.folder).replies == COUNT - 4
        asked = fetched(f"{url}/_fakellm/stats")["by_rule"]
    failed = {number: reply.kind for number, reply in enumerate(replies) if isinstance(reply, RequestFailed)}
    assert failed == {1: "reply", 7: "overloaded", 8: "rate_limit", 9: "refused"}
    assert {str(reply) for number, reply in enumerate(replies) if number not in failed} == {"a usual reply"}
    assert json.dumps(asked, sort_keys=True) == json.dumps(
        {"busy": 10, "called": 6, "refused": 1, "turned away": 24, "usual": COUNT - 4}
    )
    assert b"(mock)" not in b"".join(path.read_bytes() for path in (tmp_path / "ledger").iterdir())
