"""A model without a folder: the harness's prompts go through `ask`, and what has no answer is in no figure."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from harness_runs import TASKS, asked, benchmark, compared, documents, write_tasks

from bezoar_core.errors import BezoarError, BudgetSpent, RequestFailed
from bezoar_core.records import Completion, Message, Request, Sampling
from bezoar_core.testing import BezoarProject, Reply, ScriptedAsk
from bezoar_core.types import ModelRef

GENERATE = """
task: {name}
custom_dataset: !function own_rows.load
test_split: test
fewshot_split: train
output_type: generate_until
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["\\n", "."], {settings}}}
repeats: {repeats}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
ROWS = [{"q": f"Which number is {word}?", "a": str(n)} for n, word in enumerate(("zero", "one", "two", "three"))]
COPY = [json.loads(line) for line in (TASKS / "copy_gen.jsonl").read_text().splitlines()]
GEN = {"tasks": ("bezoar_copy_gen",)}


def right(request: Request) -> str:
    """Answer as the example task wants it."""
    (row,) = [
        r
        for r in COPY
        if request.messages[-1].content.count(f"Text: {r['text']}\nAnswer:")
        and r["rule"] in request.messages[-1].content
    ]
    return f" {row['target']}\nand more"


def own(folder: Path, settings: str = "do_sample: false", repeats: int = 1) -> str:
    return str(
        write_tasks(folder, {"own_gen": GENERATE.format(name="own_gen", settings=settings, repeats=repeats)}, ROWS)
    )


async def test_prompts_and_settings_are_the_tasks_and_replies_are_cut_and_scored(tmp_path: Path) -> None:
    wrong = {COPY[2]["text"], COPY[5]["text"]}
    ask = ScriptedAsk(
        lambda r: " no idea" if any(f"Text: {t}\nAnswer:" in r.messages[0].content for t in wrong) else right(r)
    )
    bench = benchmark(**GEN)
    samples = await asked(bench, ask, tmp_path)
    assert {name for name, _ in ask.requests} == {"api"} and len(ask.requests) == 12
    for (_, request), row in zip(ask.requests, COPY, strict=False):
        assert request.sampling == Sampling(max_tokens=24, temperature=0.0) and request.stop == ("\n",)
        (message,) = request.messages
        assert message.role == "user" and message.content.endswith(f"Text: {row['text']}\nAnswer:")
    score = (await compared(bench, samples, tmp_path))["bezoar_copy_gen", "exact_match,stripped"]
    assert (score.value, score.n, score.missing) == (10 / 12, 12, {})
    assert [s.value for s in documents(samples)] == [float(n not in (2, 5)) for n in range(12)]
    assert documents(samples)[0].data["responses"] == [[f" {COPY[0]['target']}"]]
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["results"]["bezoar_copy_gen"]["exact_match,stripped"] == 10 / 12
    assert (written["model_source"], written["model_name"]) == ("ask", "api")


async def test_many_requests_are_in_flight(tmp_path: Path) -> None:
    together = asyncio.Barrier(12)

    class Together:
        async def __call__(self, model: ModelRef, messages: Sequence[Message], **options: object) -> Completion:
            await together.wait()  # nobody is answered before all have come
            return Completion(text="x")

    async with asyncio.timeout(60):
        samples = await asked(benchmark(**GEN), Together(), tmp_path)
    assert len(documents(samples)) == 12


@pytest.mark.parametrize(
    ("reply", "outcome", "said"),
    [
        (
            RequestFailed("the server is down", kind="server"),
            "failed",
            {"kind": "server", "message": "the server is down"},
        ),
        (RequestFailed("it declined", kind="refused"), "refused", {"kind": "refused", "message": "it declined"}),
        (Completion(text="I cannot.", finish="refused"), "refused", {"finish": "refused", "reply": "I cannot."}),
        (Completion(text="", finish="filtered"), "refused", {"finish": "filtered", "reply": ""}),
    ],
    ids=["failed", "refused-error", "refused", "filtered"],
)
async def test_what_has_no_answer_is_counted_and_not_scored(
    reply: Reply, outcome: str, said: dict[str, str], tmp_path: Path
) -> None:
    lost = {COPY[3]["text"], COPY[7]["text"]}
    wrong = COPY[0]["text"]

    def answer(request: Request) -> Reply:
        text = request.messages[0].content
        if any(f"Text: {one}\nAnswer:" in text for one in lost):
            return reply
        return " no" if f"Text: {wrong}\nAnswer:" in text else right(request)

    bench = benchmark(**GEN)
    samples = await asked(bench, ScriptedAsk(answer), tmp_path)
    gone = [s for s in documents(samples) if s.outcome != "scored"]
    assert [s.item for s in gone] == ["bezoar_copy_gen/3", "bezoar_copy_gen/7"]
    for sample in gone:
        assert (sample.outcome, sample.value, sample.metric) == (outcome, None, "exact_match,stripped")
        assert sample.data["doc"] == COPY[int(sample.item[-1])] and said.items() <= sample.data.items()
    kept = [s for s in documents(samples) if s.outcome == "scored"]
    assert [s.item.partition("/")[2] for s in kept] == [str(n) for n in range(12) if n not in (3, 7)]
    score = (await compared(bench, samples, tmp_path))["bezoar_copy_gen", "exact_match,stripped"]
    assert (score.value, score.n, score.missing) == (9 / 10, 10, {outcome: 2})
    assert "missing" not in score.data


async def test_a_reply_that_ran_out_of_tokens_is_marked(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        text = right(request)
        whole = f"Text: {COPY[0]['text']}\nAnswer:" not in request.messages[0].content
        return Completion(text=text if whole else text.partition("\n")[0], finish="length")

    samples = await asked(benchmark(**GEN), ScriptedAsk(answer), tmp_path)
    cut = [s.item for s in documents(samples) if s.data.get("finish") == "length"]
    assert cut == ["bezoar_copy_gen/0"], "of the others a stop came before the end"


async def test_a_task_without_any_answer_ends_the_measurement(tmp_path: Path) -> None:
    ask = ScriptedAsk(lambda request: RequestFailed("the server is down", kind="server"))
    with pytest.raises(BezoarError, match="no document of task `bezoar_copy_gen` got an answer: the server is down"):
        await asked(benchmark(**GEN), ask, tmp_path)


@pytest.mark.parametrize("error", [BudgetSpent("the budget is spent"), RequestFailed("no `stop`", kind="unsupported")])
async def test_what_every_request_would_meet_ends_the_measurement(error: BezoarError, tmp_path: Path) -> None:
    class Ends:
        asked = 0

        async def __call__(self, model: ModelRef, messages: Sequence[Message], **options: object) -> Completion:
            self.asked += 1
            raise error

    with pytest.raises(BezoarError, match=error.message) as raised:
        await asked(benchmark(**GEN), Ends(), tmp_path)
    assert not isinstance(raised.value, RequestFailed)


async def test_a_task_that_needs_log_likelihoods_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    ask = ScriptedAsk(right)
    says = "model `api` has no folder to load, and only weights give the log-likelihoods for `bezoar_sort_mc`"
    with pytest.raises(BezoarError, match=says + "\n  tip: of the tasks named, `bezoar_copy_gen` would do"):
        await asked(benchmark(), ask, tmp_path)
    with pytest.raises(BezoarError, match="tip: name tasks whose `output_type` is `generate_until`"):
        await asked(benchmark(tasks=("bezoar_sort_mc",)), ask, tmp_path)
    assert not ask.requests


async def test_chat_turns_are_messages_and_a_begun_answer_a_prefill(tmp_path: Path) -> None:
    ask = ScriptedAsk(lambda request: "x")
    await asked(benchmark(**GEN, apply_chat_template=True, limit=1), ask, tmp_path)
    ((_, request),) = ask.requests
    assert request.prefill == "Answer:" and [m.role for m in request.messages] == ["user"]
    assert request.messages[0].content.endswith(f"Text: {COPY[0]['text']}\n")

    ask = ScriptedAsk(lambda request: "x")
    folder = own(tmp_path / "own")
    bench = benchmark(tasks=("own_gen",), include_path=folder, apply_chat_template=True, shots=1, limit=2)
    await asked(bench, ask, tmp_path)
    for (_, request), row in zip(ask.requests, ROWS, strict=False):
        assert [m.role for m in request.messages] == ["user", "assistant", "user"] and not request.prefill
        assert request.messages[-1].content == row["q"]
        assert {"q": request.messages[0].content, "a": request.messages[1].content.strip()} in ROWS


@pytest.mark.parametrize("text", ["2. And more", "2\nAnd more"])
async def test_replies_end_at_the_tasks_stops_whatever_the_client_did(text: str, tmp_path: Path) -> None:
    bench = benchmark(tasks=("own_gen",), include_path=own(tmp_path / "own"))
    samples = documents(await asked(bench, ScriptedAsk(lambda request: text), tmp_path))
    assert [s.data["responses"] for s in samples] == [[["2"]]] * 4
    assert [s.value for s in samples] == [0, 0, 1, 0]


async def test_draws_differ_by_seed_and_number_and_are_the_same_again(tmp_path: Path) -> None:
    async def drawn(place: Path) -> list[tuple[Sampling, int]]:
        folder = own(place, "do_sample: true, temperature: 0.7, top_p: 0.9, max_gen_toks: 9", repeats=3)
        ask = ScriptedAsk(lambda request: "2")
        await asked(benchmark(tasks=("own_gen",), include_path=folder), ask, place)
        return [(request.sampling, request.sample) for _, request in ask.requests]

    found = await drawn(tmp_path / "a")
    assert len(found) == 12 and found == await drawn(tmp_path / "b")
    assert {(s.max_tokens, s.temperature, s.top_p) for s, _ in found} == {(9, 0.7, 0.9)}
    assert len({s.seed for s, _ in found}) == 12 and {number for _, number in found} == {0, 1, 2}


REGISTRY = """\
bezoar: 1
name: asked
models:
  api:
    client: echo
    replies: ["{{hash}}"]
  weights: {{client: transformers, source: "random:tiny/config.json"}}
steps:
  harness: {{use: lm-eval, models: [api, weights], include_path: tasks, tasks: [bezoar_copy_gen], limit: 4{more}}}
"""


def project(bezoar_project: BezoarProject, more: str = "") -> Callable[..., str]:
    shutil.copytree(TASKS, bezoar_project.root / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TASKS.parent / "tiny", bezoar_project.root / "tiny")
    bezoar_project.write("registry.yaml", REGISTRY.format(more=more))

    def run(*arguments: str, status: int = 0) -> str:
        ended = bezoar_project.bezoar(*arguments)
        assert ended.status == status, ended.err
        return ended.out + ended.err

    return run


@pytest.mark.slow
def test_the_command_asks_one_model_and_loads_the_other(bezoar_project: BezoarProject) -> None:
    run = project(bezoar_project)
    run("run")
    manifests = {}
    for path in bezoar_project.root.glob(".bezoar/artifacts/harness*/manifest.json"):
        manifests[path.parent.name.rpartition("-")[0]] = json.loads(path.read_text())
    assert manifests["harness@api"]["cost"]["requests"] == 4
    assert manifests["harness@weights"]["cost"]["requests"] == 0
    assert manifests["harness@api"]["models"]["api"]["client"] == "echo"
    assert set(manifests) == {"harness@api", "harness@weights", "harness"}
    assert "started" not in run("run"), "nothing is measured twice"
    for path in bezoar_project.root.glob(".bezoar/artifacts/harness*"):
        shutil.rmtree(path)
    run("run")
    (again,) = bezoar_project.root.glob(".bezoar/artifacts/harness@api-*/manifest.json")
    assert json.loads(again.read_text())["cost"]["replayed"] == 4, "replies come from the ledger"
