from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from bezoar_core.fields import marks, meaning, path_content
from bezoar_core.fingerprint import Contents, digest, fingerprint, input_contents
from bezoar_core.graph import Node, asked_models, graph, is_local
from bezoar_core.plugins import load
from bezoar_core.registry import Registry, StepEntry, read_registry
from bezoar_core.sources import Sources
from bezoar_core.store import Artifact, Manifest
from bezoar_core.types import FilePath, ForComparison, NoEffect, Reference, Secret, SecretText

ROOT = Path(__file__).parents[2]


def registries() -> Iterator[Registry]:
    plugins = load(disabled="")
    for profile in ([], ["tiny"], ["paper"]):
        yield read_registry(ROOT / "registry.yaml", plugins, profile)


def steps() -> list[tuple[Registry, Node]]:
    return [(registry, node) for registry in registries() for node in graph(registry).values()]


def other(value: object) -> object:
    """Return a value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "-other"
    if isinstance(value, tuple):
        return value[:-1] if value else ("other",)
    if isinstance(value, Reference):
        return type(value)(value.name + "-other")
    if isinstance(value, dict):
        return {**value, "other": 1}
    if value is None:
        return "other"
    raise AssertionError(f"no other value is known for {value!r}")


@pytest.mark.parametrize(("registry", "node"), steps(), ids=lambda x: getattr(x, "name", ""))
def test_every_field_with_a_meaning_changes_the_fingerprint(registry: Registry, node: Node) -> None:
    plugin = node.step.plugin
    before = fingerprint(node, registry, {}, {})
    for name, found in marks(type(plugin)).items():
        if any(isinstance(mark, FilePath) for mark in found) and getattr(plugin, name) is None:
            continue
        changed = copy.copy(plugin)
        object.__setattr__(changed, name, other(getattr(plugin, name)))  # no check of one field against another
        entry = dataclasses.replace(node.step, plugin=changed)
        after = fingerprint(dataclasses.replace(node, step=entry), registry, {}, {})
        silent = any(isinstance(mark, NoEffect | SecretText) for mark in found)
        if node.part == "measure" and (name == "models" or any(isinstance(mark, ForComparison) for mark in found)):
            silent = True
        assert (after == before) == silent, f"{node.name}.{name}"


def test_seed_version_inputs_and_prompts_change_it_too() -> None:
    registry = next(registries())
    node = graph(registry)["lamini"]
    before = fingerprint(node, registry, {"seeds:dolly": "a"}, {})
    assert fingerprint(node, registry, {"seeds:dolly": "b"}, {}) != before
    assert fingerprint(node, dataclasses.replace(registry, seed=43), {"seeds:dolly": "a"}, {}) != before
    seeded = dataclasses.replace(node, step=dataclasses.replace(node.step, seed=5))
    assert fingerprint(seeded, registry, {"seeds:dolly": "a"}, {}) != before

    class Raised(node.step.owned.cls):  # type: ignore[name-defined,misc]
        version: ClassVar[int] = 99

    class Reworded(node.step.owned.cls):  # type: ignore[name-defined,misc]
        prompts = node.step.owned.cls.prompts[:1]

    for cls in (Raised, Reworded):
        owned = dataclasses.replace(node.step.owned, cls=cls)
        entry: StepEntry = dataclasses.replace(node.step, owned=owned)
        assert fingerprint(dataclasses.replace(node, step=entry), registry, {"seeds:dolly": "a"}, {}) != before


@dataclasses.dataclass(frozen=True)
class _Marked:
    key: Secret
    speed: Annotated[int, NoEffect()] = 4
    file: Annotated[str, FilePath()] = "a.txt"
    url: str = "${PLACE}/v1"


def test_secrets_and_speed_have_no_meaning_and_files_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    one = meaning(_Marked(key="x"), tmp_path, {"PLACE": "here"})
    assert one == meaning(_Marked(key="y", speed=9, file="b.txt"), tmp_path, {"PLACE": "here"})
    assert set(one) == {"file", "url"}
    assert one["file"] == path_content(tmp_path / "a.txt")
    assert "here" not in str(one)
    assert one["url"] != meaning(_Marked(key="x"), tmp_path, {"PLACE": "there"})["url"]
    (tmp_path / "a.txt").write_text("changed")
    assert meaning(_Marked(key="x"), tmp_path, {"PLACE": "here"})["file"] != one["file"]


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_a_trained_model_is_measured_anew_with_other_settings_of_the_model_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    path = tmp_path / "registry.yaml"
    path.write_text("""\
bezoar: 1
name: small
models:
  base: {source: "file:model", dtype: float32}
  scripted: {client: echo}
datasets:
  rows: {source: "file:rows.jsonl"}
judges:
  mt: {use: mt-bench-single, model: scripted, prompts: rows}
steps:
  sft: {use: sft, model: base, data: rows}
  dpo: {use: dpo, model: sft, data: rows}
  bench: {use: mt-bench, models: [sft], judge: mt, questions: rows}
  harness: {use: lm-eval, models: [sft], tasks: [any]}
""")
    manifest = Manifest(
        step="sft",
        kind="stage",
        plugin={},
        fingerprint="f",
        config={},
        seed=0,
        output={"content": "weights"},
        model={"base": {"name": "base"}},
    )

    def inputs(dtype: str) -> dict[str, dict[str, str] | None]:
        registry = read_registry(path, load(disabled=""), (), (f"models.base.dtype={dtype}",))
        contents = Contents(registry, Sources(tmp_path, tmp_path / "cache", {}), {})
        return {
            name: input_contents(graph(registry)[name], contents, {"sft": Artifact(tmp_path, manifest)})
            for name in ("dpo", "bench@sft", "harness@sft")
        }

    before, after = inputs("float32"), inputs("bfloat16")
    assert before["bench@sft"] != after["bench@sft"]
    assert before["dpo"] == after["dpo"] and before["harness@sft"] == after["harness@sft"]
    assert None not in before.values()


def test_a_benchmark_that_loads_models_asks_the_one_without_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "registry.yaml"
    path.write_text("""\
bezoar: 1
name: small
models:
  weights: {source: "file:model"}
  api: {client: echo, replies: [one]}
steps:
  harness: {use: lm-eval, models: [weights, api], tasks: [any]}
""")

    def seen(reply: str) -> dict[str, object]:
        registry = read_registry(path, load(disabled=""), (), (f"models.api.replies=[{reply}]",))
        nodes = graph(registry)
        contents = Contents(registry, Sources(tmp_path, tmp_path / "cache", {}), {})
        assert asked_models(registry, nodes["harness@api"]) == ["api"]
        assert asked_models(registry, nodes["harness@weights"]) == []
        assert not is_local(registry, nodes["harness@api"]) and is_local(registry, nodes["harness@weights"])
        return {name: input_contents(nodes[name], contents, {}) for name in ("harness@api", "harness@weights")}

    before, after = seen("one"), seen("two")
    assert None not in before.values()
    assert before["harness@weights"] == after["harness@weights"]
    assert before["harness@api"] != after["harness@api"], "its settings are what it answers by"
