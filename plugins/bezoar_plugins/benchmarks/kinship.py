"""Whether a judge grades its own kin: models of its family, or taught by one. Judges prefer answers like their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bezoar_core.records import Finding
from bezoar_core.types import DatasetRef, JudgeRef, ModelRef

if TYPE_CHECKING:
    from bezoar_core.plan import Plan
    from bezoar_core.registry import Registry, StepEntry


def kin_findings(plan: Plan, use: str) -> list[Finding]:
    """Return, for each step of plugin `use` and judge of it, a warning on kin and a note on unknown families."""
    registry = plan.registry
    steps = [step for step in registry.steps.values() if step.owned.name == use]
    return [finding for step in steps for finding in _of_step(registry, step)]


def _of_step(registry: Registry, step: StepEntry) -> Iterator[Finding]:
    behind = [found for field, ref in _references(step) if field == "models" for found in _behind(registry, ref.name)]
    for field, ref in _references(step):
        if not isinstance(ref, JudgeRef):
            continue
        judge = _root(registry, registry.judges[ref.name].plugin.model.name)
        family = registry.models[judge].family
        kin = [said for name, said in behind if name == judge or (family and family == registry.models[name].family)]
        path = ("steps", step.name, field)
        if kin:
            of = f"`{judge}`" + (f", of family `{family}`" if family else "")
            message = f"judge `{ref.name}` is {of}, and grades its own kin: {', '.join(dict.fromkeys(kin))}"
            tip = "judges favour answers like their own: name a judge of another family, or say so beside the scores"
            yield Finding(severity="warning", path=path, message=message, tip=tip)
        names = dict.fromkeys([judge, *(name for name, _ in behind)])
        unknown = [f"`{name}`" for name in names if registry.models[name].family is None]
        if unknown:
            message = (
                f"family unknown of {', '.join(unknown)}: whether judge `{ref.name}` grades its own kin is unknown"
            )
            yield Finding(severity="note", path=path, message=message, tip="give each model its `family:`")


def _behind(registry: Registry, name: str) -> Iterator[tuple[str, str]]:
    """Yield the models of the registry that a measured one began as or was taught by, each with words for it."""
    root = _root(registry, name)
    yield root, f"`{name}`" if root == name else f"`{name}` (trained from `{root}`)"
    seen: set[str] = set()
    todo = [name]
    while todo:
        step = registry.steps.get(todo.pop())
        if step is None or step.name in seen:
            continue
        seen.add(step.name)
        for _, ref in _references(step):
            if isinstance(ref, ModelRef) and step.kind == "scheme":
                yield _root(registry, ref.name), f"`{name}` (taught by `{ref.name}`)"
            elif isinstance(ref, ModelRef | DatasetRef):
                todo.append(ref.name)


def _root(registry: Registry, name: str) -> str:
    """Return the model of the registry that a trained one began as."""
    while name in registry.steps:
        name = next(ref.name for field, ref in _references(registry.steps[name]) if field == "model")
    return name


def _references(step: StepEntry) -> Iterator[tuple[str, JudgeRef | ModelRef | DatasetRef]]:
    from bezoar_core.fields import references

    for field, ref in references(step.plugin):
        if isinstance(ref, JudgeRef | ModelRef | DatasetRef):
            yield field, ref
