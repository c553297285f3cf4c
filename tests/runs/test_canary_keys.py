"""A key in the environment, in an address and in headers, echoed by the server wherever it can: no file holds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs.judged_project import ANTHROPIC, judged_project, judged_rows, judging

from bezoar_core.testing import BezoarProject, Ended

pytestmark = pytest.mark.slow  # half a minute of real runs

FAULTS = ["leak", "echo-key", "403", "echo-key", "leak", "500", "429"] * 3


def leaks(project: BezoarProject, *ended: Ended) -> list[str]:
    """Return where a canary stands: files the commands wrote, and what they said."""
    state = [path for path in project.root.rglob("*") if path.is_file()]
    found = [str(path) for path in state if b"canary" in path.read_bytes()]
    return [*found, *(text for end in ended for text in (end.out, end.err) if "canary" in text)]


@pytest.mark.parametrize("changes", [{}, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_run_with_leaky_faults_and_its_reports(changes: dict[str, str], tmp_path: Path) -> None:
    with judging(tmp_path) as server:
        server.script({"faults": FAULTS})
        project = judged_project(tmp_path / "project", server.url, 40, changes)
        commands = ("plan", "run", "show kept --rows 40", "ledger stats")
        ended = [project.bezoar(*command.split()) for command in commands]
        counts = server.counts()
    assert [end.status for end in ended] == [0] * len(commands), ended
    assert (counts["leak"], counts["echo-key"]) == (6, 6)
    held = b"".join(path.read_bytes() for path in (project.root / ".bezoar" / "ledger").glob("*.jsonl"))
    assert held.count(b"your key is ***") >= 6
    dropped = [str(row["drop_detail"]) for row in judged_rows(project, "dropped")]
    assert sum("the key *** may not do this" in detail for detail in dropped) == 6
    assert leaks(project, *ended) == []


@pytest.mark.parametrize("changes", [{}, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_run_that_ends_with_the_servers_own_words(changes: dict[str, str], tmp_path: Path) -> None:
    with judging(tmp_path) as server:
        server.script({"faults": ["leak"] * 99})
        project = judged_project(tmp_path / "project", server.url, 8, {**changes, "on_error: 0.5": "on_error: 0.0"})
        ended = project.bezoar("run")
    assert ended.status == 1
    assert "the key *** may not do this" in ended.err
    assert leaks(project, ended) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://me:canary-pass@127.0.0.1:9/v1", "`base_url` holds a login"),
        ("http://127.0.0.1:9/v1?key=canary-pass", "`base_url` holds more than an address"),
        ("SERVER/canary-pass/v1", "status 404: nothing at /***/v1/chat/completions"),
    ],
)
def test_an_address_from_the_environment_is_refused_or_fails_without_being_shown(
    address: str, said: str, tmp_path: Path
) -> None:
    with judging(tmp_path) as server:
        project = judged_project(tmp_path / "project", server.url, 4, {'"%s/v1"': '"${JUDGE_ADDRESS}"'})
        project.environment["JUDGE_ADDRESS"] = address.replace("SERVER", server.url)
        ended = [project.bezoar(command) for command in ("plan", "run")]
    assert ended[1].status == 1
    assert said in ended[1].err and "Traceback" not in ended[1].err
    assert leaks(project, *ended) == []
