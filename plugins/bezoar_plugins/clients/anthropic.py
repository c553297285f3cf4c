"""Claude through Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar
from urllib.parse import urlsplit

from bezoar_core.errors import Transient
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Client
from bezoar_core.records import Completion, Feature, Finding, FinishReason, Request, Usage
from bezoar_core.types import Json, NoEffect, NonEmptyStr, PositiveFloat, Secret
from bezoar_plugins.clients.choice import read, schema
from bezoar_plugins.clients.http import Server, check_address

if TYPE_CHECKING:
    from bezoar_core.plan import Plan

_HAS: frozenset[Feature] = frozenset({"choices", "stop"})
_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}

END_OF_LIFE: Mapping[str, date] = {
    "claude-1.3": date(2024, 11, 6),
    "claude-1.3-100k": date(2024, 11, 6),
    "claude-instant-1.1": date(2024, 11, 6),
    "claude-instant-1.1-100k": date(2024, 11, 6),
    "claude-instant-1.2": date(2024, 11, 6),
    "claude-2.0": date(2025, 7, 21),
    "claude-2.1": date(2025, 7, 21),
    "claude-3-sonnet-20240229": date(2025, 7, 21),
    "claude-3-opus-20240229": date(2026, 1, 5),
    "claude-3-5-haiku-20241022": date(2026, 2, 19),
    "claude-3-5-haiku-latest": date(2026, 2, 19),
    "claude-3-7-sonnet-20250219": date(2026, 2, 19),
    "claude-3-7-sonnet-latest": date(2026, 2, 19),
    "claude-opus-4-0": date(2026, 6, 15),
    "claude-opus-4-20250514": date(2026, 6, 15),
    "claude-sonnet-4-0": date(2026, 6, 15),
    "claude-sonnet-4-20250514": date(2026, 6, 15),
    "claude-mythos-preview": date(2026, 6, 30),
    "claude-sonnet-4-5": date(2026, 11, 30),
    "claude-sonnet-4-5-20250929": date(2026, 11, 30),
}
"""The day from which Anthropic's own API answers no more, as its Python library 2.12.0 has it."""


@dataclass(frozen=True, kw_only=True)
class Anthropic:
    """Asks Claude. The API takes no temperature, top_p, top_k, seed or begun answer: those are the provider's default.

    `without` names features that the model lacks: those before Claude 4.5 have no `choices`.
    """

    name: ClassVar[str] = "anthropic"
    version: ClassVar[int] = 1
    local: ClassVar[bool] = False

    model: NonEmptyStr
    api_key: Secret
    base_url: NonEmptyStr = "https://api.anthropic.com"
    without: tuple[Feature, ...] = ()
    connect_timeout: Annotated[PositiveFloat, NoEffect()] = 10.0
    read_timeout: Annotated[PositiveFloat, NoEffect()] = 600.0

    def __post_init__(self) -> None:
        check_address(self.base_url)

    @property
    def supports(self) -> frozenset[Feature]:
        """Return the features of the Messages API."""
        return _HAS - set(self.without)

    def identity(self) -> Mapping[str, Json]:
        """Return model and address."""
        return {"model": self.model, "base_url": self.base_url.rstrip("/")}

    async def complete(self, request: Request) -> Completion:
        """Send one request once."""
        return _completion(await self._server.post("/v1/messages", self._body(request)), request)

    async def aclose(self) -> None:
        """Close the connections."""
        server = self.__dict__.pop("_server", None)
        if isinstance(server, Server):
            await server.aclose()

    @cached_property
    def _server(self) -> Server:
        return Server(
            base_url=self.base_url,
            headers={"x-api-key": self.api_key, "anthropic-version": "2023-06-01"},
            secrets=(self.api_key,),
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
        )

    def _body(self, request: Request) -> dict[str, Json]:
        turns = [m for m in request.messages if m.role != "system"]
        system = "\n\n".join(m.content for m in request.messages if m.role == "system" and m.content)
        body: dict[str, Json] = {
            "model": self.model,
            "max_tokens": request.sampling.max_tokens,
            "messages": [{"role": message.role, "content": message.content} for message in turns],
        }
        if system:
            body["system"] = system
        stops: list[Json] = [text for text in request.stop if text.strip()]
        if stops:
            body["stop_sequences"] = stops
        if request.choices:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema(request.choices)}}
        return body


def _completion(reply: Mapping[str, Json], request: Request) -> Completion:
    content, reason = reply.get("content"), reply.get("stop_reason")
    if not isinstance(content, list):
        raise Transient("the reply has no content", kind="reply")
    if not isinstance(reason, str) or reason not in _FINISH:
        raise Transient(f"the reply ended with `{reason}`: it may not be whole", kind="reply")
    parts = [str(block.get("text", "")) for block in content if isinstance(block, dict) and block.get("type") == "text"]
    text, finish = _stopped("".join(parts), request.stop, _FINISH[reason])
    usage = reply.get("usage")
    counts: Mapping[str, Json] = usage if isinstance(usage, dict) else {}
    return Completion(
        text=read(text) if request.choices else text,
        finish=finish,
        usage=Usage(input_tokens=_count(counts.get("input_tokens")), output_tokens=_count(counts.get("output_tokens"))),
        model=str(reply.get("model") or ""),
        raw=dict(reply),
    )


def _stopped(text: str, stops: Sequence[str], finish: FinishReason) -> tuple[str, FinishReason]:
    """End the text at a stop that is only white space: the API refuses those, so the reply went past it."""
    places = [place for stop in stops if not stop.strip() and (place := text.find(stop)) >= 0]
    return (text[: min(places)], "stop") if places else (text, finish)


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def end_of_life(model: str, base_url: str, today: date) -> date | None:
    """Return the day a model ended, where that day has come and Anthropic itself would be asked."""
    day = END_OF_LIFE.get(model)
    if day is None or day > today or urlsplit(base_url).hostname != "api.anthropic.com":
        return None
    return day


@hookimpl
def bezoar_clients() -> Sequence[type[Client]]:
    """Register the client."""
    return [Anthropic]


@hookimpl
def bezoar_inspect(plan: Plan) -> Sequence[Finding]:
    """Find models that Anthropic does not serve any more."""
    models = [(name, entry.settings) for name, entry in plan.registry.models.items()]
    return [
        Finding(
            severity="error",
            path=("models", name, "model"),
            message=f"`{client.model}` reached its end of life on {day.isoformat()}",
            tip="choose a live model; scores of different judges are not comparable",
        )
        for name, client in models
        if isinstance(client, Anthropic) and (day := end_of_life(client.model, client.base_url, date.today()))
    ]
