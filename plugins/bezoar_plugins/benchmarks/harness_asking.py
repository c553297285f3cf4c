"""A model without a folder as the harness sees it: each prompt goes through `ask`, and there are no log-likelihoods."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw
from bezoar_core.records import Message, Role, Sampling
from bezoar_core.types import Json, ModelRef
from bezoar_plugins.benchmarks.harness_tasks import WHERE

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.task import Task

IN_FLIGHT = 256
MAX_TOKENS = 256
"""Where a task does not say: as the harness's own models."""
_STOPS = 4
"""As many as every API takes; a reply is cut at the others here."""
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A document that was asked and has no answer: it is in no figure."""

    task: str
    document: int
    outcome: Literal["failed", "refused"]
    data: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked from the thread that the harness blocks; `loop` is the one that `ask` belongs to.

    `cut` are the tasks and documents whose reply ran out of tokens, `lost` those without an answer.
    """

    model: ModelRef
    ask: Ask
    draw: Draw
    loop: AbstractEventLoop
    tasks: Sequence[Task]
    chat: bool
    lost: list[Lost] = field(default_factory=list)
    cut: set[tuple[str, int]] = field(default_factory=set)


def require_generation(tasks: Iterable[Task], model: str) -> None:
    """Raise where a task needs the log-likelihood of a text, which no reply carries."""
    kinds = {str(task.task_name): task.OUTPUT_TYPE == "generate_until" for task in tasks}
    refused = [name for name, generates in kinds.items() if not generates]
    if refused:
        able = ", ".join(f"`{name}`" for name, generates in kinds.items() if generates)
        listed = ", ".join(f"`{name}`" for name in refused)
        tip = f"of the tasks named, {able} would do" if able else "name tasks whose `output_type` is `generate_until`"
        message = f"model `{model}` has no folder to load, and only weights give the log-likelihoods for {listed}"
        raise BezoarError(message, where=WHERE, tip=tip)


def asking_model(asking: Asking) -> LM:
    """Return a model of the harness that asks; what it cannot answer leaves its task and goes to `asking.lost`."""
    from asyncio import run_coroutine_threadsafe

    from lm_eval.api.model import LM

    class Asker(LM):  # type: ignore[misc]  # lm_eval is untyped here
        tokenizer_name = asking.model.name

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history, ensure_ascii=False)

        def generate_until(self, requests: list[Instance]) -> list[str]:
            texts = run_coroutine_threadsafe(_texts(asking, requests), asking.loop).result()
            for task in asking.tasks:
                _leave_out(task, [lost for lost in asking.lost if lost.task == task.task_name])
            return texts

        def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
            raise BezoarError(f"model `{asking.model.name}` gives no log-likelihoods", where=WHERE)

        def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
            raise BezoarError(f"model `{asking.model.name}` gives no log-likelihoods", where=WHERE)

    return Asker()


async def _texts(asking: Asking, requests: Sequence[Instance]) -> list[str]:
    async def one(job: tuple[Instance, int]) -> str:
        return await _text(asking, *job)

    def failed(job: tuple[Instance, int], error: RequestFailed) -> str:
        if error.kind == "unsupported":  # so would all the others be
            raise BezoarError(error.message, where=error.where or WHERE, tip=error.tip) from error
        outcome: Literal["failed", "refused"] = "refused" if error.kind == "refused" else "failed"
        _lose(asking, job[0], outcome, {"kind": error.kind, "message": error.message})
        return ""

    return [text async for text in in_order(one, _numbered(requests), failed=failed, ahead=IN_FLIGHT)]


def _numbered(requests: Iterable[Instance]) -> Iterator[tuple[Instance, int]]:
    """Yield each request with how often it came before: a task may want several draws of one."""
    seen: Counter[int] = Counter()
    for request in requests:
        yield request, seen[id(request)]
        seen[id(request)] += 1


async def _text(asking: Asking, request: Instance, number: int) -> str:
    from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

    prompt, given = request.args
    settings = normalize_gen_kwargs(given, MAX_TOKENS)
    until = [text for text in settings["until"] if text]
    temperature = float(settings["temperature"]) if settings["do_sample"] else 0.0
    drawn = asking.draw("answer", str(request.task_name), int(request.doc_id), number)
    messages, prefill = _conversation(prompt) if asking.chat else ([Message("user", prompt)], "")
    reply = await asking.ask(
        asking.model,
        messages,
        sampling=Sampling(
            max_tokens=int(settings["max_gen_toks"]),
            temperature=temperature,
            top_p=settings.get("top_p") if temperature else None,
            seed=drawn.getrandbits(31) if temperature else None,
        ),
        stop=until[:_STOPS],
        prefill=prefill,
        sample=number,
    )
    if reply.finish in ("refused", "filtered"):
        _lose(asking, request, "refused", {"reply": reply.text, "finish": reply.finish})
    if reply.finish == "length" and not any(stop in reply.text for stop in until):
        asking.cut.add((str(request.task_name), int(request.doc_id)))
    return str(postprocess_generated_text(reply.text, until, None))


def _conversation(prompt: str) -> tuple[list[Message], str]:
    """Return the turns that `apply_chat_template` wrote down; a last one of the assistant begins the answer."""
    turns = [Message(_ROLES[turn["role"]], turn["content"]) for turn in json.loads(prompt)]
    if turns[-1].role == "assistant":
        return turns[:-1], turns[-1].content
    return turns, ""


def _lose(asking: Asking, request: Instance, outcome: Literal["failed", "refused"], why: Mapping[str, Json]) -> None:
    data: dict[str, Json] = {"doc": request.doc, "prompts": [request.args[0]], **why}
    asking.lost.append(Lost(task=str(request.task_name), document=int(request.doc_id), outcome=outcome, data=data))


def _leave_out(task: Task, lost: Sequence[Lost]) -> None:
    """Take documents without an answer from a task, so that no metric sees them."""
    gone = {one.document for one in lost}
    kept = [request for request in task.instances if request.doc_id not in gone]
    if not kept:
        message = (
            f"no document of task `{task.task_name}` got an answer: {lost[0].data.get('message', lost[0].outcome)}"
        )
        raise BezoarError(
            message, where=WHERE, tip="replies that came are in the ledger: run again to ask for the rest"
        )
    every = task.doc_iterator

    def answered(**options: object) -> Iterator[tuple[int, object]]:
        return ((number, document) for number, document in every(**options) if number not in gone)

    task._instances = kept
    task.doc_iterator = answered
