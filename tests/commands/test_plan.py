from __future__ import annotations

from pathlib import Path

from bezoar_core.testing import BezoarProject

ROOT = Path(__file__).parents[2]


def test_plan_says_what_each_stage_takes_and_what_is_not_known(bezoar_project: BezoarProject) -> None:
    (bezoar_project.root / "tiny").symlink_to(ROOT / "examples" / "tiny")
    bezoar_project.rows("rows.jsonl", [{"instruction": "Say a", "response": "a"}])
    bezoar_project.write(
        "registry.yaml",
        """
bezoar: 1
name: small
models:
  base: {source: "random:tiny/config.json", format: openbezoar, licence: apache-2.0}
  far: {source: "hub:someone/else@0123456789012345678901234567890123456789", licence: apache-2.0}
datasets:
  rows: {source: "file:rows.jsonl", licence: apache-2.0}
steps:
  first: {use: sft, model: base, data: rows}
  second: {use: sft, model: first, data: rows}
  third: {use: sft, model: far, data: rows}
""",
    )
    ended = BezoarProject(bezoar_project.root, {"COLUMNS": "160"}).bezoar("plan")

    assert ended.status == 0, ended.err
    lines = {
        line.split()[0]: line for line in ended.out.partition("memory on the ")[2].splitlines()[1:] if line.strip()
    }
    assert "KiB" in lines["first"] and "MiB" in lines["first"]
    assert lines["second"].split()[1:] == lines["first"].split()[1:]
    assert "unknown until fetched" in lines["third"]

    narrow = BezoarProject(bezoar_project.root, {"COLUMNS": "60"}).bezoar("plan").out
    assert max(map(len, narrow.splitlines())) <= 60
    table = narrow.partition("memory on the ")[2]
    assert "unknown until fetched" in table
    for part in ("weights", "gradients", "optimizer", "activations", "working", "merging"):
        assert table.split().count(part) == 2, part
