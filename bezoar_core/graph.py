"""The graph of a registry: a node is one artifact to make, an edge an artifact it is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Literal, TypeAlias

from bezoar_core.errors import UsageError, nearest
from bezoar_core.fields import for_comparison, references
from bezoar_core.references import edges
from bezoar_core.registry import Registry, StepEntry
from bezoar_core.types import JudgeRef, ModelRef, Reference

Part: TypeAlias = Literal["whole", "measure", "compare"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One artifact: a step, or one model's measurement of a benchmark step (`mt-bench@dpo`)."""

    name: str
    step: StepEntry
    part: Part
    needs: tuple[str, ...]
    subject: str | None = None


def graph(registry: Registry) -> dict[str, Node]:
    """Return the nodes by name, each after those it needs, otherwise in the order of the file."""
    nodes: dict[str, Node] = {}
    for step in registry.steps.values():
        needs = tuple(dict.fromkeys(edges(registry, step)))
        if step.kind != "benchmark":
            nodes[step.name] = Node(name=step.name, step=step, part="whole", needs=needs)
            continue
        subjects = [ref.name for field, ref in references(step.plugin) if field == "models"]
        compared = for_comparison(type(step.plugin)) | {"models"}
        shared = tuple(n for n in needs if n in {*edges(registry, step, without=compared)})
        measured: list[str] = []
        for subject in subjects:
            name = f"{step.name}@{subject}"
            own = (subject,) if subject in registry.steps else ()
            nodes[name] = Node(name=name, step=step, part="measure", needs=(*own, *shared), subject=subject)
            measured.append(name)
        needs = tuple(dict.fromkeys([*measured, *edges(registry, step, without={"models"})]))
        nodes[step.name] = Node(name=step.name, step=step, part="compare", needs=needs)
    order = TopologicalSorter({name: node.needs for name, node in nodes.items()}).static_order()
    return {name: nodes[name] for name in order}


def own_references(node: Node) -> Iterator[tuple[str, Reference]]:
    """Yield the references a node reads itself: not a benchmark's models, and what it compares by only in the end."""
    left_out = {"models"} if node.part != "whole" else set()
    if node.part == "measure":
        left_out |= for_comparison(type(node.step.plugin))
    return ((field, ref) for field, ref in references(node.step.plugin) if field not in left_out)


def asked_models(registry: Registry, node: Node) -> list[str]:
    """Return the models a node may put a request to: its own, its judges', and the one it measures."""
    names: list[str] = []
    for _, ref in own_references(node):
        if isinstance(ref, ModelRef) and node.step.kind != "stage":
            names.append(ref.name)
        elif isinstance(ref, JudgeRef):
            names += [r.name for _, r in references(registry.judges[ref.name].plugin) if isinstance(r, ModelRef)]
    if node.part == "measure" and node.subject and not loads(registry, node):
        names.append(node.subject)
    return list(dict.fromkeys(names))


def loads(registry: Registry, node: Node) -> bool:
    """Say whether a node reads a model's folder itself: a stage, or a measurement that does where there is a folder."""
    if node.step.kind == "stage":
        return True
    if node.part != "measure" or not getattr(node.step.plugin, "loads_models", False):
        return False
    model = registry.models.get(str(node.subject))
    return model is None or model.source is not None


def is_local(registry: Registry, node: Node) -> bool:
    """Say whether a node's process loads a model: such nodes run one at a time."""
    if loads(registry, node):
        return True
    return any(n not in registry.models or registry.models[n].settings.local for n in asked_models(registry, node))


def select(nodes: Mapping[str, Node], until: Iterable[str] = (), only: Iterable[str] = ()) -> list[str]:
    """Return the names of the nodes to make: all, those up to the steps `until`, or the steps `only`."""
    steps = {node.step.name for node in nodes.values()}
    for name in (*until, *only):
        if name not in steps and name not in nodes:
            raise UsageError(f"unknown step `{name}`", tip=nearest(name, sorted(steps)))
    wanted_only, wanted_until = set(only), set(until)
    if wanted_only:
        return [n for n, node in nodes.items() if {n, node.step.name} & wanted_only]
    if not wanted_until:
        return list(nodes)
    reached: set[str] = set()
    todo = [n for n, node in nodes.items() if {n, node.step.name} & wanted_until]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += nodes[name].needs
    return [n for n in nodes if n in reached]
