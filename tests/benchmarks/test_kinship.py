"""Judges that grade their own kin are named before a cent is spent."""

from __future__ import annotations

import pytest

from bezoar_core.testing import BezoarProject

REGISTRY = """bezoar: 1
name: kin
models:
  teacher: {client: echo, family: %(teacher)s}
  judge: {client: echo, family: %(judge)s}
  base: {source: "random:config.json", family: %(base)s, format: openbezoar}
datasets:
  rows: {source: "file:rows.jsonl"}
judges:
  mt: {use: mt-bench-single, model: judge, prompts: rows}
steps:
  evolved: {use: evol-instruct, teacher: teacher, seeds: rows, count: 2}
  shorter: {use: select, data: evolved, first: 2}
  sft: {use: sft, model: base, data: shorter}
  dpo: {use: dpo, model: sft, data: rows}
  bench: {use: mt-bench, models: [base, sft, dpo], judge: mt, questions: rows}
"""


def checked(project: BezoarProject, **families: str) -> str:
    project.write("config.json", "{}")
    project.rows("rows.jsonl", [{"instruction": "Say it"}])
    project.write("registry.yaml", REGISTRY % families)
    ended = project.bezoar("check", "registry.yaml")
    assert ended.status == 0, ended.err
    return ended.out + ended.err


def test_a_teachers_family_is_named(bezoar_project: BezoarProject) -> None:
    said = checked(bezoar_project, teacher="claude", judge="claude", base="llama")
    assert "registry.yaml:16:" in said and "warning: " in said
    assert "judge `mt` is `judge`, of family `claude`, and grades its own kin: " in said
    assert "`sft` (taught by `teacher`), `dpo` (taught by `teacher`)" in said
    assert "unknown" not in said


def test_a_measured_models_family_is_named(bezoar_project: BezoarProject) -> None:
    said = checked(bezoar_project, teacher="gpt", judge="llama", base="llama")
    assert "grades its own kin: `base`, `sft` (trained from `base`), `dpo` (trained from `base`) (judges" in said


def test_strangers_are_not_warned_of(bezoar_project: BezoarProject) -> None:
    said = checked(bezoar_project, teacher="gpt", judge="claude", base="llama")
    assert "kin" not in said and "family" not in said


@pytest.mark.parametrize("unknown", ["teacher", "judge", "base"])
def test_an_unknown_family_is_called_unknown(bezoar_project: BezoarProject, unknown: str) -> None:
    said = checked(bezoar_project, **{"teacher": "gpt", "judge": "claude", "base": "llama", unknown: "null"})
    assert f"note: registry.yaml:16:52: family unknown of `{unknown}`: whether judge `mt` grades its own kin" in said
    assert "warning" not in said
