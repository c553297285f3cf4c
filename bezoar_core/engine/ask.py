"""The engine: `await engine(model, messages)` is the only way to a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bezoar_core.engine.budget import Budget, Purse
from bezoar_core.engine.limits import Limits, Pass
from bezoar_core.engine.reply import from_record, to_record
from bezoar_core.engine.retries import HOPELESS, Retries
from bezoar_core.engine.target import Target
from bezoar_core.errors import BezoarError, RequestFailed, StepFailed, Transient, nearest
from bezoar_core.ledger import Ledger, Record
from bezoar_core.records import Completion, Message, Request, Sampling
from bezoar_core.types import ModelRef

__all__ = ["PATIENCE", "Engine", "Target", "Totals"]

_DEFAULT = Sampling()
PATIENCE = 60.0
"""Seconds that the end of a step waits for replies which are paid for."""

_REJECTIONS = frozenset({"rate_limit", "overloaded"})


@dataclass
class Totals:
    """What an engine did so far.

    `requests` were answered or failed, `replayed` of them came from the ledger; one that was joined to another under
    way is not counted again. Tokens are those of all replies. `usd` is what was paid now, `replayed_usd` what the
    replayed ones cost when they were paid; None once a price is unknown. `came` has when the first and the last reply
    of each model came, in seconds since 1970, though it be replayed.
    """

    requests: int = 0
    replayed: int = 0
    failed: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    replayed_usd: float | None = 0.0
    in_flight: int = 0
    came: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(eq=False)
class _Job:
    """A request on its way: how many wait for it, and whether it has left, and so will be paid for."""

    waiting: int = 0
    left: bool = False
    task: asyncio.Task[Completion] = field(init=False)


class Engine:
    """Asks models, once for each different request, and keeps every reply in the ledger before it is used.

    A request that has left is never taken back: where nobody waits for it any more, its reply still goes to the ledger.
    `spend` counts what is paid and stops before the budget is exceeded.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        targets: Mapping[str, Target],
        spend: Budget | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.totals = Totals()
        self._ledger = ledger
        self._targets = dict(targets)
        self._purse = Purse(spend)
        self._retries = retries or Retries()
        self._limits: dict[str, Limits] = {}
        self._jobs: dict[bytes, _Job] = {}
        self._reached: set[str] = set()
        if spend is not None and spend.usd is not None:
            _check_prices(targets)

    async def __call__(
        self,
        model: ModelRef,
        messages: Sequence[Message],
        *,
        sampling: Sampling = _DEFAULT,
        stop: Sequence[str] = (),
        prefill: str = "",
        format: str | None = None,
        choices: Sequence[str] = (),
        sample: int = 0,
    ) -> Completion:
        """Return the model's reply; raises `RequestFailed` where none can be had."""
        target = self._target(model.name)
        request = target.request(messages, sampling, stop, prefill, format, choices, sample)
        key = target.key(request)
        job = self._jobs.get(key)
        if job is None:
            record = self._ledger.get(key)
            if record is not None:
                return self._replay(target, record)
            job = self._jobs[key] = _Job()
            job.task = asyncio.create_task(self._answer(target, request, key, job))
        job.waiting += 1
        try:
            return await asyncio.shield(job.task)
        finally:
            job.waiting -= 1
            if not job.waiting and not job.left and not job.task.done():
                self._forget(key, job)
                job.task.cancel()

    async def aclose(self, patience: float = PATIENCE) -> None:
        """Wait for the replies to requests that have left, at most `patience` seconds, and close every client."""
        tasks = [job.task for job in self._jobs.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for target in self._targets.values():
            await target.client.aclose()

    async def _answer(self, target: Target, request: Request, key: bytes, job: _Job) -> Completion:
        """Answer a request that nobody else is asking; whoever asks the same meanwhile gets the same."""
        try:
            reply = await self._send(target, request, key, job)
            self.totals.requests += 1
            return reply
        except BezoarError as error:
            self.totals.requests += isinstance(error, RequestFailed)
            self.totals.failed += isinstance(error, RequestFailed)
            raise
        finally:
            self._forget(key, job)

    def _forget(self, key: bytes, job: _Job) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]

    async def _send(self, target: Target, request: Request, key: bytes, job: _Job) -> Completion:
        """Try until there is a reply, or no more use in trying."""
        limits = self._limits.get(target.name) or self._new_limits(target)
        tokens = target.tokens(request) if limits.counts_tokens else 0
        failures: list[str] = []
        while True:
            usd = await self._purse.reserve(target, request)
            try:
                leave = await limits.enter(tokens, again=bool(failures))
                return await self._attempt(target, request, key, limits, leave, job)
            except Transient as trouble:
                try:
                    delay = self._retries.delay(trouble, failures, key, reached=target.name in self._reached)
                except BezoarError as error:
                    error.where = error.where or f"model `{target.name}`"
                    raise
                failures.append(trouble.kind)
                self.totals.retries += 1
            finally:
                self._purse.release(usd)
            if not job.waiting:
                raise asyncio.CancelledError  # its last asker went away while it was on its way
            await asyncio.sleep(delay)

    async def _attempt(
        self, target: Target, request: Request, key: bytes, limits: Limits, leave: Pass, job: _Job
    ) -> Completion:
        """Send a request once, and keep its reply."""
        self.totals.in_flight += 1
        job.left = not target.client.local
        began = time.perf_counter()
        try:
            reply = await target.client.complete(request)
            self._reached.add(target.name)
        except BaseException as error:
            if isinstance(error, Transient | RequestFailed) and error.kind != "unreachable":
                self._reached.add(target.name)
            if isinstance(error, Transient) and error.kind in _REJECTIONS:
                limits.rejected(leave, error.retry_after)
            elif isinstance(error, Transient | RequestFailed):
                limits.answered(leave, 0)
            else:
                limits.abandoned(leave)
            if isinstance(error, RequestFailed):
                raise _placed(error, target) from error
            raise
        finally:
            job.left = False
            self.totals.in_flight -= 1
        limits.answered(leave, _tokens(reply))
        self._keep(target, request, key, reply, time.perf_counter() - began)
        return reply

    def _keep(self, target: Target, request: Request, key: bytes, reply: Completion, seconds: float) -> None:
        usd, estimated = _cost(target, request, reply)
        at = time.time() - seconds
        record = to_record(reply, target=target.name, usd=usd, estimated=estimated, at=at, seconds=seconds)
        self._ledger.put(key, record)
        self._purse.pay(usd or 0.0)
        self.totals.usd = None if usd is None or self.totals.usd is None else self.totals.usd + usd
        self._count(reply, target, record)

    def _replay(self, target: Target, record: Record) -> Completion:
        reply = from_record(record)
        usd, total = record.get("usd"), self.totals.replayed_usd
        self.totals.replayed_usd = total + usd if isinstance(usd, int | float) and total is not None else None
        self.totals.replayed += 1
        self.totals.requests += 1
        self._count(reply, target, record)
        return reply

    def _count(self, reply: Completion, target: Target, record: Record) -> None:
        self.totals.input_tokens += reply.usage.input_tokens or 0
        self.totals.output_tokens += reply.usage.output_tokens or 0
        at = record.get("at")
        if isinstance(at, int | float):
            first, last = self.totals.came.get(target.name, (at, at))
            self.totals.came[target.name] = (min(first, at), max(last, at))

    def _target(self, name: str) -> Target:
        try:
            return self._targets[name]
        except KeyError:
            raise BezoarError(f"no model `{name}` to ask", tip=nearest(name, list(self._targets))) from None

    def _new_limits(self, target: Target) -> Limits:
        limits = self._limits[target.name] = Limits(
            target.concurrency,
            requests_per_minute=target.requests_per_minute,
            tokens_per_minute=target.tokens_per_minute,
        )
        return limits


def _check_prices(targets: Mapping[str, Target]) -> None:
    unknown = [name for name, target in targets.items() if target.price is None]
    if unknown:
        raise BezoarError(
            "a budget cannot be kept: no price is known for " + ", ".join(f"model `{name}`" for name in unknown),
            tip="give it `price: {input: ..., output: ...}` (US dollars for a million tokens), or run without a budget",
        )


def _placed(error: RequestFailed, target: Target) -> BezoarError:
    """Return the error with the model's name; one that every request would meet ends the step."""
    where = error.where or f"model `{target.name}`"
    if error.kind in HOPELESS:
        return StepFailed(error.message, where=where, tip=error.tip)
    return RequestFailed(error.message, kind=error.kind, where=where, tip=error.tip)


def _tokens(reply: Completion) -> int | None:
    if reply.usage.input_tokens is None or reply.usage.output_tokens is None:
        return None
    return reply.usage.input_tokens + reply.usage.output_tokens


def _cost(target: Target, request: Request, reply: Completion) -> tuple[float | None, bool]:
    """Return what a reply cost, and whether that is a guess because the server does not say how many tokens it was."""
    if target.price is None:
        return None, False
    used = reply.usage
    if used.input_tokens is not None and used.output_tokens is not None:
        return target.price.usd(used.input_tokens, used.output_tokens), False
    most = request.sampling.max_tokens
    return target.price.usd(target.tokens(request) - most, most), True
