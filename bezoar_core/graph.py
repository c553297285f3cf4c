"""The graph of a registry: a node is one artifact to make, an edge an artifact it is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Literal, TypeAlias

from bezoar_core.errors import UsageError, nearest
from bezoar_core.fields import references
from bezoar_core.references import edges
from bezoar_core.registry import Registry, StepEntry
from bezoar_core.types import JudgeRef, ModelRef

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
        shared = tuple(n for n in needs if n not in subjects or n in _judging(registry, step))
        measured: list[str] = []
        for subject in subjects:
            name = f"{step.name}@{subject}"
            own = (subject,) if subject in registry.steps else ()
            nodes[name] = Node(name=name, step=step, part="measure", needs=(*own, *shared), subject=subject)
            measured.append(name)
        nodes[step.name] = Node(name=step.name, step=step, part="compare", needs=(*measured, *shared))
    order = TopologicalSorter({name: node.needs for name, node in nodes.items()}).static_order()
    return {name: nodes[name] for name in order}


def _judging(registry: Registry, step: StepEntry) -> set[str]:
    judges = [ref.name for _, ref in references(step.plugin) if isinstance(ref, JudgeRef)]
    return {ref.name for judge in judges for _, ref in references(registry.judges[judge].plugin)}


def asked_models(registry: Registry, node: Node) -> list[str]:
    """Return the models a node may put a request to: its own, its judges', and the one it measures."""
    names: list[str] = []
    for field, ref in references(node.step.plugin):
        if isinstance(ref, ModelRef) and node.step.kind != "stage" and field != "models":
            names.append(ref.name)
        elif isinstance(ref, JudgeRef):
            names += [r.name for _, r in references(registry.judges[ref.name].plugin) if isinstance(r, ModelRef)]
    if node.part == "measure" and node.subject and not getattr(node.step.plugin, "loads_models", False):
        names.append(node.subject)
    return list(dict.fromkeys(names))


def is_local(registry: Registry, node: Node) -> bool:
    """Say whether a node's process loads a model: such nodes run one at a time."""
    if node.step.kind == "stage" or (node.part == "measure" and getattr(node.step.plugin, "loads_models", False)):
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
