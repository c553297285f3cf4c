"""The anthropic SDK's asynchronous client, its own retries on, nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from anthropic import AsyncAnthropic
from measured import Clock, Task, task


async def run(given: Task) -> None:
    async with AsyncAnthropic(base_url=given.url.removesuffix("/v1"), api_key="none") as client:
        await _ask(client, given.in_flight, given.warm)
        clock = Clock()
        clock.stop(await _ask(client, given.in_flight, given.prompts))


async def _ask(client: AsyncAnthropic, in_flight: int, prompts: Sequence[str]) -> int:
    todo = iter(prompts)
    return sum(await asyncio.gather(*(_worker(client, todo) for _ in range(in_flight))))


async def _worker(client: AsyncAnthropic, todo: Iterator[str]) -> int:
    answered = 0
    for prompt in todo:
        reply = await client.messages.create(
            model="bench", max_tokens=64, messages=[{"role": "user", "content": prompt}]
        )
        answered += reply.content[0].type == "text"
    return answered


if __name__ == "__main__":
    asyncio.run(run(task()))
