"""A model as the engine knows it: its client, what its replies depend on, and its limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import orjson

from bezoar_core.engine.prices import Price, price_of
from bezoar_core.errors import RequestFailed
from bezoar_core.interfaces import Client
from bezoar_core.records import Feature, Message, Request, Sampling
from bezoar_core.types import Json

CONCURRENCY = 256
_BYTES_A_TOKEN = 3


@dataclass(frozen=True, kw_only=True)
class Target:
    """One model of the registry.

    `identity` is everything besides the request that its replies depend on: it is a part of every key. `format` is used
    where a client renders prompts itself and the asker names none. `price` is None where it is unknown.
    """

    name: str
    client: Client
    identity: Mapping[str, Json]
    format: str | None = None
    concurrency: int = CONCURRENCY
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    price: Price | None = None

    @classmethod
    def of(
        cls,
        *,
        name: str,
        client: Client,
        identity: Mapping[str, Json],
        format: str | None,
        keys: Mapping[str, Json],
    ) -> Target:
        """Make one from the keys that every model of the registry may have; what is None there is not set."""
        given = cast("Mapping[str, Json] | None", keys.get("price"))
        return cls(
            name=name,
            client=client,
            identity=identity,
            format=format,
            concurrency=cast("int | None", keys.get("concurrency")) or CONCURRENCY,
            requests_per_minute=cast("int | None", keys.get("requests_per_minute")),
            tokens_per_minute=cast("int | None", keys.get("tokens_per_minute")),
            price=price_of(client, given),
        )

    @cached_property
    def supports(self) -> frozenset[Feature]:
        """Return the client's features."""
        return self.client.supports

    def request(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        stop: Sequence[str],
        prefill: str,
        format: str | None,
        choices: Sequence[str],
        sample: int,
    ) -> Request:
        """Return the request as this client can send it.

        Sampling fields it lacks become None ("provider default") and `choices` it lacks are left to whoever reads the
        text; anything else it lacks is a `RequestFailed`, since the reply would be to another request.
        """
        needed: tuple[tuple[Feature, bool], ...] = (
            ("stop", bool(stop)),
            ("prefill", bool(prefill)),
            ("raw", bool(format)),
        )
        for feature, used in needed:
            if used and feature not in self.supports:
                raise RequestFailed(
                    f"the client of model `{self.name}` has no `{feature}`",
                    kind="unsupported",
                    tip="use a model whose client has it",
                )
        return Request(
            messages=tuple(messages),
            sampling=self._sampling(sampling),
            stop=tuple(stop),
            prefill=prefill,
            format=format or (self.format if "raw" in self.supports else None),
            choices=tuple(choices) if "choices" in self.supports else (),
            sample=sample,
        )

    def key(self, request: Request) -> bytes:
        """Return the sha256 over all that can change the reply.

        A field at its default is left out, so that a field added one day leaves the keys of old replies as they are.
        """
        sampling = request.sampling
        fields: dict[str, object] = {"messages": [[m.role, m.content] for m in request.messages]}
        fields["max_tokens"] = sampling.max_tokens
        if sampling.temperature is not None:
            fields["temperature"] = float(sampling.temperature)
        if sampling.top_p is not None:
            fields["top_p"] = float(sampling.top_p)
        if sampling.seed is not None:
            fields["seed"] = sampling.seed
        for name in ("stop", "prefill", "format", "choices", "sample"):
            value = getattr(request, name)
            if value:
                fields[name] = value
        return hashlib.sha256(self._identity + orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()

    def tokens(self, request: Request) -> int:
        """Return a high guess of the tokens a request may use, prompt and reply."""
        size = sum(len(message.content.encode()) for message in request.messages) + len(request.prefill.encode())
        return size // _BYTES_A_TOKEN + request.sampling.max_tokens

    @cached_property
    def _identity(self) -> bytes:
        return orjson.dumps(dict(self.identity), option=orjson.OPT_SORT_KEYS) + b"\n"

    def _sampling(self, sampling: Sampling) -> Sampling:
        has = self.supports
        temperature = sampling.temperature if "temperature" in has else None
        top_p = sampling.top_p if "top_p" in has else None
        seed = sampling.seed if "seed" in has else None
        if (temperature, top_p, seed) == (sampling.temperature, sampling.top_p, sampling.seed):
            return sampling
        return replace(sampling, temperature=temperature, top_p=top_p, seed=seed)
