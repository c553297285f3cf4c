"""A reply that was cut off, refused or filtered drops its row with that reason, whatever the scheme and the request."""

from __future__ import annotations

import pytest
from scheme_runs import run_scheme

from bezoar_core.interfaces import Scheme
from bezoar_core.records import Completion, FinishReason, Request, Row
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.schemes.evol_instruct import EvolInstruct
from bezoar_plugins.schemes.lamini import LaMini
from bezoar_plugins.schemes.orca import Orca

TEACHER, SEEDS = ModelRef("teacher"), DatasetRef("seeds")
DOLLY: Row = {"instruction": "Name the capital of Norway.", "context": "", "category": "open_qa"}
FLAN: Row = {
    "inputs": "What is two and two?",
    "targets": "four",
    "task_source": "CoT",
    "task_name": "sums",
    "template_type": "zs_noopt",
}
SCHEMES: list[tuple[Scheme, Row]] = [
    (LaMini(teacher=TEACHER, seeds=SEEDS, count=1, max_tasks=1), DOLLY),
    (EvolInstruct(teacher=TEACHER, seeds=SEEDS, count=1, max_tasks=1), DOLLY),
    (Orca(teacher=TEACHER, seeds=SEEDS, count=1, max_tasks=1), FLAN),
]


def kind(request: Request) -> str:
    text = request.messages[-1].content
    if text.startswith("Here "):
        return "instruction"
    return "comparison" if text.startswith("Compare two prompts.") else "answer"


REPLIES = {
    "instruction": "<example>Name a large lake in Finland.</example><prompt>Name a large lake in Finland.</prompt>",
    "comparison": "Not Equal",
    "answer": "It is lake Saimaa.",
}
CUT = {"instruction": "<example>Name a large<prompt>Name a large", "answer": "It is lake"}


@pytest.mark.parametrize(("scheme", "seed"), SCHEMES, ids=lambda part: getattr(part, "name", ""))
@pytest.mark.parametrize("finish", ["length", "refused", "filtered"])
async def test_a_reply_that_is_none_drops_its_row(scheme: Scheme, seed: Row, finish: FinishReason) -> None:
    ask = ScriptedAsk(lambda request: REPLIES[kind(request)])
    assert len((await run_scheme(scheme, [seed], ask)).kept) == 1
    for bad in {kind(request) for _, request in ask.requests} - {"comparison"}:

        def answer(request: Request, bad: str = bad) -> Reply:
            return Completion(text=CUT[bad], finish=finish) if kind(request) == bad else REPLIES[kind(request)]

        made = await run_scheme(scheme, [seed], ScriptedAsk(answer))
        assert made.kept == () and made.reasons == {"truncated" if finish == "length" else finish: 1}, bad
