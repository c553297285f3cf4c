"""SIGKILL of the whole process group, twenty times over the tiny graph: nothing finished is made again or lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from runs.artifact_contents import artifact_contents
from runs.tiny_project import copy_project

from bezoar_core.ledger.segment import scan

KILLS = 20


def ledger_keys(state: Path) -> list[bytes]:
    lines = [line for path in sorted((state / "ledger").glob("*.jsonl")) for line in scan(path)]
    return [line.key for line in lines if line.key]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    straight = copy_project(tmp_path / "straight")
    began = time.monotonic()
    ended = straight.bezoar("run", "--profile", "tiny")
    assert ended.status == 0, ended.err
    span = time.monotonic() - began

    killed = copy_project(tmp_path / "killed")
    state = killed.root / ".bezoar"
    moments = random.Random(20)
    made: dict[str, int] = {}
    for _ in range(KILLS):
        process = killed.start("run", "--profile", "tiny")
        try:
            process.wait(moments.uniform(0.02, 0.5) * span)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in (state / "artifacts").glob("*/manifest.json"):
            stamp = path.stat().st_mtime_ns
            assert made.setdefault(path.parent.name, stamp) == stamp, f"{path.parent.name} was made twice"
    last = killed.bezoar("run", "--profile", "tiny")
    assert last.status == 0, last.err
    for name, stamp in made.items():
        assert (state / "artifacts" / name / "manifest.json").stat().st_mtime_ns == stamp
    assert artifact_contents(state) == artifact_contents(straight.root / ".bezoar")
    keys = ledger_keys(state)
    assert len(keys) == len(set(keys)), "a request was answered twice"
