"""SIGKILL at twenty moments of a run with 64 requests in flight: at most those are asked again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from runs.artifact_contents import artifact_contents
from runs.judged_project import judged_project, judged_rows, judging, kept_replies

ROWS, KILLS, IN_FLIGHT = 2000, 20, 64


@pytest.mark.slow
def test_twenty_kills_cost_at_most_what_was_in_flight_and_change_nothing(tmp_path: Path) -> None:
    with judging(tmp_path, "--delay", "0.05") as server:
        straight = judged_project(tmp_path / "straight", server.url, ROWS)
        ended = straight.bezoar("run")
        assert ended.status == 0, ended.err
        assert server.counts()["requests"] == ROWS

        killed = judged_project(tmp_path / "killed", server.url, ROWS)
        moments = sorted(random.Random(64).sample(range(ROWS), KILLS))
        for number, moment in enumerate(moments, start=1):
            run = killed.start("run")
            while server.counts()["requests"] - ROWS < moment + number * IN_FLIGHT / 2:
                assert run.poll() is None, run.communicate()[1]
                time.sleep(0.002)
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            time.sleep(0.1)  # what the server had under way is answered to nobody
            asked = server.counts()["requests"] - ROWS
            assert asked - len(kept_replies(killed)) <= number * IN_FLIGHT
        last = killed.bezoar("run")
        assert last.status == 0, last.err
        counts = server.counts()
    assert counts["most_under_way"] == IN_FLIGHT
    assert ROWS < counts["requests"] - ROWS <= ROWS + KILLS * IN_FLIGHT
    rows = [*judged_rows(killed, "rows"), *judged_rows(killed, "dropped")]
    assert Counter(row["instruction"] for row in rows) == Counter(f"Question {n}?" for n in range(ROWS))
    assert len({reply["key"] for reply in kept_replies(killed)}) == len(kept_replies(killed)) == ROWS
    assert artifact_contents(killed.root / ".bezoar") == artifact_contents(straight.root / ".bezoar")
