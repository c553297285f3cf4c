"""Models on this machine, through transformers: `generate` in length-sorted batches, choices by scored passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Client
from bezoar_core.records import Completion, Feature, ModelDir, Request
from bezoar_core.types import Json, Operational, PositiveInt

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from bezoar_plugins.clients.loaded_model import LoadedModel, Prompt

_HAS: frozenset[Feature] = frozenset({"choices", "prefill", "stop", "logprobs", "raw", "temperature", "top_p", "seed"})
_GATHER = 0.01
"""Seconds in which requests that were started together come together."""


@dataclass(frozen=True, kw_only=True)
class Transformers:
    """Runs a model in the step's own process, on the GPU where there is one.

    Every request draws from a generator of its own, seeded with a hash of the request (its `seed` is a part of that).
    With `exact` it computes in float32, and a reply is then the same however requests are batched; bfloat16 is quicker.
    Where a request names no temperature or top_p, they are 1. `max_length` lowers the model's context length.
    """

    name: ClassVar[str] = "transformers"
    version: ClassVar[int] = 1
    local: ClassVar[bool] = True
    requires: ClassVar[Mapping[str, str]] = {"torch": "bezoar[local]", "transformers": "bezoar[local]"}

    dtype: Literal["float32", "bfloat16"] = "float32"
    exact: bool = False
    batch_size: Annotated[PositiveInt, Operational] = 16
    max_length: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.exact and self.dtype == "bfloat16":
            raise ValueError("`exact: true` computes in float32: leave out `dtype: bfloat16`")

    @property
    def supports(self) -> frozenset[Feature]:
        """Return every feature."""
        return _HAS

    def identity(self) -> Mapping[str, Json]:
        """Return what the reply depends on beside the model's files."""
        return {"dtype": self.dtype, "max_length": self.max_length}

    def bind(self, model: ModelDir) -> Client:
        """Return the client that answers with `model`."""
        from bezoar_plugins.clients.loaded_model import LoadedModel

        return Answering(self, LoadedModel(model, self.dtype, self.max_length))

    async def complete(self, request: Request) -> Completion:
        """Raise: a model is answered with only once it is bound to its folder."""
        raise RuntimeError("`transformers` answers once it is bound to a model's folder")

    async def aclose(self) -> None:
        """Do nothing: nothing is loaded before `bind`."""


def _one_thread() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "bezoar-transformers")


@dataclass(eq=False)
class _Waiting:
    """A request whose reply is still to come; `prompt` is filled in when its ids are known."""

    request: Request
    reply: asyncio.Future[Completion]
    prompt: Prompt | None = None


@dataclass(eq=False)
class Answering:
    """A model that answers: one thread computes, requests that come meanwhile wait for the next batch."""

    settings: Transformers
    model: LoadedModel
    name: ClassVar[str] = Transformers.name
    version: ClassVar[int] = Transformers.version
    local: ClassVar[bool] = True
    _waiting: list[_Waiting] = field(default_factory=list)
    _thread: ThreadPoolExecutor = field(default_factory=_one_thread)
    _serving: asyncio.Task[None] | None = None

    @property
    def supports(self) -> frozenset[Feature]:
        """Return every feature."""
        return self.settings.supports

    def identity(self) -> Mapping[str, Json]:
        """Return what the reply depends on beside the model's files."""
        return self.settings.identity()

    async def complete(self, request: Request) -> Completion:
        """Return the reply; raise `RequestFailed` of kind `context` where the prompt is too long."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        if self._serving is None or self._serving.done():
            self._serving = loop.create_task(self._serve())
        return await waiting.reply

    async def aclose(self) -> None:
        """Stop and free the model's memory."""
        for waiting in self._waiting:
            waiting.reply.cancel()
        if self._serving is not None:
            self._serving.cancel()
        self._thread.shutdown(cancel_futures=True)
        for name in ("model", "tokenizer"):
            vars(self.model).pop(name, None)

    async def _serve(self) -> None:
        from asyncio import get_running_loop, sleep

        loop = get_running_loop()
        while True:
            await sleep(_GATHER)
            self._waiting = [waiting for waiting in self._waiting if not waiting.reply.done()]
            if not self._waiting:
                return
            round_ = list(self._waiting)
            try:
                answers = await loop.run_in_executor(self._thread, self._answer, round_)
            except Exception as error:  # whatever it is, nobody else would hear of it
                answers = [(waiting, error) for waiting in round_]
            for waiting, answer in answers:
                if waiting.reply.done():
                    continue
                if isinstance(answer, Completion):
                    waiting.reply.set_result(answer)
                else:
                    waiting.reply.set_exception(answer)

    def _answer(self, waiting: Sequence[_Waiting]) -> list[tuple[_Waiting, Completion | Exception]]:
        """Answer one batch of those that wait: the longest waiting, and the nearest to it in length."""
        failed: list[tuple[_Waiting, Completion | Exception]] = []
        for one in waiting:
            if one.prompt is None:
                try:
                    one.prompt = self.model.prompt(one.request)
                except BezoarError as error:
                    failed.append((one, error))
        if failed:
            return failed
        batch = self._batch([(one, one.prompt) for one in waiting if one.prompt is not None])
        try:
            if batch[0][1].request.choices:
                return [(one, self.model.choice(prompt)) for one, prompt in batch]
            replies = self.model.replies([prompt for _, prompt in batch], [one.reply.done for one, _ in batch])
        except RequestFailed as error:
            return [(one, error) for one, _ in batch]
        return [(one, reply) for (one, _), reply in zip(batch, replies, strict=True)]

    def _batch(self, waiting: Sequence[tuple[_Waiting, Prompt]]) -> list[tuple[_Waiting, Prompt]]:
        if waiting[0][1].request.choices:
            return [waiting[0]]  # alone: its scores then depend on nothing else
        drawn = [pair for pair in waiting if not pair[1].request.choices]
        drawn.sort(key=lambda pair: len(pair[1].ids))
        size = self.settings.batch_size
        start = next(n for n, pair in enumerate(drawn) if pair[0] is waiting[0][0]) // size * size
        return drawn[start : start + size]


@hookimpl
def bezoar_clients() -> Sequence[type[Client]]:
    """Register the client."""
    return [Transformers]
