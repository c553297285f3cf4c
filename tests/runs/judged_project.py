"""A project with one `judged` step over a server, and a loopback server that gives a verdict for each row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
from clients.remote import Remote, remote

from bezoar_core.rows import read_parquet
from bezoar_core.testing import BezoarProject

RULES = {"rules": [{"when": "Status", "reply": "Status: Accept\nRating: 8\nReason: fine {hash}"}]}
REGISTRY = """\
bezoar: 1
name: judged
models:
  judge: {client: openai, model: m, base_url: "%s/v1", api_key: "${JUDGE_KEY}", concurrency: 64}
datasets:
  rows: {source: "file:rows.jsonl", licence: cc0-1.0}
judges:
  proxy: {use: human-proxy, model: judge, choices: false}
steps:
  kept: {use: judged, judge: proxy, data: rows, on_error: 0.5}
"""
ANTHROPIC = {'client: openai, model: m, base_url: "%s/v1"': 'client: anthropic, model: m, base_url: "%s"'}


@contextmanager
def judging(folder: Path, *options: str) -> Iterator[Remote]:
    """Serve verdicts for the length of a block."""
    rules = folder / "rules.json"
    rules.write_text(json.dumps(RULES))
    with remote("--rules", str(rules), *options) as server:
        yield server


def judged_project(folder: Path, url: str, rows: int, changes: Mapping[str, str] | None = None) -> BezoarProject:
    """Write the project, `changes` made in its registry."""
    registry = REGISTRY
    for old, new in (changes or {}).items():
        assert old in registry
        registry = registry.replace(old, new)
    project = BezoarProject(folder, {"JUDGE_KEY": "sk-canary-0123456789"})
    project.write("registry.yaml", registry.replace("%s", url))
    project.rows("rows.jsonl", [{"instruction": f"Question {n}?", "response": f"Answer {n}."} for n in range(rows)])
    return project


def judged_rows(project: BezoarProject, name: str) -> list[dict[str, object]]:
    """Return the rows of the step's artifact."""
    (path,) = (project.root / ".bezoar" / "artifacts").glob(f"kept-*/{name}.parquet")
    return [dict(row) for row in read_parquet(path)]


def kept_replies(project: BezoarProject) -> list[Mapping[str, object]]:
    """Return the ledger's lines."""
    segments = sorted((project.root / ".bezoar" / "ledger").glob("*.jsonl"))
    return [orjson.loads(line) for path in segments for line in path.read_bytes().splitlines()]
