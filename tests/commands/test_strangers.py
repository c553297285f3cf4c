"""Commands and inspectors that come from somewhere else, and are broken."""

from __future__ import annotations

import pytest

from bezoar_core.testing import BezoarProject

STRANGER = """
from bezoar_core.hookspecs import hookimpl

class Greet:
    name = "greet"
    help = "say hello"

    @staticmethod
    def arguments(parser):
        parser.add_argument("--whom", default="you")

    @staticmethod
    def run(options):
        print("hello", options.whom)
        return 0

@hookimpl
def bezoar_{hook}:
    {body}
"""
REGISTRY = """\
bezoar: 1
name: small
models: {teacher: {client: echo}}
datasets: {rows: {source: "file:rows.jsonl", licence: cc0-1.0}}
judges: {proxy: {use: human-proxy, model: teacher, choices: false}}
steps: {kept: {use: judged, judge: proxy, data: rows}}
"""


def project(given: BezoarProject, hook: str, body: str) -> BezoarProject:
    given.write("registry.yaml", REGISTRY)
    given.rows("rows.jsonl", [{"instruction": "Why?", "response": "Because."}])
    given.write("packages/stranger.py", STRANGER.replace("{hook}", hook).replace("{body}", body))
    given.write("packages/stranger-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    given.write("packages/stranger-1.dist-info/entry_points.txt", "[bezoar]\nstranger = stranger\n")
    given.environment["PYTHONPATH"] = str(given.root / "packages")
    return given


def test_a_command_of_a_stranger_is_a_command(bezoar_project: BezoarProject) -> None:
    ended = project(bezoar_project, "commands()", "return [Greet]").bezoar("greet", "--whom", "world")
    assert (ended.status, ended.out) == (0, "hello world\n"), ended.err


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise RuntimeError('no such luck')", "cannot be used: RuntimeError: no such luck"),
        ("Greet.name = 'run'; return [Greet]", "there is a command `run` already"),
        ("Greet.arguments = None; return [Greet]", "'NoneType' object is not callable"),
    ],
)
def test_a_broken_command_is_named_and_takes_no_other_down(bezoar_project: BezoarProject, body: str, told: str) -> None:
    broken = project(bezoar_project, "commands()", body)
    listed = broken.bezoar("list")
    assert listed.status == 0
    assert "plugin `stranger` of stranger 1" in listed.err and told in listed.err
    checked = broken.bezoar("check")
    assert checked.status == 0 and told in checked.err + checked.out


def test_a_module_that_ends_the_process_does_not(bezoar_project: BezoarProject) -> None:
    broken = project(bezoar_project, "commands()", "return [Greet]")
    broken.write("packages/stranger.py", "import sys\nsys.exit(3)\n")
    listed = broken.bezoar("list")
    assert listed.status == 0 and "cannot be imported: SystemExit: 3" in listed.err


def test_an_inspector_that_raises_is_named(bezoar_project: BezoarProject) -> None:
    checked = project(bezoar_project, "inspect(plan)", "raise RuntimeError('no such luck')").bezoar("check")
    assert checked.status == 0, checked.err
    said = checked.out + checked.err
    assert "plugin `stranger:stranger` cannot inspect the plan: RuntimeError: no such luck" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "nan"], "`nan` is no amount of US dollars"),
        (["--budget=-1"], "`-1` is no amount of US dollars"),
        (["--only", "kept", "--until", "kept"], "give either --only or --until"),
        (["--rerun", "kep"], "unknown step `kep`"),
        (["--only", "more", "--rerun", "kept"], "`kept` is to be made again, but --until or --only leaves it out"),
    ],
)
def test_what_a_run_cannot_mean_is_refused_before_anything_runs(
    bezoar_project: BezoarProject, arguments: list[str], told: str
) -> None:
    bezoar_project.write(
        "registry.yaml", REGISTRY.replace("data: rows}}", "data: rows}, more: {use: judged, judge: proxy, data: kept}}")
    )
    bezoar_project.rows("rows.jsonl", [{"instruction": "Why?", "response": "Because."}])
    ended = bezoar_project.bezoar("run", *arguments)
    assert ended.status == 2 and told in ended.err
    assert not (bezoar_project.root / ".bezoar").exists()
