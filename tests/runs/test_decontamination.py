"""Decontamination by the real command line: a benchmark's items reach the filter without the benchmark being run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bezoar_core.rows import read_parquet
from bezoar_core.testing import BezoarProject, Ended

ROOT = Path(__file__).parents[2]

REGISTRY = """\
bezoar: 1
name: clean
models: {subject: {client: echo}, judge: {client: echo}}
datasets:
  own: {source: "file:own.jsonl"}
  questions: {source: "file:questions.jsonl"}
  prompts: {source: "file:prompts.jsonl"}
judges: {mt: {use: mt-bench-single, model: judge, prompts: prompts}}
steps:
  chosen: {use: heuristics, data: questions, columns: [category], forbidden: [math]}
  clean: {use: decontaminate, data: own, against: [mt-bench]}
  clean-both: {use: decontaminate, data: own, against: [mt-bench, lm-eval]}
  mt-bench: {use: mt-bench, models: [subject], judge: mt, questions: questions, per_category: 2}
  lm-eval: {use: lm-eval, models: [subject], include_path: tasks, tasks: [bezoar_sort_mc], limit: 4}
"""
RIVER = "Describe the slow brown river near your town in winter, and say what lives in it today."
INSTRUCTIONS = ["Say why stones sink.", f"{RIVER} Use ten lines.", "name three stones", "Name two rivers of Asia."]
SORTED = "which of these numbers is the largest: 92, 56, 98, 89"


def question(number: int, *turns: str) -> dict[str, object]:
    return {"question_id": number, "category": "writing", "turns": list(turns)}


@pytest.fixture
def project(bezoar_project: BezoarProject) -> BezoarProject:
    bezoar_project.write("registry.yaml", REGISTRY)
    bezoar_project.rows(
        "questions.jsonl", [question(81, RIVER, "Now in verse."), question(82, "Name three stones.", "")]
    )
    bezoar_project.rows("prompts.jsonl", [{"name": "single-v1"}])
    bezoar_project.rows("own.jsonl", [{"instruction": text, "response": "A reply."} for text in INSTRUCTIONS])
    shutil.copytree(ROOT / "examples" / "tasks", bezoar_project.root / "tasks")
    return bezoar_project


def artifact(project: BezoarProject, step: str) -> Path:
    """Return the newest of a step's artifacts."""
    found = (project.root / ".bezoar" / "artifacts").glob(f"{step}-????????????")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def started(ended: Ended) -> set[str]:
    assert ended.status == 0, ended.err
    return set(re.findall(r"^(\S+): started", ended.err, re.MULTILINE))


def test_rows_that_an_mt_bench_of_the_registry_asks_are_dropped_and_counted(project: BezoarProject) -> None:
    assert started(project.bezoar("run", "--until", "clean")) == {"clean"}, "no model is measured"
    made = artifact(project, "clean")
    assert [row["instruction"] for row in read_parquet(made / "rows.parquet")] == [INSTRUCTIONS[0], INSTRUCTIONS[3]]
    dropped = list(read_parquet(made / "dropped.parquet"))
    assert [(row["drop_reason"], row["contaminated_by"]) for row in dropped] == [("contaminated", "mt-bench")] * 2
    assert str(dropped[0]["drop_detail"]).endswith("of mt-bench `81`")
    assert str(dropped[1]["drop_detail"]).endswith("near-duplicate of mt-bench `82`")
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["metrics"] == {"contaminated": 2, "contaminated: mt-bench": 2}
    assert manifest["judges"] == manifest["models"] == {}
    assert {entry["field"] for entry in manifest["inputs"]} == {"data", "against"}

    assert started(project.bezoar("run", "--until", "clean")) == set()
    models = ("--set", "steps.mt-bench.models=[subject, judge]")
    assert started(project.bezoar("run", "--until", "clean", *models)) == set(), "who is measured asks nothing new"
    fewer = ("--set", "steps.mt-bench.per_category=1")
    assert started(project.bezoar("run", "--until", "clean", *fewer)) == {"clean"}
    project.rows("questions.jsonl", [question(83, "Name two rivers of Asia.")])
    again = project.bezoar("run", "--until", "clean")
    assert "clean: started (input changed: `mt-bench`)" in again.err
    kept = read_parquet(artifact(project, "clean") / "rows.parquet")
    assert [row["instruction"] for row in kept] == INSTRUCTIONS[:3]


def test_a_benchmark_may_read_its_items_from_a_step(project: BezoarProject) -> None:
    ended = project.bezoar("run", "--until", "clean", "--set", "steps.mt-bench.questions=chosen")
    assert started(ended) == {"chosen", "clean"}
    manifest = json.loads((artifact(project, "clean") / "manifest.json").read_text())
    assert manifest["metrics"]["contaminated"] == 2
    circle = project.bezoar("check", "--set", "steps.mt-bench.questions=clean")
    assert circle.status == 2 and "the steps go round in a circle: `clean` -> `clean`" in circle.err


def test_a_variable_of_the_benchmark_must_be_set(project: BezoarProject) -> None:
    ended = project.bezoar("run", "--until", "clean", "--set", "steps.mt-bench.categories=['${NO_SUCH_VARIABLE}']")
    assert ended.status == 2 and "`NO_SUCH_VARIABLE` is not set" in ended.err


def test_rows_that_the_harness_asks_are_dropped_and_counted(project: BezoarProject) -> None:
    project.rows("own.jsonl", [{"instruction": text, "response": "98"} for text in (*INSTRUCTIONS, SORTED)])
    assert started(project.bezoar("run", "--until", "clean-both")) == {"clean-both"}
    made = artifact(project, "clean-both")
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["metrics"] == {"contaminated": 3, "contaminated: lm-eval": 1, "contaminated: mt-bench": 2}
    *_, last = read_parquet(made / "dropped.parquet")
    assert last["instruction"] == SORTED and last["contaminated_by"] == "lm-eval"
    assert str(last["drop_detail"]).endswith("of lm-eval `bezoar_sort_mc/0`")
