"""Must 13: each fault a clear error with its place, status 1 or 2, no traceback, and nothing finished lost."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bezoar_core.testing import BezoarProject, Ended

REGISTRY = """\
bezoar: 1
name: small
models:
  teacher:
    client: echo
    rules: [{when: one new instruction, reply: "<example>Tell of {hash} and more.</example>"}]
    replies: ["It is {hash}, as said."]
datasets:
  dolly: {source: "file:dolly.jsonl"}
judges:
  proxy: {use: human-proxy, model: judge}
steps:
  made: {use: lamini, teacher: teacher, seeds: dolly, count: 2, ask_for: 1}
  kept: {use: judged, judge: proxy, data: made}
"""
TEACHER = "\n".join(REGISTRY.splitlines()[3:7]).strip()
JUDGE = """\
models:
  judge: {client: echo, replies: ["Status: VERDICT\\nRating: 8\\nReason: so."]}
"""


@pytest.fixture
def project(bezoar_project: BezoarProject) -> BezoarProject:
    registry = REGISTRY.replace("models:\n", JUDGE.replace("VERDICT", "Accept"), 1)
    bezoar_project.write("registry.yaml", registry)
    rows = [{"instruction": f"Say the word number {n}", "context": ""} for n in range(6)]
    bezoar_project.rows("dolly.jsonl", rows)
    return bezoar_project


def change(project: BezoarProject, old: str, new: str) -> None:
    path = project.root / "registry.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(ended: Ended, status: int, *words: str) -> None:
    assert ended.status == status, ended.err
    assert "Traceback" not in ended.err + ended.out
    for word in words:
        assert word in ended.err, ended.err


def test_it_runs_as_it_stands_and_again_at_once(project: BezoarProject) -> None:
    first = project.bezoar("run")
    assert first.status == 0, first.err
    second = project.bezoar("run")
    assert second.status == 0
    assert "started" not in second.err


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_config_faults_stop_every_command_alike(project: BezoarProject, command: str) -> None:
    change(project, "count: 2", "count: two, cuont: 3")
    refused(project.bezoar(command), 2, "2 faults", "registry.yaml:14:55: `count`", "unknown key `cuont`")


def test_an_unset_variable_is_a_warning_in_check_and_a_fault_in_run(project: BezoarProject) -> None:
    change(project, TEACHER, 'teacher: {client: openai, model: m, api_key: "${BEZOAR_NO_KEY}"}')
    for command in ("check", "plan"):
        ended = project.bezoar(command)
        assert ended.status == 0, ended.err
        assert "environment variable `BEZOAR_NO_KEY` is not set" in ended.out
    refused(project.bezoar("run"), 2, "registry.yaml:5:", "environment variable `BEZOAR_NO_KEY` is not set")


def test_an_unreadable_seed_file(project: BezoarProject) -> None:
    project.write("dolly.jsonl", '{"instruction": "Say one", "context": ""}\n{"instruction": \n')
    refused(project.bezoar("run"), 1, "dolly.jsonl:2")


@pytest.mark.parametrize("change_to", ["first: 9, where: {context: none}", "first: 9"])
def test_a_dataset_without_a_row_is_named(project: BezoarProject, change_to: str) -> None:
    if "where" not in change_to:
        project.write("dolly.jsonl", "")
    change(project, '"file:dolly.jsonl"', f'"file:dolly.jsonl", {change_to}')
    refused(project.bezoar("run"), 1, "registry.yaml:10:3: there is no row", "`where`")


@pytest.mark.parametrize("command", ["plan", "status", "ledger stats", "show made", "schema", "list", "run"])
def test_a_reader_that_leaves_does_not_make_a_command_fail(project: BezoarProject, command: str) -> None:
    assert project.bezoar("run").status == 0
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, **project.environment}
    ended = subprocess.run(
        [sys.executable, "-m", "bezoar_core.cli", *command.split()],
        cwd=project.root,
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert all(summary.read_text() for summary in project.root.glob(".bezoar/runs/*/summary.txt"))


def test_a_seed_row_without_a_column_is_named_by_its_number(project: BezoarProject) -> None:
    project.rows("dolly.jsonl", [{"instruction": "Say one", "context": ""}, {"instructions": "Say two", "context": ""}])
    refused(project.bezoar("run"), 1, "dolly.jsonl:2: row has no column `instruction`", "did you mean `instructions`?")


def test_nothing_left_after_a_filter_is_said_and_what_was_made_stays(project: BezoarProject) -> None:
    change(project, "Status: Accept", "Status: Reject")
    ended = project.bezoar("run")
    refused(ended, 1, "registry.yaml:15:3: `kept` kept no row (2 reject")
    assert "bezoar run" in ended.out
    again = project.bezoar("status")
    assert re.search(r"made +made", again.out)


def test_a_server_that_is_not_there_is_named_within_seconds(project: BezoarProject) -> None:
    change(project, TEACHER, 'teacher: {client: openai, model: m, base_url: "http://127.0.0.1:9"}')
    cause = "error: model `teacher`: 127.0.0.1:9 cannot be reached: Connection refused (4 attempts)"
    refused(project.bezoar("run", "--only", "made"), 1, cause, "check `base_url`, and that a server runs there")


def test_failed_rows_above_the_limit_stop_the_step(project: BezoarProject) -> None:
    change(project, TEACHER, 'teacher: {client: openai, model: m, base_url: "http://127.0.0.1:9"}')
    environment = {"PYTHONPATH": _first(_refusing(project.root))}
    ended = dataclasses.replace(project, environment=environment).bezoar("run", "--only", "made")
    refused(ended, 1, "rows got no reply, and `on_error` bears 1%", "model `teacher`: nobody there")


def test_a_benchmark_whose_model_does_not_answer_leaves_no_measurement(project: BezoarProject) -> None:
    rows = [{"question_id": n, "category": "writing", "turns": ["Say one", "Say two"]} for n in range(2)]
    project.rows("questions.jsonl", rows)
    project.rows("prompts.jsonl", [{"name": "single-v1", "system_prompt": "", "prompt_template": "{question}{answer}"}])
    registry = project.root / "registry.yaml"
    text = (
        registry.read_text()
        .replace(
            "datasets:\n",
            (
                '  broken: {client: openai, model: m, base_url: "http://127.0.0.1:9"}\n'
                "datasets:\n"
                '  questions: {source: "file:questions.jsonl"}\n'
                '  prompts: {source: "file:prompts.jsonl"}\n'
            ),
        )
        .replace("judges:\n", "judges:\n  mt: {use: mt-bench-single, model: judge, prompts: prompts}\n")
    )
    registry.write_text(text + "  bench: {use: mt-bench, models: [broken], judge: mt, questions: questions}\n")
    environment = {"PYTHONPATH": _first(_refusing(project.root))}
    ended = dataclasses.replace(project, environment=environment).bezoar("run", "--only", "bench@broken")
    refused(ended, 1, "4 of 4 samples got no reply, and `on_error` bears 1%")
    assert re.search(r"bench@broken +run", project.bezoar("status").out)


def _refusing(folder: Path) -> Path:
    """Make a folder that, on PYTHONPATH, lets every request to a server fail at once."""
    (folder / "sitecustomize.py").write_text(
        "from bezoar_core.errors import RequestFailed\n"
        "from bezoar_plugins.clients.http import Server\n"
        "async def post(self, path, body):\n"
        "    raise RequestFailed('nobody there', kind='connection')\n"
        "Server.post = post\n"
    )
    return folder


def test_only_with_inputs_missing_says_what_is_missing(project: BezoarProject) -> None:
    refused(project.bezoar("run", "--only", "kept"), 1, "step `kept` was not made: after `made`")
    refused(project.bezoar("run", "--until", "kep"), 2, "unknown step `kep`", "did you mean `kept`?")


@pytest.mark.parametrize("left", ["nothing", "half"])
def test_rows_that_are_gone_are_named_with_the_step_that_makes_them(project: BezoarProject, left: str) -> None:
    assert project.bezoar("run", "--only", "made").status == 0
    (rows,) = project.root.glob(".bezoar/artifacts/made-*/rows.parquet")
    if left == "nothing":
        rows.unlink()
    else:
        os.truncate(rows, 100)
    refused(project.bezoar("run"), 1, "rows.parquet: ", "`bezoar run --rerun made` makes it again")
    assert project.bezoar("run", "--rerun", "made").status == 0


def test_a_record_that_a_full_disk_cut_off_does_not_stop_status(project: BezoarProject) -> None:
    assert project.bezoar("run").status == 0
    cut = project.root / ".bezoar" / "runs" / "29990101T000000Z-000000" / "run.json"
    cut.parent.mkdir()
    cut.write_text("")
    ended = project.bezoar("status")
    assert ended.status == 0, ended.err
    assert "finished" in ended.out


def test_a_full_disk_is_said_and_nothing_finished_is_lost(project: BezoarProject, tmp_path: Path) -> None:
    first = project.bezoar("run", "--only", "made")
    assert first.status == 0, first.err
    small = dataclasses.replace(project, environment={"PYTHONPATH": str(_full_disk(tmp_path))})
    refused(small.bezoar("run"), 1, "the disk is full")
    assert project.bezoar("run").status == 0


def _full_disk(folder: Path) -> Path:
    """Make a folder that, on PYTHONPATH, lets the step `kept` find the disk full when it writes its rows."""
    (folder / "sitecustomize.py").write_text(
        "import errno, sys\n"
        "import bezoar_core.making as making\n"
        "def full(path, *rows, **how):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', str(path))\n"
        "making.write_rows = full\n"
    )
    return folder


def test_a_worker_that_dies_is_shown_with_the_end_of_its_log(project: BezoarProject) -> None:
    folder = project.write("dies/sitecustomize.py", _DIES).parent
    dying = dataclasses.replace(project, environment={"PYTHONPATH": str(folder)})
    ended = dying.bezoar("run")
    refused(ended, 1, "registry.yaml:14:3: step `made` was killed by SIGKILL", "the last words of a worker")
    assert project.bezoar("run").status == 0


_DIES = """\
import os, signal, sys
if "bezoar_core.step" in sys.orig_argv:
    print("the last words of a worker", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_bug_in_a_plugin_shows_its_traceback_from_the_log_only(project: BezoarProject) -> None:
    folder = project.write("bug/sitecustomize.py", _BUG).parent
    buggy = dataclasses.replace(project, environment={"PYTHONPATH": str(folder)})
    ended = buggy.bezoar("run")
    assert ended.status == 1
    assert "step `made` ended with status 1" in ended.err
    assert "ZeroDivisionError" in ended.err


_BUG = """\
import bezoar_plugins.schemes.lamini as lamini
async def broken(self, seeds, ask, draw, want):
    1 / 0
    yield
lamini.LaMini.generate = broken
"""


def test_a_plugin_edited_while_it_runs_is_not_run_again_and_again(project: BezoarProject) -> None:
    (project.root / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'bezoar_core.step' in sys.orig_argv:\n"
        "    import bezoar_core.plugins as plugins\n"
        "    plugins.code_digest = lambda cls: 'edited meanwhile'\n"
    )
    edited = dataclasses.replace(project, environment={"PYTHONPATH": _first(project.root)})
    running = edited.start("run")
    try:
        _, err = running.communicate(timeout=30)
    finally:
        os.killpg(running.pid, signal.SIGKILL) if running.poll() is None else None
    assert running.returncode == 0, err
    assert err.count("made: started") == err.count("kept: started") == 1


def _first(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


def test_two_runs_at_once_are_refused(project: BezoarProject) -> None:
    change(project, "count: 2", "count: 6")
    first = project.start("run")
    lock = project.root / ".bezoar" / "lock"
    while not (lock.exists() and lock.read_text().strip()):
        assert first.poll() is None
        time.sleep(0.005)
    second = project.bezoar("run")
    first.communicate()
    assert first.returncode == 0
    refused(second, 1, "another run holds", "bezoar status")


def test_show_prints_rows_last_into_a_pipe_and_refuses_fewer_than_none(project: BezoarProject) -> None:
    assert project.bezoar("run", "--only", "made").status == 0
    buffered = dataclasses.replace(project, environment={"PYTHONUNBUFFERED": ""})
    lines = buffered.bezoar("show", "made", "--rows", "1").out.splitlines()
    assert lines[0].startswith("made: scheme `lamini`") and lines[-1] == "}"
    refused(project.bezoar("show", "made", "--rows", "-1"), 2, "`--rows -1` is no number of rows")


def test_an_interrupted_run_says_how_to_go_on(project: BezoarProject) -> None:
    running = project.start("run")
    log = project.root / ".bezoar" / "runs"
    while not list(log.glob("*/events.jsonl")):
        assert running.poll() is None
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert "interrupted: run the same command again" in err
    assert "Traceback" not in err
    assert "not finished: it is going on, or was interrupted" in " ".join(project.bezoar("status").out.split())
    assert project.bezoar("run").status == 0
