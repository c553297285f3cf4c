"""A client whose replies and failures are a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from bezoar_core.records import Completion, Feature, Request, Usage
from bezoar_core.types import Json

EVERYTHING: frozenset[Feature] = frozenset(
    {"choices", "prefill", "stop", "logprobs", "raw", "temperature", "top_p", "seed"}
)


@dataclass
class ScriptedClient:
    """Each request takes the next of `script`: a reply, a text, or an error to raise; then `otherwise`."""

    name: ClassVar[str] = "scripted"
    version: ClassVar[int] = 1
    local: ClassVar[bool] = False

    script: list[Completion | str | BaseException] = field(default_factory=list)
    otherwise: Callable[[Request], Completion] | None = None
    supports: frozenset[Feature] = EVERYTHING
    seconds: float = 0.0
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    closed: bool = False

    def identity(self) -> Mapping[str, Json]:
        return {"model": "scripted"}

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        said = self.script.pop(0) if self.script else None
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, Completion):
            return said
        if said is None and self.otherwise is not None:
            return self.otherwise(request)
        text = said if said is not None else f"reply to {request.messages[-1].content}"
        return Completion(text=text, usage=Usage(input_tokens=10, output_tokens=5), model="scripted-1")

    async def aclose(self) -> None:
        self.closed = True
