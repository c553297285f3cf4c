"""The engine with its real clients against a real server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.remote import Remote

from bezoar_core.engine import Engine, Retries, Target
from bezoar_core.errors import RequestFailed
from bezoar_core.in_order import in_order
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.stats import count
from bezoar_core.records import Message
from bezoar_core.types import ModelRef
from bezoar_plugins.clients.anthropic import Anthropic
from bezoar_plugins.clients.openai import OpenAI

KEY = "sk-canary-0123456789"
QUICK = Retries(first=0.01, most=0.1)

RUN = """
import asyncio, sys
from pathlib import Path
from bezoar_core.engine import Engine, Target
from bezoar_core.in_order import in_order
from bezoar_core.ledger import Ledger
from bezoar_core.records import Message
from bezoar_core.types import ModelRef
from bezoar_plugins.clients.openai import OpenAI

async def main(url, folder, count):
    client = OpenAI(model="m", base_url=url, api_key="sk-canary-0123456789")
    with Ledger(folder) as ledger:
        target = Target(name="m", client=client, identity=client.identity(), concurrency=64)
        ask = Engine(ledger=ledger, targets={"m": target})

        async def one(number):
            return (await ask(ModelRef("m"), [Message("user", f"question {number}")])).text

        async for text in in_order(one, range(count)):
            print(text, flush=True)
        await ask.aclose()
        print("replayed", ask.totals.replayed, flush=True)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.fixture
def remote() -> Iterator[Remote]:
    server = Remote("--delay", "0.02")
    yield server
    server.stop()


def clients(url: str) -> dict[str, OpenAI | Anthropic]:
    return {
        "gpt": OpenAI(model="gpt-x", base_url=f"{url}/v1", api_key=KEY),
        "claude": Anthropic(model="claude-x", base_url=url, api_key=KEY),
    }


def engine(url: str, ledger: Ledger, retries: Retries = QUICK) -> Engine:
    targets = {
        name: Target(name=name, client=client, identity=client.identity(), concurrency=64)
        for name, client in clients(url).items()
    }
    return Engine(ledger=ledger, targets=targets, retries=retries)


async def ask_many(ask: Engine, model: str, count: int) -> list[str | RequestFailed]:
    async def one(number: int) -> str | RequestFailed:
        return (await ask(ModelRef(model), [Message("user", f"question {number}")])).text

    return [text async for text in in_order(one, range(count), failed=lambda number, error: error)]


@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_with_a_third_of_all_replies_faulty_every_row_is_delivered(
    model: str, remote: Remote, tmp_path: Path
) -> None:
    draw = random.Random(1)
    kinds = ["429", "429:0.05", "500", "502", "503", "529", "reset", "cut", "html", "list", "empty", "abort"]
    faults = [draw.choice(kinds) if draw.random() < 0.3 else "ok" for _ in range(900)]
    remote.script({"faults": faults})
    with Ledger(tmp_path) as ledger:
        ask = engine(remote.url, ledger)
        replies = await ask_many(ask, model, 600)
        await ask.aclose()
        assert replies == [f"question {number}" for number in range(600)]
        counts = remote.counts()
        spent = sum(fault != "ok" for fault in faults[: counts["requests"]])
        assert counts["requests"] == 600 + spent
        assert ask.totals.retries == spent
        assert count(ledger.folder).replies == counts["answered"] - sum(counts.get(k, 0) for k in ("empty", "abort"))


async def test_what_cannot_be_had_is_listed_with_its_cause_and_nothing_of_it_is_kept(
    remote: Remote, tmp_path: Path
) -> None:
    remote.script({"faults": ["400:context", "400:filter", "400", "403", "leak"]})
    with Ledger(tmp_path) as ledger:
        ask = engine(remote.url, ledger)
        replies = await ask_many(ask, "gpt", 40)
        await ask.aclose()
        failed = [reply for reply in replies if isinstance(reply, RequestFailed)]
        assert sorted(error.kind for error in failed) == ["context", "filtered", "forbidden", "refused", "refused"]
        assert all("model `gpt`" in str(error) for error in failed)
        assert remote.counts()["requests"] == 40
        assert count(ledger.folder).replies == 35


async def test_a_canary_key_is_in_no_file_and_no_error(remote: Remote, tmp_path: Path) -> None:
    remote.script({"faults": ["leak", "echo-key", "echo-key", "401"]})
    said = []
    with Ledger(tmp_path) as ledger:
        ask = engine(remote.url, ledger)
        for number in range(4):
            for model in ("gpt", "claude"):
                try:
                    said.append(str(await ask(ModelRef(model), [Message("user", str(number))])))
                except Exception as error:
                    said.append(f"{error!r} {error} {error.__cause__!r}")
        await ask.aclose()
    assert any("***" in text for text in said)
    assert KEY not in "".join(said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_killed_and_run_again_nothing_answered_is_asked_again(remote: Remote, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, f"{remote.url}/v1", str(tmp_path / "ledger"), "600"]
    draw = random.Random(5)
    for _ in range(5):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.4 + draw.random() * 0.3)
        run.send_signal(signal.SIGKILL)
        run.wait()
    time.sleep(0.1)
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert last[:-1] == [f"question {number}" for number in range(600)]
    counts = remote.counts()
    assert counts["requests"] <= 600 + 5 * 64
    with Ledger(tmp_path / "ledger") as ledger:
        assert count(ledger.folder).replies == 600
        assert count(ledger.folder).damaged == 0


def test_the_server_follows_its_rules_in_both_protocols(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"when": "one", "reply": "1 {last}"}], "replies": ["other {hash}"]}))
    remote = Remote("--rules", str(rules))

    async def main() -> list[str]:
        with Ledger(tmp_path / "ledger") as ledger:
            ask = engine(remote.url, ledger)
            texts = [
                (await ask(ModelRef(model), [Message("system", "s"), Message("user", text)])).text
                for model in ("gpt", "claude")
                for text in ("one", "two")
            ]
            await ask.aclose()
            return texts

    try:
        texts = asyncio.run(main())
    finally:
        remote.stop()
    assert texts[0] == texts[2] == "1 one"
    assert texts[1] == texts[3] and texts[1].startswith("other ")
    assert remote.process.returncode in (0, -signal.SIGTERM)
