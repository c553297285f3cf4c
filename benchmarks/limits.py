"""Is a limit that a server does not tell found, used and respected? `make bench-limits`; six minutes.

A server on 127.0.0.1, in a process of its own, lets a number of requests a second through and answers 429 above that
(a token bucket of a tenth of a second). After half a minute the number changes. Our engine asks it for a minute with up
to 256 in flight. Left out are the five seconds after the start and after the change.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import count, takewhile
from multiprocessing import Process, Queue
from pathlib import Path

import results
from aiohttp import web

from bezoar_core.engine import Engine, Target
from bezoar_core.in_order import in_order
from bezoar_core.ledger import Ledger
from bezoar_core.records import Message
from bezoar_core.types import ModelRef
from bezoar_plugins.clients.openai import OpenAI

CHANGES = ((50, 50), (200, 200), (1000, 1000), (50, 1000), (1000, 200), (200, 50))
HALF = 30
SETTLING = 5
REPLY = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {}}


def serve(before: int, after: int, port: Queue[int]) -> None:
    """Serve until ended; GET /seconds tells what happened in each second since the first request."""
    answered, rejected = [0] * 10 * HALF, [0] * 10 * HALF
    bucket = {"level": 0.0, "then": 0.0, "start": 0.0}

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.02)
        now = time.monotonic()
        bucket["start"] = bucket["start"] or now
        second = int(now - bucket["start"])
        rate = before if second < HALF else after
        bucket["level"] = min(max(1.0, rate / 10), bucket["level"] + (now - bucket["then"]) * rate)
        bucket["then"] = now
        through = bucket["level"] >= 1
        bucket["level"] -= through
        (answered if through else rejected)[second] += 1
        await asyncio.sleep(0.02)
        return web.json_response(REPLY) if through else web.json_response({"error": "slow down"}, status=429)

    async def seconds(_: web.Request) -> web.Response:
        return web.json_response({"answered": answered, "rejected": rejected})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        app.router.add_get("/seconds", seconds)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.sleep(10 * HALF)

    asyncio.run(main())


async def ask(url: str, folder: Path) -> None:
    """Ask for a minute, and a moment longer."""
    client = OpenAI(model="bench", base_url=f"{url}/v1")
    target = Target(name="bench", client=client, identity=client.identity(), concurrency=256)
    end = time.monotonic() + 2 * HALF + 2

    def prompts() -> Iterator[int]:
        yield from takewhile(lambda _: time.monotonic() < end, count())

    with Ledger(folder) as ledger:
        engine = Engine(ledger=ledger, targets={"bench": target})

        async def one(number: int) -> str:
            return (await engine(ModelRef("bench"), [Message("user", f"Question {number}?")])).text

        async for text in in_order(one, prompts()):
            if text != "yes":
                sys.exit(f"a row holds {text!r}")
        await engine.aclose()


def measure(before: int, after: int) -> dict[str, object]:
    port: Queue[int] = Queue()
    server = Process(target=serve, args=(before, after, port), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}"
    try:
        with tempfile.TemporaryDirectory(prefix="bezoar-bench-") as folder:
            asyncio.run(ask(url, Path(folder)))
        with urllib.request.urlopen(f"{url}/seconds") as reply:
            seen = json.load(reply)
    finally:
        server.terminate()
        server.join()
    counted = [*range(SETTLING, HALF), *range(HALF + SETTLING, 2 * HALF)]
    answered, rejected = (sum(seen[key][second] for second in counted) for key in ("answered", "rejected"))
    allowed = (before + after) * (HALF - SETTLING)
    used, share = answered / allowed, rejected / (answered + rejected)
    print(f"{before:>6} -> {after:<6}{used:>8.1%} used{share:>8.1%} rejected", flush=True)
    return {"before": before, "after": after, "used": used, "rejected": share}


def main() -> None:
    rows = [measure(before, after) for before, after in CHANGES]
    ratios = {
        "least_used": min(float(str(row["used"])) for row in rows),
        "most_rejected": max(float(str(row["rejected"])) for row in rows),
    }
    print("\nwritten:", results.write("limits", rows, ratios, ("bezoar", "aiohttp")))


if __name__ == "__main__":
    main()
