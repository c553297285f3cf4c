"""JSON over HTTP to a provider: pooled connections, and every way it can fail as an error with a kind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from bezoar_core.errors import RequestFailed, Transient
from bezoar_core.types import Json

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_LARGEST = 64 * 1024 * 1024
_SHORTEST_SECRET = 8
_QUOTED = 300

_HEALING = {408: "server", 409: "server", 425: "server", 429: "rate_limit", 503: "overloaded", 529: "overloaded"}
_FINAL = {401: "auth", 403: "forbidden", 404: "model", 413: "context"}
_TIPS = {
    "auth": "check `api_key`",
    "forbidden": "check what the key may use",
    "model": "check `model` and `base_url`",
    "quota": "the account has nothing left to spend: top it up",
    "context": "the prompt is too long for this model",
}
_CODES = {
    "insufficient_quota": "quota",
    "billing_error": "quota",
    "context_length_exceeded": "context",
    "content_filter": "filtered",
    "content_policy_violation": "filtered",
    "model_not_found": "model",
}
_TOO_LONG = ("context length", "prompt is too long", "context window", "too many tokens")


@dataclass(frozen=True, kw_only=True)
class Server:
    """One API. `secrets` never leave it: they are blotted out of every reply and message.

    A gateway's address may hold a key too: long parts of its path are blotted out of messages.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 600.0
    _blots: tuple[bytes, ...] = field(init=False, repr=False)
    _path: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # a placeholder such as `none` is no secret, and would be blotted out of ordinary words
        secrets = [secret for secret in self.secrets if len(secret) >= _SHORTEST_SECRET]
        in_json = [json.dumps(secret)[1:-1] for secret in secrets]  # as a server may write it
        blots = {*secrets, *in_json, *(text.replace("/", "\\/") for text in in_json)}
        object.__setattr__(self, "_blots", tuple(text.encode() for text in sorted(blots)))
        parts = urlsplit(self.base_url).path.split("/")
        object.__setattr__(self, "_path", tuple(part.encode() for part in parts if len(part) >= _SHORTEST_SECRET))

    async def post(self, path: str, body: Mapping[str, Json]) -> dict[str, Json]:
        """Send `body` once and return the reply; raises `Transient` or `RequestFailed`."""
        import aiohttp

        try:
            async with self._session.post(
                self.base_url.rstrip("/") + path, data=orjson.dumps(body), allow_redirects=False
            ) as response:
                content = _blotted(await _whole(response), self._blots)
                if response.status == 200 and (reply := _parsed(content)) is not None:
                    return reply
                raise _failure(response.status, response.headers, _blotted(content, self._path))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Transient(f"{self._host} cannot be reached: {_reason(error)}", kind="unreachable") from error
        except TimeoutError as error:
            raise Transient(f"{self._host} did not answer in time", kind="timeout") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise RequestFailed(f"`{self._host}` is no address", kind="model", tip="check `base_url`") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Transient(f"{self._host}: {_reason(error)}", kind="connection") from error

    async def aclose(self) -> None:
        """Close the connections."""
        session: ClientSession | None = self.__dict__.pop("_session", None)
        if session is not None:
            await session.close()

    @cached_property
    def _session(self) -> ClientSession:
        import aiohttp

        for name, value in self.headers.items():
            if not value.isprintable():
                message = f"`{name}` cannot be sent: the key holds a line break or another control character"
                raise RequestFailed(message, kind="auth", tip=_TIPS["auth"])
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),  # the engine decides how many
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"content-type": "application/json", **self.headers},
            timeout=aiohttp.ClientTimeout(
                total=self.connect_timeout + self.read_timeout, sock_connect=self.connect_timeout
            ),
        )

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc.rpartition("@")[2] or "the server"


def _blotted(content: bytes, secrets: Iterable[bytes]) -> bytes:
    for secret in secrets:
        if secret in content:
            content = content.replace(secret, b"***")
    return content


def check_address(base_url: str) -> None:
    """Raise `ValueError` where `base_url` is none, or holds a login, which would be one more secret to keep."""
    if "${" in base_url:  # known only when the environment is
        return
    if not base_url.startswith(("http://", "https://")):
        raise ValueError("`base_url` must begin with `http://` or `https://`")
    if "@" in urlsplit(base_url).netloc:
        raise ValueError("`base_url` holds a login: give the key as `api_key`")
    if "?" in base_url or "#" in base_url:
        raise ValueError("`base_url` holds more than an address: give what follows `?` or `#` as `api_key`")


def _reason(error: Exception) -> str:
    """Return what the system says of a connection that failed, without the address."""
    number = getattr(error, "errno", None)
    if number is not None and number > 0:
        return os.strerror(number)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or type(error).__name__


async def _whole(response: ClientResponse) -> bytes:
    """Read the body, but not one that never ends."""
    length = response.content_length
    if length is not None and length <= _LARGEST:
        return await response.read()
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise Transient(f"a reply of more than {_LARGEST:,} bytes", kind="reply")
    return b"".join(parts)


def _parsed(content: bytes) -> dict[str, Json] | None:
    """Return the JSON object, or None where it is none."""
    try:
        reply = orjson.loads(content)
    except orjson.JSONDecodeError:
        reply = _parsed_with_halves(content)
    return reply if isinstance(reply, dict) else None


def _parsed_with_halves(content: bytes) -> object:
    """Read JSON in which an emoji was cut in half at the token limit, which orjson refuses: the half becomes a `?`."""
    try:
        return orjson.loads(json.dumps(json.loads(content), ensure_ascii=False).encode(errors="replace"))
    except ValueError:
        return None


def _failure(status: int, headers: Mapping[str, str], content: bytes) -> Exception:
    """Return what a reply that cannot be used means."""
    if status == 200:
        return Transient(f"the reply is no JSON object: {_shortened(content)}", kind="reply")
    kind = _kind(status, content)
    message = f"status {status}: {_shortened(content)}"
    if kind in _FINAL_KINDS or headers.get("x-should-retry") == "false":
        return RequestFailed(message, kind=kind, tip=_TIPS.get(kind, ""))
    return Transient(message, kind=kind, retry_after=_retry_after(headers))


_FINAL_KINDS = frozenset({*_FINAL.values(), *_CODES.values(), "refused", "redirect"})


def _kind(status: int, content: bytes) -> str:
    if status in (400, 403, 404, 422, 429):
        text = content[:10_000].decode(errors="replace")
        code = next((kind for code, kind in _CODES.items() if f'"{code}"' in text), None)
        if code is not None:
            return code
        if status in (400, 422) and any(words in text.lower() for words in _TOO_LONG):
            return "context"
    if status in _HEALING:
        return _HEALING[status]
    if status >= 500:
        return "server"
    if 300 <= status < 400:
        return "redirect"
    return _FINAL.get(status, "refused")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds the server asks to wait; a time of day counts from the server's own, whatever ours says."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _shortened(content: bytes) -> str:
    """Return the provider's own message, or the start of what it sent, on one line."""
    text = content[:10_000].decode(errors="replace")
    try:
        reply = orjson.loads(content)
        error = reply.get("error", reply)
        text = str(error["message"] if isinstance(error, dict) else error)
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        pass
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."
