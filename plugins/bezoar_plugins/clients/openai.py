"""Any server that speaks OpenAI's protocol: OpenAI, vLLM, TGI, llama.cpp; chat and raw completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from bezoar_core.errors import RequestFailed, Transient
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Client
from bezoar_core.records import Completion, Feature, Finding, FinishReason, Request, Usage
from bezoar_core.types import Json, NoEffect, NonEmptyStr, PositiveFloat, Secret
from bezoar_plugins.clients.choice import read, schema
from bezoar_plugins.clients.http import Server, check_address

if TYPE_CHECKING:
    from bezoar_core.plan import Plan

_HAS: Mapping[str, frozenset[Feature]] = {
    "chat": frozenset({"choices", "stop", "temperature", "top_p", "seed"}),
    "completions": frozenset({"raw", "prefill", "stop", "temperature", "top_p", "seed"}),
}
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "filtered",
}


@dataclass(frozen=True, kw_only=True)
class OpenAI:
    """Asks a server in OpenAI's protocol.

    `api: completions` sends prompts rendered in the model's `format`, so that `prefill` works, and ends replies where
    the format's next turn would begin; `api: chat` leaves both to the server. `without` names features that this server
    or model lacks. `limit_key` is what it calls the largest number of new tokens: OpenAI's reasoning models take only
    `max_completion_tokens`.
    """

    name: ClassVar[str] = "openai"
    version: ClassVar[int] = 2
    local: ClassVar[bool] = False

    model: NonEmptyStr
    base_url: NonEmptyStr = "https://api.openai.com/v1"
    api_key: Secret = ""
    api: Literal["chat", "completions"] = "chat"
    without: tuple[Feature, ...] = ()
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    connect_timeout: Annotated[PositiveFloat, NoEffect()] = 10.0
    read_timeout: Annotated[PositiveFloat, NoEffect()] = 600.0

    def __post_init__(self) -> None:
        check_address(self.base_url)

    @property
    def supports(self) -> frozenset[Feature]:
        """Return the features of the chosen API."""
        return _HAS[self.api] - set(self.without)

    def identity(self) -> Mapping[str, Json]:
        """Return model, address and API."""
        return {"model": self.model, "base_url": self.base_url.rstrip("/"), "api": self.api}

    async def complete(self, request: Request) -> Completion:
        """Send one request once."""
        if self.api == "chat":
            return _chat_reply(await self._server.post("/chat/completions", self._chat_body(request)), request)
        return _text_reply(await self._server.post("/completions", self._text_body(request)), request)

    async def aclose(self) -> None:
        """Close the connections."""
        server = self.__dict__.pop("_server", None)
        if isinstance(server, Server):
            await server.aclose()

    @cached_property
    def _server(self) -> Server:
        return Server(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            secrets=(self.api_key,),
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
        )

    def _chat_body(self, request: Request) -> dict[str, Json]:
        body = self._body(request)
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
        if request.choices:
            form: Json = {"name": "choice", "strict": True, "schema": schema(request.choices)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def _text_body(self, request: Request) -> dict[str, Json]:
        from bezoar_core.prompt_format import get_format, render

        if request.format is None:
            raise RequestFailed(
                f"`{self.model}` is asked through raw completions and has no prompt format",
                kind="unsupported",
                tip="give the model a `format`, or use `api: chat`",
            )
        format = get_format(request.format)
        body = {**self._body(request), "prompt": render(format, request.messages, request.prefill)}
        stops: list[Json] = [*dict.fromkeys((*request.stop, *format.stops))]
        return {**body, "stop": stops} if "stop" in self.supports else body

    def _body(self, request: Request) -> dict[str, Json]:
        sampling = request.sampling
        body: dict[str, Json] = {"model": self.model, self.limit_key: sampling.max_tokens}
        if sampling.temperature is not None:
            body["temperature"] = sampling.temperature
        if sampling.top_p is not None:
            body["top_p"] = sampling.top_p
        if sampling.seed is not None:
            body["seed"] = sampling.seed + request.sample  # else a server that keeps to it draws the same again
        if request.stop:
            body["stop"] = list(request.stop)
        return body


def _chat_reply(reply: Mapping[str, Json], request: Request) -> Completion:
    choice = _choice(reply)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Transient("the reply has no message", kind="reply")
    if message.get("refusal"):
        return _completion(reply, str(message["refusal"]), "refused")
    text = _text(message.get("content"))
    return _completion(reply, read(text) if request.choices else text, _finish(choice))


def _text_reply(reply: Mapping[str, Json], request: Request) -> Completion:
    from bezoar_core.prompt_format import get_format

    choice = _choice(reply)
    text = _text(choice.get("text"))
    if request.format is not None and not request.prefill:
        text = text.removeprefix(get_format(request.format).opening)
    return _completion(reply, text, _finish(choice))


def _choice(reply: Mapping[str, Json]) -> Mapping[str, Json]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Transient("the reply has no choices", kind="reply")
    return choices[0]


def _text(content: Json) -> str:
    if content is None:  # a filtered reply, or one that is all reasoning
        return ""
    if not isinstance(content, str):
        raise Transient("the reply's content is no text", kind="reply")
    return content


def _finish(choice: Mapping[str, Json]) -> FinishReason:
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason in _FINISH:
        return _FINISH[reason]
    raise Transient(f"the reply ended with `{reason}`: it may not be whole", kind="reply")


def _completion(reply: Mapping[str, Json], text: str, finish: FinishReason) -> Completion:
    usage = reply.get("usage")
    counts: Mapping[str, Json] = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text,
        finish=finish,
        usage=Usage(
            input_tokens=_count(counts.get("prompt_tokens")), output_tokens=_count(counts.get("completion_tokens"))
        ),
        model=str(reply.get("model") or ""),
        raw=dict(reply),
    )


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) else None


@hookimpl
def bezoar_clients() -> Sequence[type[Client]]:
    """Register the client."""
    return [OpenAI]


@hookimpl
def bezoar_inspect(plan: Plan) -> Sequence[Finding]:
    """Find raw completions without a prompt format that can be rendered here."""
    return [
        Finding(
            severity="error",
            path=("models", name, "format"),
            message=f"model `{name}` is asked through raw completions and needs a written prompt format",
            tip="give it `format: openbezoar` or another that needs no tokenizer, or use `api: chat`",
        )
        for name, entry in plan.registry.models.items()
        if isinstance(entry.settings, OpenAI) and entry.settings.api == "completions" and entry.format in (None, "chat")
    ]
