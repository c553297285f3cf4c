"""The funnel: what a manifest tells of rows, and the steps that rows came through."""

from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.funnel import Passage, ends, funnel, in_short, in_words, passage, rows_behind
from bezoar_core.plugins import load
from bezoar_core.registry import Registry, read_registry
from bezoar_core.store import Manifest
from bezoar_core.types import Json

REGISTRY = """
bezoar: 1
name: funnel
models:
  teacher: {client: echo, replies: [x]}
  base: {source: "random:config.json"}
datasets:
  seeds: {source: "file:seeds.jsonl"}
  mine: {source: "file:seeds.jsonl"}
judges: {proxy: {use: human-proxy, model: teacher}}
steps:
  tuned: {use: sft, model: first, data: mixed, heldout: other}
  mixed: {use: mix, data: [kept, mine]}
  kept: {use: judged, judge: proxy, data: made}
  made: {use: lamini, teacher: teacher, seeds: seeds, count: 8}
  other: {use: lamini, teacher: teacher, seeds: seeds, count: 2}
  first: {use: sft, model: base, data: mine}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name in ("config.json", "seeds.jsonl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    return read_registry(tmp_path / "registry.yaml", load())


def manifest(step: str, kind: str, counts: dict[str, Json], **metrics: float) -> Manifest:
    return Manifest(step=step, kind=kind, plugin={}, fingerprint="", config={}, seed=0, counts=counts, metrics=metrics)


MADE = manifest("made", "scheme", {"read": 24, "kept": 8, "dropped": {"duplicate": 2, "echo": 3}})
KEPT = manifest("kept", "filter", {"read": 8, "kept": 5, "dropped": {"rejected": 3}})
MIXED = manifest("mixed", "filter", {"kept": 10, "dropped": {}})
TUNED = manifest(
    "tuned",
    "stage",
    {"kept": 10},
    rows_used=7.0,
    rows_validation=2.0,
    rows_dropped=1.0,
    dropped_empty=1.0,
    loss=float("nan"),
)


def test_each_kind_of_step_tells_what_went_in_and_what_came_out() -> None:
    assert passage(MADE) == Passage(step="made", kind="scheme", given=24, kept=8, dropped={"duplicate": 2, "echo": 3})
    assert passage(MIXED) == Passage(step="mixed", kind="filter", given=10, kept=10, dropped={})
    trained = passage(TUNED)
    assert trained == Passage(step="tuned", kind="stage", given=10, kept=7, dropped={"empty": 1, "held_back": 2})
    assert trained.given == trained.kept + trained.lost
    unknown = passage(manifest("made", "scheme", {"kept": 8, "dropped": {}}))
    assert unknown is not None and unknown.given is None
    assert passage(manifest("scores", "benchmark", {"outcomes": {"scored": 4}})) is None


def test_in_words() -> None:
    assert in_words(MADE) == "8 kept of 13: 3 echo, 2 duplicate"
    assert in_words(MIXED) == "10 kept of 10"
    assert in_words(TUNED) == "trained on 7 of 10: 2 held_back, 1 empty"
    assert (
        in_words(manifest("scores", "benchmark", {"outcomes": {"scored": 4, "unparsed": 1}})) == "4 scored, 1 unparsed"
    )


def test_rows_are_followed_and_models_and_heldout_rows_are_not(registry: Registry) -> None:
    assert rows_behind(registry, "tuned") == ("made", "kept", "mixed", "tuned")
    assert ends(registry) == ["tuned", "other", "first"]


def test_a_chain_tells_every_step_that_is_made(registry: Registry) -> None:
    manifests = {one.step: one for one in (TUNED, MADE, KEPT)}
    chain = funnel(registry, manifests, "tuned")
    assert [one.step for one in chain] == ["made", "kept", "tuned"]
    assert in_short(chain) == "made 24 > 8, kept 8 > 5, tuned 10 > 7"
    assert funnel(registry, {}, "tuned") == []
