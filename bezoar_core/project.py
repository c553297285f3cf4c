"""A registry with all that belongs to it: plugins, lock, sources and the folder `.bezoar` beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bezoar_core.lockfile import LockFile, read_lock
from bezoar_core.plan import Plan, make_plan
from bezoar_core.plugins import Plugins, load
from bezoar_core.records import Finding
from bezoar_core.registry import Registry, read_registry
from bezoar_core.sources import Sources, cache_folder
from bezoar_core.store import Store
from bezoar_core.yaml_tree import variables


@dataclass(frozen=True)
class Project:
    """What a command works on."""

    registry: Registry
    plugins: Plugins
    lock: LockFile

    @classmethod
    def open(
        cls, registry: Path, profiles: Sequence[str] = (), sets: Sequence[str] = (), *, upgrade: bool = False
    ) -> Project:
        """Read and check a registry; raises `ConfigError` with every fault found."""
        plugins = load()
        checked = read_registry(registry.absolute(), plugins, profiles, sets)
        lock = LockFile() if upgrade else read_lock(checked.root / "bezoar.lock")
        return cls(checked, plugins, lock)

    @property
    def root(self) -> Path:
        """Return the registry's folder."""
        return self.registry.root

    @property
    def state(self) -> Path:
        """Return the folder `.bezoar`."""
        return self.root / ".bezoar"

    @property
    def store(self) -> Store:
        """Return the artifacts."""
        return Store(self.state / "artifacts")

    @property
    def sources(self) -> Sources:
        """Return the sources, obeying the lock."""
        return Sources(self.root, cache_folder(), self.lock.sources)

    def plan(self) -> Plan:
        """Return the plan as things stand."""
        return make_plan(self.registry, self.store, self.sources)

    def findings(self, plan: Plan) -> list[Finding]:
        """Return what the plugins and the environment have to say before anything runs."""
        found = [Finding(severity="warning", path=(), message=problem) for problem in self.plugins.problems]
        for section in ("models", "judges", "steps", "datasets"):
            entries = self.registry.tree.data.get(section)
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                for variable in sorted(set(variables(entry)) - set(plan.environ)):
                    message = f"environment variable `{variable}` is not set"
                    found.append(Finding(severity="warning", path=(section, name), message=message))
        for inspect in self.plugins.manager.hook.bezoar_inspect.get_hookimpls():
            try:
                said: Iterable[Finding] | None = inspect.function(plan)  # type: ignore[assignment]
                found += said or ()
            except Exception as error:  # a stranger's: it must not keep the others from speaking
                message = f"plugin `{inspect.plugin_name}` cannot inspect the plan: {type(error).__name__}: {error}"
                found.append(Finding(severity="warning", path=(), message=message))
        return found
