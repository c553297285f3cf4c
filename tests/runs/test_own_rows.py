"""A user's own rows, by the real command line: straight into training, or renamed, mixed and divided before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pyarrow.parquet import read_table

from bezoar_core.testing import BezoarProject

EXAMPLES = Path(__file__).parents[2] / "examples"

REGISTRY = """
bezoar: 1
name: own-rows
models:
  base: {source: "random:tiny/config.json", format: openbezoar}
datasets:
  mine: {source: "file:mine.jsonl"}
  theirs: {source: "file:theirs.jsonl"}
steps:
  straight: {use: sft, model: base, data: mine, max_steps: 1, max_length: 128, batch_size: 2, gradient_accumulation: 1}
  named: {use: rename, data: theirs, names: {instruction: question, response: answer}}
  mixed: {use: mix, data: [mine, named], weights: {mine: 2, named: 1}}
  train: {use: select, data: mixed, split: train, validation: 0.25}
  held: {use: select, data: mixed, split: validation, validation: 0.25}
  trained:
    {use: sft, model: base, data: train, heldout: held, max_steps: 1, max_length: 128, batch_size: 2,
     gradient_accumulation: 1}
"""


def test_own_rows_are_trained_on_without_a_scheme(bezoar_project: BezoarProject) -> None:
    project = bezoar_project
    shutil.copytree(EXAMPLES / "tiny", project.root / "tiny")
    project.write("registry.yaml", REGISTRY)
    project.rows("mine.jsonl", [{"instruction": f"Say {n}.", "response": f"{n}."} for n in range(8)])
    project.rows("theirs.jsonl", [{"question": f"Ask {n}.", "answer": f"{n}!"} for n in range(6)])
    ended = project.bezoar("run")
    assert ended.status == 0, ended.err

    artifacts = project.root / ".bezoar" / "artifacts"
    found = {path.name.rpartition("-")[0]: path for path in artifacts.iterdir()}
    manifests = {name: json.loads((path / "manifest.json").read_text()) for name, path in found.items()}
    assert used(manifests["straight"]) == 8
    mixed = read_table(found["mixed"] / "rows.parquet").to_pylist()
    assert [row["mixed_from"] for row in mixed] == ["mine"] * 8 + ["named"] * 4
    parts = [read_table(found[name] / "rows.parquet").to_pylist() for name in ("train", "held")]
    assert [len(part) for part in parts] == [9, 3]
    assert sorted(row["instruction"] for part in parts for row in part) == sorted(r["instruction"] for r in mixed)
    assert used(manifests["trained"]) == 9 and manifests["trained"]["metrics"]["heldout_rows"] == 3

    shown = project.bezoar("show", "trained").out.partition("from the seeds on")[2].splitlines()
    chain = [line.split() for line in shown if line.startswith("  ")][1:5]
    assert [line[:3] for line in chain[:3]] == [["named", "6", "6"], ["mixed", "14", "12"], ["train", "12", "9"]]
    assert chain[1][3:] == ["2", "not_drawn"] and chain[2][3:] == ["3", "other_part"]
    assert chain[3][:2] == ["trained", "9"]
    status = project.bezoar("status").out
    assert "named 6 > 6, mixed 14 > 12, train 12 > 9, trained 9 >" in status
    assert "straight 8 >" in status


def used(manifest: dict[str, dict[str, int]]) -> int:
    return manifest["metrics"]["rows_used"] + manifest["metrics"]["rows_validation"]


def test_what_cannot_be_is_found_before_anything_runs(bezoar_project: BezoarProject) -> None:
    project = bezoar_project
    shutil.copytree(EXAMPLES / "tiny", project.root / "tiny")
    project.write(
        "registry.yaml", REGISTRY.replace("named: 1}", "nmaed: 1}").replace("response: answer", "r: question")
    )
    project.rows("mine.jsonl", [{"instruction": "a", "response": "b"}])
    project.rows("theirs.jsonl", [{"question": "a", "answer": "b"}])
    ended = project.bezoar("check")
    assert ended.status == 2
    assert "`weights` has none for `named`; knows no input `nmaed`" in ended.err
    assert "`question` would get two names" in ended.err
