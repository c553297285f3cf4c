"""The least that a client can do: aiohttp and orjson in a loop, nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import aiohttp
import orjson
from measured import Clock, Task, task


async def run(given: Task) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await _ask(session, given, given.warm)
        clock = Clock()
        clock.stop(await _ask(session, given, given.prompts))


async def _ask(session: aiohttp.ClientSession, given: Task, prompts: Sequence[str]) -> int:
    todo = iter(prompts)
    return sum(await asyncio.gather(*(_worker(session, given.url, todo) for _ in range(given.in_flight))))


async def _worker(session: aiohttp.ClientSession, url: str, todo: Iterator[str]) -> int:
    answered = 0
    for prompt in todo:
        body = {
            "model": "bench",
            "max_tokens": 64,
            "temperature": 0.0,
            "messages": [{"role": "user", "content": prompt}],
        }
        async with session.post(
            f"{url}/chat/completions", data=orjson.dumps(body), headers={"content-type": "application/json"}
        ) as response:
            reply = orjson.loads(await response.read())
        answered += bool(reply["choices"][0]["message"]["content"])
    return answered


if __name__ == "__main__":
    asyncio.run(run(task()))
