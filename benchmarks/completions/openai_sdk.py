"""The openai SDK's asynchronous client, its own retries on, nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from measured import Clock, Task, task
from openai import AsyncOpenAI


async def run(given: Task) -> None:
    async with AsyncOpenAI(base_url=given.url, api_key="none") as client:
        await _ask(client, given.in_flight, given.warm)
        clock = Clock()
        clock.stop(await _ask(client, given.in_flight, given.prompts))


async def _ask(client: AsyncOpenAI, in_flight: int, prompts: Sequence[str]) -> int:
    todo = iter(prompts)
    return sum(await asyncio.gather(*(_worker(client, todo) for _ in range(in_flight))))


async def _worker(client: AsyncOpenAI, todo: Iterator[str]) -> int:
    answered = 0
    for prompt in todo:
        reply = await client.chat.completions.create(
            model="bench", max_tokens=64, temperature=0.0, messages=[{"role": "user", "content": prompt}]
        )
        answered += bool(reply.choices[0].message.content)
    return answered


if __name__ == "__main__":
    asyncio.run(run(task()))
