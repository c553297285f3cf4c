"""A run against a server that fails at three requests in ten: no row is lost, and no error becomes data."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from runs.judged_project import ANTHROPIC, judged_project, judged_rows, judging, kept_replies

pytestmark = pytest.mark.slow  # half a minute of real runs

ROWS = 2000
HEALING = ("429", "429:0.05", "500", "502", "503", "529", "reset", "cut", "html", "list", "empty", "abort", "408")
FINAL = ("400", "400:context", "400:filter", "403", "413", "leak")
MARKED = ("length", "refusal")
ERRORS = (b"fault 4", b"fault 5", b"slow down", b"bad gateway", b"may not do this", b"Traceback", b"canary")


@pytest.mark.parametrize(
    "changes", [pytest.param({}, id="openai"), pytest.param(ANTHROPIC, id="anthropic", marks=pytest.mark.slow)]
)
def test_every_row_is_delivered_or_listed_with_its_cause(changes: dict[str, str], tmp_path: Path) -> None:
    draw = random.Random(30)
    kinds = [*HEALING, *HEALING, *FINAL, *MARKED]
    faults = [draw.choice(kinds) if draw.random() < 0.3 else "ok" for _ in range(2 * ROWS)]
    with judging(tmp_path) as server:
        server.script({"faults": faults})
        project = judged_project(tmp_path / "project", server.url, ROWS, changes)
        ended = project.bezoar("run")
        counts = server.counts()
    assert ended.status == 0, ended.err
    spent = Counter(faults[: counts["requests"]])
    healed, failed = sum(spent[fault] for fault in HEALING), sum(spent[fault] for fault in FINAL)
    assert counts["requests"] == ROWS + healed  # the floor

    kept, dropped = judged_rows(project, "rows"), judged_rows(project, "dropped")
    assert Counter(str(row["instruction"]) for row in [*kept, *dropped]) == Counter(
        f"Question {n}?" for n in range(ROWS)
    )
    assert Counter(row["drop_reason"] for row in dropped) == {
        "request_failed": failed,
        "judge_refused": spent["refusal"],
    }
    assert all("status 4" in str(row["drop_detail"]) for row in dropped if row["drop_reason"] == "request_failed")
    assert all(str(row["proxy_reason"]).startswith("fine ") for row in kept)

    replies = kept_replies(project)
    assert len(replies) == ROWS - failed
    held = b"".join(path.read_bytes() for path in (project.root / ".bezoar" / "ledger").glob("*.jsonl"))
    assert [error for error in ERRORS if error in held or error.decode() in str(kept)] == []
