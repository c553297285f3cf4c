from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from core.ledger.replies import key, record

from bezoar_core.ledger import Ledger
from bezoar_core.run_lock import run_lock
from bezoar_core.testing import BezoarProject

DAY = 86_400


@pytest.fixture
def project(bezoar_project: BezoarProject) -> BezoarProject:
    """Hold three replies: of `old` 40 days ago, of `new` now and at a time unknown."""
    with Ledger(folder(bezoar_project)) as ledger:
        ledger.put(key(0), record(0) | {"model": "old", "at": time.time() - 40 * DAY, "raw": {"id": "x"}})
        ledger.put(key(1), record(1) | {"model": "new", "at": time.time(), "raw": {"id": "y"}})
        ledger.put(key(2), record(2) | {"model": "new"})
    return bezoar_project


def folder(project: BezoarProject) -> Path:
    return project.root / ".bezoar" / "ledger"


def numbers(out: str) -> list[object]:
    return [json.loads(line)["output_tokens"] for line in out.splitlines()]


def test_export_writes_json_lines_with_what_was_asked_for(project: BezoarProject) -> None:
    first = json.loads(project.bezoar("ledger", "export").out.splitlines()[0])
    at = first.pop("at")
    assert abs(time.time() - 40 * DAY - at) < 100
    assert first == {"key": key(0).hex(), **record(0), "model": "old"}
    raw = json.loads(project.bezoar("ledger", "export", "--raw", "--model", "old").out)
    assert raw["raw"] == {"id": "x"}
    assert numbers(project.bezoar("ledger", "export", "--model", "new").out) == [1, 2]
    since = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * DAY))
    assert numbers(project.bezoar("ledger", "export", "--since", since).out) == [1]
    ended = project.bezoar("ledger", "export", "--out", "replies.jsonl")
    assert (ended.status, ended.out) == (0, "")
    assert numbers((project.root / "replies.jsonl").read_text()) == [0, 1, 2]


def test_verify_names_damage_and_ends_with_1_until_prune_takes_it_out(project: BezoarProject) -> None:
    sound = project.bezoar("ledger", "verify")
    assert (sound.status, sound.out) == (0, "3 whole replies in 1 segments; index: agrees\n")
    (path,) = folder(project).glob("*.jsonl")
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(path.read_bytes()[:100])
    ended = project.bezoar("ledger", "verify")
    assert ended.status == 1
    assert f"{path}: byte {size}, 100 bytes: a torn line" in ended.out
    assert "1 damaged place: up to 0 replies lost" in ended.err
    assert "the requests of 1 were answered again" in ended.err
    assert "tip: put the named files back" in ended.err
    exported = project.bezoar("ledger", "export")
    assert (exported.status, numbers(exported.out)) == (0, [0, 1, 2])
    assert exported.err == "warning: 1 damaged place passed over; `bezoar ledger verify` names them\n"
    assert "100 bytes of damage and 0 duplicates are gone" in project.bezoar("ledger", "prune").out
    assert project.bezoar("ledger", "verify").status == 0


def test_prune_gives_up_only_what_all_filters_name_and_says_the_cost(project: BezoarProject) -> None:
    dry = project.bezoar("ledger", "prune", "--older-than", "30", "--dry-run")
    assert "1 reply given up that cost 0.5000 usd: paid again" in dry.out
    assert len(project.bezoar("ledger", "export").out.splitlines()) == 3
    both = project.bezoar("ledger", "prune", "--older-than", "30", "--model", "new")
    assert (both.status, "given up" in both.out) == (0, False)
    assert project.bezoar("ledger", "prune", "--older-than", "30").status == 0
    assert numbers(project.bezoar("ledger", "export").out) == [1, 2]
    assert project.bezoar("ledger", "prune", "--model", "new").status == 0
    assert project.bezoar("ledger", "export").out == ""


def test_prune_waits_for_a_run(project: BezoarProject) -> None:
    with run_lock(project.root / ".bezoar"):
        ended = project.bezoar("ledger", "prune", "--model", "old")
        assert (ended.status, "another run holds" in ended.err) == (1, True)
        assert project.bezoar("ledger", "prune", "--dry-run").status == 0
    assert len(project.bezoar("ledger", "export").out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "--model", "nwe"], "no reply is of model `nwe`\n  tip: did you mean `new`?"),
        (["prune", "--older-than", "-1"], "`--older-than -1.0` is no number of days"),
        (["prune", "--older-than", "nan"], "`--older-than nan` is no number of days"),
        (["export", "--since", "monday"], "`monday` is no date, for example 2026-01-31"),
        (["export", "--out", "no/such/folder.jsonl"], "`no/such/folder.jsonl` cannot be written: No such file"),
        (["shrink"], "invalid choice"),
    ],
)
def test_misuse_is_said(project: BezoarProject, arguments: list[str], said: str) -> None:
    ended = project.bezoar("ledger", *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
