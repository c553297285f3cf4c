"""A server on 127.0.0.1 that speaks OpenAI's and Anthropic's protocols, from a script and with faults.

    python tests/clients/loopback.py --port 0 [--rules rules.json] [--delay 0.05] [--rate 50]

prints its port and serves until it is ended. `rules.json` holds the `rules` (and `replies`) of the `echo` client, which
writes the replies. GET /counts tells what came in; POST /script takes {"faults": [...], "rules": [...]}.

A fault is spent by the next request: `429`, `429:2` (with `Retry-After: 2`), `500`, `502`, `503`, `529`, `401`, `403`,
`404`, `400:context`, `400:filter`, `429:quota`, `reset` (before a reply), `cut` (in the middle of one), `endless`,
`html` (no JSON), `list` (JSON, no object), `empty` (no choices), `length`, `filter`, `refusal`, `abort`, `slow:1.5`,
`leak` (an error that holds the key), `echo-key` (a reply that holds the key), `redirect`, `ok`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import web

from bezoar_core.records import Message, Request, Sampling
from bezoar_plugins.clients.echo import Echo, Rule

JsonObject = dict[str, object]


@dataclass
class Loopback:
    """The server and what it has seen. `allow` says whether a request at that time is let through."""

    echo: Echo = field(default_factory=Echo)
    faults: deque[str] = field(default_factory=deque)
    delay: float = 0.0
    allow: Callable[[float], bool] | None = None
    retry_after: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    bodies: list[JsonObject] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    keep: bool = True
    under_way: int = 0
    most_under_way: int = 0
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_get("/counts", self._counts)
        app.router.add_post("/script", self._script)
        app.router.add_route("*", "/{path:.*}", self._nothing)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Loopback:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def _nothing(self, request: web.Request) -> web.Response:
        self.counts["nothing"] += 1
        return _json(_openai_error("not_found", f"nothing at {request.path}"), 404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _openai_error, _chat_request, _chat_reply)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _openai_error, _text_request, _text_reply)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _anthropic_error, _messages_request, _messages_reply)

    async def _serve(
        self,
        request: web.Request,
        error: Callable[[str, str], JsonObject],
        read: Callable[[JsonObject], Request],
        write: Callable[[JsonObject, str, str, Request], JsonObject],
    ) -> web.StreamResponse:
        body = await request.json()
        self.counts["requests"] += 1
        if self.keep:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.allow is not None and not self.allow(time.monotonic()):
                self.counts["rejected"] += 1
                headers = {"Retry-After": self.retry_after} if self.retry_after else {}
                return _json(error("rate_limit_error", "slow down"), 429, headers)
            fault, _, detail = (self.faults.popleft() if self.faults else "ok").partition(":")
            self.counts[fault] += 1
            if fault == "slow":
                await asyncio.sleep(float(detail))
            return await self._answer(request, body, fault, detail, error, read, write)
        finally:
            self.under_way -= 1

    async def _answer(
        self,
        request: web.Request,
        body: JsonObject,
        fault: str,
        detail: str,
        error: Callable[[str, str], JsonObject],
        read: Callable[[JsonObject], Request],
        write: Callable[[JsonObject, str, str, Request], JsonObject],
    ) -> web.StreamResponse:
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if fault == "leak":
            return _json(error("invalid_request_error", f"the key {key} may not do this"), 400)
        if fault == "redirect":
            return web.Response(status=302, headers={"Location": f"{self.url}/v1/elsewhere"})
        if fault.isdigit():
            return _failure(int(fault), detail, error)
        if fault == "html":
            return web.Response(text="<html>bad gateway</html>", content_type="text/html")
        if fault == "list":
            return web.json_response([1, 2])
        if fault == "reset" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if fault in {"cut", "endless"}:
            return await _partly(request, endless=fault == "endless")
        asked = read(body)
        said = (await self.echo.complete(asked)).text if fault != "echo-key" else f"your key is {key}"
        self.counts["answered"] += 1
        return web.json_response(write(body, said, fault, asked))

    async def _counts(self, request: web.Request) -> web.Response:
        return web.json_response({**self.counts, "most_under_way": self.most_under_way})

    async def _script(self, request: web.Request) -> web.Response:
        script = await request.json()
        self.faults.extend(script.get("faults", ()))
        if "rules" in script or "replies" in script:
            self.echo = scripted(script)
        return web.json_response({})


def scripted(script: JsonObject) -> Echo:
    """Return the `echo` client of a script."""
    rules = script.get("rules") or []
    replies = script.get("replies") or ["{last}"]
    assert isinstance(rules, list) and isinstance(replies, list)
    return Echo(rules=tuple(Rule(**rule) for rule in rules), replies=tuple(replies))


def at_most(rate: float, burst: float = 1.0) -> Callable[[float], bool]:
    """Return an `allow` that lets `rate` requests a second through, with up to `burst` seconds of them saved up."""
    level, then = rate * burst, time.monotonic()

    def allow(now: float) -> bool:
        nonlocal level, then
        level = min(rate * burst, level + (now - then) * rate)
        then = now
        if level < 1:
            return False
        level -= 1
        return True

    return allow


def _failure(status: int, detail: str, error: Callable[[str, str], JsonObject]) -> web.Response:
    codes = {"context": "context_length_exceeded", "filter": "content_filter", "quota": "insufficient_quota"}
    body = error(codes.get(detail, f"error_{status}"), f"fault {status} {detail}".strip())
    retry = {"Retry-After": detail} if detail and detail not in codes else {}
    return _json(body, status, retry)


def _json(body: JsonObject, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


async def _partly(request: web.Request, *, endless: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    if not endless:
        response.content_length = 1000
    await response.prepare(request)
    await response.write(b'{"choices": [')
    while endless:
        await asyncio.sleep(0.05)
        await response.write(b" ")
    await asyncio.sleep(0.01)
    if request.transport is not None:
        request.transport.abort()
    return response


def _openai_error(code: str, message: str) -> JsonObject:
    return {"error": {"message": message, "type": code, "code": code}}


def _anthropic_error(code: str, message: str) -> JsonObject:
    return {"type": "error", "error": {"type": code, "message": message}}


def _asked(messages: Iterable[Message], body: JsonObject, stop: object, choices: object) -> Request:
    most = body.get("max_tokens") or body.get("max_completion_tokens") or 512
    seed = body.get("seed")
    return Request(
        messages=tuple(messages),
        sampling=Sampling(max_tokens=int(str(most)), seed=seed if isinstance(seed, int) else None),
        stop=tuple(stop) if isinstance(stop, list) else (),
        choices=tuple(choices) if isinstance(choices, list) else (),
    )


def _turns(body: JsonObject) -> list[Message]:
    turns = body["messages"]
    assert isinstance(turns, list)
    return [Message(turn["role"], turn["content"]) for turn in turns]


def _choices(form: object) -> object:
    """Return the enum of a JSON schema for one choice."""
    match form:
        case {"schema": {"properties": {"choice": {"enum": choices}}}}:
            return choices
    return None


def _chat_request(body: JsonObject) -> Request:
    form = body.get("response_format")
    return _asked(
        _turns(body), body, body.get("stop"), _choices(form["json_schema"] if isinstance(form, dict) else None)
    )


def _text_request(body: JsonObject) -> Request:
    return _asked([Message("user", str(body["prompt"]))], body, body.get("stop"), None)


def _messages_request(body: JsonObject) -> Request:
    system = [Message("system", str(body["system"]))] if "system" in body else []
    form = body.get("output_config")
    choices = _choices(form["format"] if isinstance(form, dict) else None)
    return _asked([*system, *_turns(body)], body, body.get("stop_sequences"), choices)


def _formed(said: str, asked: Request) -> str:
    return json.dumps({"choice": said}) if asked.choices else said


def _openai_reply(body: JsonObject, choice: JsonObject, fault: str, asked: Request) -> JsonObject:
    ends = {"length": "length", "filter": "content_filter", "abort": "abort"}
    used = sum(len(message.content.split()) for message in asked.messages)
    return {
        "id": "loopback",
        "object": "completion",
        "model": body["model"],
        "choices": [] if fault == "empty" else [{"index": 0, "finish_reason": ends.get(fault, "stop"), **choice}],
        "usage": {"prompt_tokens": used, "completion_tokens": 7, "total_tokens": used + 7},
    }


def _chat_reply(body: JsonObject, said: str, fault: str, asked: Request) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": _formed(said, asked)}
    if fault == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I would rather not."}
    return _openai_reply(body, {"message": message}, fault, asked)


def _text_reply(body: JsonObject, said: str, fault: str, asked: Request) -> JsonObject:
    return _openai_reply(body, {"text": said}, fault, asked)


def _messages_reply(body: JsonObject, said: str, fault: str, asked: Request) -> JsonObject:
    ends = {"length": "max_tokens", "refusal": "refusal", "filter": "refusal", "abort": "pause_turn"}
    used = sum(len(message.content.split()) for message in asked.messages)
    reply: JsonObject = {
        "id": "loopback",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "stop_reason": ends.get(fault, "end_turn"),
        "usage": {"input_tokens": used, "output_tokens": 7},
    }
    return reply if fault == "empty" else {**reply, "content": [{"type": "text", "text": _formed(said, asked)}]}


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rules", type=argparse.FileType("r"))
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    server = Loopback(delay=options.delay, keep=False)
    if options.rules:
        server.echo = scripted(json.load(options.rules))
    if options.rate:
        server.allow = at_most(options.rate)
    await server.start(options.port)
    print(server.port, flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_main())
