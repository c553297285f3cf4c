from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.plan import make_plan
from bezoar_core.plugins import load
from bezoar_core.registry import read_registry
from bezoar_core.runner import RunRecord
from bezoar_core.sources import Sources
from bezoar_core.store import Store
from bezoar_core.summary import print_summary

TOY = """\
bezoar: 1
name: toy
models: {base: {source: "random:config.json"}}
datasets: {rows: {source: "file:rows.jsonl"}}
steps: {sft: {use: sft, model: base, data: rows}}
"""


@pytest.mark.parametrize("profiles", ["", "profiles: {paper: {seed: 1}}\n"])
def test_a_rehearsal_names_the_papers_profile_only_where_there_is_one(
    profiles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for name in ("tokenizer.txt", "rows.jsonl"):
        (tmp_path / name).write_text("{}\n")
    path = tmp_path / "mine.yaml"
    path.write_text(TOY + profiles)
    registry = read_registry(path, load(disabled=""))
    plan = make_plan(registry, Store(tmp_path / "artifacts"), Sources(tmp_path, tmp_path / "cache", {}))
    print_summary(plan, RunRecord(id="1", path=tmp_path, nodes={}, seconds=1.0), "again", "release")
    said = " ".join(capsys.readouterr().out.split())
    assert "a rehearsal of the machinery" in said
    assert ("`bezoar plan mine.yaml --profile paper`" in said) == bool(profiles)
