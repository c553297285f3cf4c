"""What a run sees to before its first step: variables, findings, sources fetched and pinned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from bezoar_core.errors import ConfigError, Fault
from bezoar_core.fields import references
from bezoar_core.lockfile import LockFile, write_lock
from bezoar_core.plan import Plan
from bezoar_core.plugins import prompts_of
from bezoar_core.project import Project
from bezoar_core.provenance import RECORDED
from bezoar_core.references import item_datasets
from bezoar_core.registry import patterns_of
from bezoar_core.sources import Source, parse
from bezoar_core.types import BenchmarkRef, DatasetRef, JudgeRef
from bezoar_core.yaml_tree import Spot, variables


def reached(plan: Plan, selected: Collection[str]) -> dict[str, set[str]]:
    """Return the entries the nodes `selected` reach, by section."""
    registry = plan.registry
    found: dict[str, set[str]] = {"steps": set(), "models": set(), "datasets": set(), "judges": set()}
    for name in selected:
        step = plan.nodes[name].step
        found["steps"].add(step.name)
        refs = [ref for _, ref in references(step.plugin)]
        for ref in refs:
            if isinstance(ref, JudgeRef):
                found["judges"].add(ref.name)
                refs += [r for _, r in references(registry.judges[ref.name].plugin)]
            elif isinstance(ref, BenchmarkRef):
                found["steps"].add(ref.name)
                refs += item_datasets(registry, ref)
        for ref in refs:
            for section in ("models", "datasets"):
                if ref.name in getattr(registry, section):
                    found[section].add(ref.name)
    return found


def refuse_unset(plan: Plan, entries: Mapping[str, Collection[str]]) -> None:
    """Raise `ConfigError` with every environment variable that the entries mention and that is not set."""
    tree = plan.registry.tree
    faults: list[Fault] = []
    for section, names in entries.items():
        for name in sorted(names):
            data = tree.data.get(section)
            entry = data.get(name) if isinstance(data, dict) else None
            for key, value in entry.items() if isinstance(entry, dict) else ():
                spot: Spot = (section, name, key)
                for variable in sorted(set(variables(value)) - set(plan.environ)):
                    faults.append(Fault(tree.place(spot), f"environment variable `{variable}` is not set"))
    if faults:
        raise ConfigError(faults)


def refuse_findings(project: Project, plan: Plan) -> list[str]:
    """Raise `ConfigError` with the errors plugins found; return their warnings and notes as lines."""
    tree = plan.registry.tree
    findings = project.findings(plan)
    faults = [Fault(tree.place(tuple(f.path)), f.message, f.tip) for f in findings if f.severity == "error"]
    if faults:
        raise ConfigError(faults)
    return [finding_line(plan, f.severity, tuple(f.path), f.message, f.tip) for f in findings]


def finding_line(plan: Plan, severity: str, path: Spot, message: str, tip: str) -> str:
    """Return a finding as one line with its place."""
    place = f"{plan.registry.tree.place(path)}: " if path else ""
    return f"{severity}: {place}{message}" + (f" ({tip})" if tip else "")


def fetch(project: Project, plan: Plan, entries: Mapping[str, Collection[str]], say: Callable[[str], None]) -> None:
    """Fetch the sources not here yet, and write what they resolved to into the lock."""
    for source, patterns in dict.fromkeys(_sources(plan, entries)):
        if plan.sources.identity(source) is None:
            say(f"fetching {source}")
        plan.sources.fetch(source, patterns)
    lock = project.lock
    judges = {**lock.judges, **_judges(plan, entries["judges"])}
    write_lock(project.root / "bezoar.lock", LockFile(lock.sources, _packages(), judges))


def _sources(plan: Plan, entries: Mapping[str, Collection[str]]) -> Iterator[tuple[Source, tuple[str, ...] | None]]:
    registry = plan.registry
    yield from ((parse(s), None) for name in sorted(entries["models"]) if (s := registry.models[name].source))
    for name in sorted(entries["datasets"]):
        entry = registry.datasets[name]
        yield parse(entry.source, "dataset"), patterns_of(entry)


def _judges(plan: Plan, names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return who judges: the model and its provider's name of it, and a hash of each prompt, the plugin's or a file."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        judge = plan.registry.judges[name]
        prompts = [prompt.digest for prompt in prompts_of(judge.owned.cls)]
        for _, ref in references(judge.plugin):
            if isinstance(ref, DatasetRef) and ref.name in plan.registry.datasets:
                source = parse(plan.registry.datasets[ref.name].source, "dataset")
                prompts.append(f"{ref.name}={plan.sources.identity(source)}")
        asked = judge.plugin.model.name
        found[name] = {"model": asked, "use": judge.owned.name, "prompts": " ".join(prompts)}
        if asked in plan.registry.models:
            model_id = plan.registry.models[asked].settings.identity().get("model")
            found[name] |= {"asked_as": model_id} if isinstance(model_id, str) else {}
    return found


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("bezoar", *RECORDED.values()):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
