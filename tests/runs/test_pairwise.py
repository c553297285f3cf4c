"""Pairwise MT-Bench by the real command line: a model more costs its own answers and pairs, and no others."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import pytest

from bezoar_core.testing import BezoarProject, Ended

REGISTRY = """\
bezoar: 1
name: paired
models:
  base: {client: echo, replies: ["A stone. {hash}"]}
  sft: {client: echo, replies: ["A large stone. {hash}"]}
  dpo: {client: echo, replies: ["A very large stone. {hash}"]}
  grader: {client: echo, replies: ["Rating: [[4]]", "Rating: [[7]]"]}
  referee: {client: echo, replies: ["[[A]]", "[[B]]", "[[C]]"]}
datasets:
  questions: {source: "file:questions.jsonl"}
  prompts: {source: "file:prompts.jsonl"}
judges:
  mt: {use: mt-bench-single, model: grader, prompts: prompts}
  duel: {use: mt-bench-pair, model: referee, prompts: prompts}
  other-duel: {use: mt-bench-pair, model: grader, prompts: prompts, choices: true}
steps:
  bench: {use: mt-bench, models: [base, sft], judge: mt, pair_judge: duel, questions: questions}
"""
QUESTIONS = 3
TURNS = 2 * QUESTIONS
ALL = "steps.bench.models=[base, sft, dpo]"


@pytest.fixture
def project(tmp_path: Path) -> BezoarProject:
    return made(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> BezoarProject:
    """A project that has compared three models."""
    project = made(tmp_path_factory.mktemp("finished"))
    run(project, ALL)
    return project


def made(folder: Path) -> BezoarProject:
    project = BezoarProject(folder)
    project.write("registry.yaml", REGISTRY)
    project.rows(
        "questions.jsonl",
        [{"question_id": n, "category": "stem", "turns": [f"Say {n}.", "Say more."]} for n in range(QUESTIONS)],
    )
    slots = {
        "single-v1": "{question} {answer}",
        "single-v1-multi-turn": "{question_2} {answer_2}",
        "pair-v2": "{question} {answer_a} {answer_b}",
        "pair-v2-multi-turn": "{question_2} {answer_a_2} {answer_b_2}",
    }
    rows = [{"name": name, "system_prompt": "Judge.", "prompt_template": text} for name, text in slots.items()]
    project.rows("prompts.jsonl", rows)
    answer = {"choices": [{"index": 0, "turns": ["A stone.", "A small one."]}]}
    project.rows("elsewhere/model_answer/old.jsonl", [{"question_id": n, **answer} for n in range(QUESTIONS)])
    return project


def run(project: BezoarProject, *sets: str) -> Ended:
    ended = project.bezoar("run", *(word for text in sets for word in ("--set", text)))
    assert ended.status == 0, ended.err
    return ended


def started(ended: Ended) -> set[str]:
    return set(re.findall(r"^(\S+): started", ended.err, re.MULTILINE))


def compared(project: BezoarProject) -> Path:
    """Return the newest comparison."""
    found = (project.root / ".bezoar" / "artifacts").glob("bench-????????????")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def kept(project: BezoarProject) -> int:
    """Return how many replies the ledger has."""
    segments = (project.root / ".bezoar" / "ledger").glob("*.jsonl")
    return sum(len(path.read_bytes().splitlines()) for path in segments)


def test_a_model_more_costs_its_own_answers_and_pairs(project: BezoarProject) -> None:
    assert started(run(project)) == {"bench@base", "bench@sft", "bench"}
    assert kept(project) == 2 * 2 * TURNS + 2 * TURNS, "answers, ratings, and two games"
    before = kept(project)
    ended = run(project, ALL)
    assert started(ended) == {"bench@dpo", "bench"}
    assert kept(project) - before == 2 * TURNS + 2 * 2 * TURNS, "its answers and ratings, and two pairs in two games"
    cost = json.loads((compared(project) / "manifest.json").read_text())["cost"]
    assert (cost["requests"], cost["replayed"]) == (3 * 2 * TURNS, 2 * TURNS)

    samples = [json.loads(line) for line in (compared(project) / "samples.jsonl").read_text().splitlines()]
    assert {(s["data"]["model_1"], s["data"]["model_2"]) for s in samples} == {*combinations(("base", "sft", "dpo"), 2)}
    assert len(samples) == 3 * TURNS and {s["metric"] for s in samples} == {"pair"}
    scores = json.loads((compared(project) / "scores.json").read_text())
    assert {(s["model"], s["metric"]) for s in scores if "/" not in s["metric"]} == {
        *((model, metric) for model in ("base", "sft", "dpo") for metric in ("rating", "win_rate")),
        ("duel", "order_consistency"),
    }
    differences = json.loads((compared(project) / "differences.json").read_text())
    assert {(d["first"], d["second"]) for d in differences} == {*combinations(("base", "sft", "dpo"), 2)}
    assert re.search(r"\nduel, mt-bench: \d+ depended on the order, \d+% of them for the first answer\n", ended.out)
    table = [line.split() for line in ended.out.partition("scores, with")[2].splitlines()]
    assert [line[:3] for line in table if "win_rate" in line] == [
        [model, "mt-bench", "win_rate"] for model in ("base", "sft", "dpo")
    ]


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ("steps.bench.pair_judge=other-duel", 3 * 2 * TURNS),
        ("steps.bench.baseline=sft", 0),
        ("steps.bench.pairs=[[base, dpo]]", 0),
        ("steps.bench.pair_judge=null", 0),
        ("steps.bench.outside=elsewhere", 3 * 2 * TURNS),
    ],
)
def test_how_models_are_compared_measures_none_of_them_again(
    finished: BezoarProject, change: str, new: int, tmp_path: Path
) -> None:
    project = BezoarProject(Path(shutil.copytree(finished.root, tmp_path / "copy")))
    before = kept(project)
    assert started(run(project, ALL, change)) == {"bench"}
    assert kept(project) - before == new


def test_what_a_comparison_asks_is_planned(project: BezoarProject) -> None:
    plan = project.bezoar("plan", "--set", ALL, "--set", "steps.bench.categories=[stem]").out
    (line,) = (line for line in plan.splitlines() if line.split()[:1] == ["bench"])
    assert " 120 " in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps.bench.baseline=bse", "`baseline`: `bse` is none of `models`; did you mean `base`?"),
        ("steps.bench.pairs=[[base, dpx]]", "`dpx` is none of `models`"),
        ("steps.bench.pair_judge=mtt", "unknown judge `mtt`"),
        ("steps.bench.outside=nowhere", "`nowhere` does not exist"),
    ],
)
def test_what_cannot_be_compared_is_found_before_anything_runs(
    project: BezoarProject, change: str, message: str
) -> None:
    ended = project.bezoar("check", "--set", change)
    assert ended.status == 2 and message in ended.err
