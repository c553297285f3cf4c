"""What plugins do when a run has ended: the report is there, and nothing of theirs changes how it ended."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bezoar_core.testing import BezoarProject, Ended

REGISTRY = """\
bezoar: 1
name: small
models: {teacher: {client: echo, replies: ["Status: Accept\\nRating: 8\\nReason: fine"]}}
datasets: {rows: {source: "file:rows.jsonl", licence: cc0-1.0}}
judges: {proxy: {use: human-proxy, model: teacher, choices: false}}
steps: {kept: {use: judged, judge: proxy, data: rows}}
"""
STRANGER = """
from bezoar_core.hookspecs import hookimpl

@hookimpl
def bezoar_run_finished({arguments}):
    {body}
"""


@pytest.fixture
def project(bezoar_project: BezoarProject) -> BezoarProject:
    bezoar_project.write("registry.yaml", REGISTRY)
    bezoar_project.rows("rows.jsonl", [{"instruction": "Why?", "response": "Because."}])
    return bezoar_project


def with_stranger(project: BezoarProject, body: str, arguments: str = "plan, record") -> Ended:
    project.write("packages/stranger.py", STRANGER.format(arguments=arguments, body=body))
    project.write("packages/stranger-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    project.write("packages/stranger-1.dist-info/entry_points.txt", "[bezoar]\nstranger = stranger\n")
    packages = [str(project.root / "packages"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    project.environment["PYTHONPATH"] = os.pathsep.join(filter(None, packages))
    return project.bezoar("run")


def reports(project: BezoarProject) -> list[Path]:
    return sorted((project.root / ".bezoar" / "runs").glob("*/report.html"))


def test_every_run_ends_with_where_its_report_lies(project: BezoarProject) -> None:
    ended = project.bezoar("run")
    assert ended.status == 0, ended.err
    (told,) = re.findall(r"^report: (.*)$", ended.out, re.MULTILINE)
    assert reports(project) == [project.root / told]
    assert "1 of 1 made" in reports(project)[0].read_text()


def test_a_run_that_made_nothing_names_the_report_there_is(project: BezoarProject) -> None:
    project.bezoar("run")
    (report,) = reports(project)
    again = project.bezoar("run")
    assert f"report: {report.relative_to(project.root)} (nothing was made since)" in again.out
    assert reports(project) == [report]
    report.with_name("run.json").write_text("{")
    assert "(nothing was made since)" not in project.bezoar("run").out
    assert len(reports(project)) == 2, "of a record that cannot be read nothing is known"


def test_a_run_that_fails_has_a_report_and_its_own_error(project: BezoarProject) -> None:
    project.write("rows.jsonl", '{"instruction": "Why?"}\n')
    ended = project.bezoar("run")
    assert ended.status == 1 and "error: rows:row 1: nothing to judge" in ended.err
    assert "report: " in ended.out
    assert "The run failed." in reports(project)[0].read_text()


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('no such\\nluck')", "raise SystemExit('no such luck')", "return 7"]
)
def test_a_hook_that_fails_fails_no_run(project: BezoarProject, body: str) -> None:
    ended = with_stranger(project, body)
    assert ended.status == 0, ended.err
    (told,) = [line for line in ended.out.splitlines() if "plugin `stranger:stranger` failed after the run: " in line]
    log = project.root / told.rpartition("(")[2].rstrip(")")
    assert log.name == "run_finished.log" and "Traceback" in log.read_text()
    assert "no such luck" in told or "'int' object is not iterable" in told
    assert len(reports(project)) == 1


def test_a_hook_is_given_what_it_asks_for_and_may_say_something(project: BezoarProject) -> None:
    ended = with_stranger(project, "return [f'{len(record.nodes)} node(s), {record.error}']", "record")
    assert ended.status == 0, ended.err
    assert "1 node(s), None" in ended.out.splitlines()
