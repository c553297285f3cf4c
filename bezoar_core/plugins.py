"""The loader: finds plugins by entry point, checks what pluggy does not, and names the owner of every fault."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

import pluggy

from bezoar_core import hookspecs
from bezoar_core.errors import UsageError, nearest
from bezoar_core.interfaces import Command
from bezoar_core.prompts import Prompt

Kind: TypeAlias = Literal["scheme", "filter", "judge", "stage", "benchmark", "client"]

METHODS: Mapping[Kind, tuple[str, ...]] = {
    "scheme": ("generate",),
    "filter": ("decide",),
    "judge": ("judge",),
    "stage": ("train",),
    "benchmark": ("items", "measure", "compare"),
    "client": ("identity", "complete", "aclose", "supports", "local"),
}
FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "scheme": ("seeds", "count"),
    "filter": ("data",),
    "judge": ("model",),
    "stage": ("model", "data"),
    "benchmark": ("models",),
    "client": (),
}
"""The fields the core reads of each kind."""
STEP_KINDS: tuple[Kind, ...] = ("scheme", "filter", "stage", "benchmark")


@dataclass(frozen=True)
class Owned:
    """A plugin class, and the distribution it comes from."""

    kind: Kind
    name: str
    cls: type
    distribution: str
    release: str

    @property
    def version(self) -> int:
        """Return the plugin's own version."""
        version: int = self.cls.version  # type: ignore[attr-defined]
        return version


@dataclass(frozen=True)
class Plugins:
    """What was found: plugins by kind and name, commands, and what could not be used."""

    owned: tuple[Owned, ...]
    commands: tuple[type[Command], ...]
    manager: pluggy.PluginManager
    problems: tuple[str, ...]

    def find(self, kinds: Iterable[Kind], name: str) -> Owned | None:
        """Return the plugin of one of `kinds` called `name`."""
        wanted = set(kinds)
        return next((o for o in self.owned if o.kind in wanted and o.name == name), None)

    def names(self, kinds: Iterable[Kind]) -> list[str]:
        """Return the names known for `kinds`."""
        wanted = set(kinds)
        return sorted(o.name for o in self.owned if o.kind in wanted)

    def get(self, kinds: Iterable[Kind], name: str) -> Owned:
        """Return the plugin, or raise `UsageError` with the nearest name."""
        kinds = tuple(kinds)
        found = self.find(kinds, name)
        if found is None:
            raise UsageError(f"unknown {' or '.join(kinds)} `{name}`", tip=nearest(name, self.names(kinds)))
        return found


def load(points: Iterable[EntryPoint] | None = None, disabled: str | None = None) -> Plugins:
    """Load every entry point of the group `bezoar`, except those `BEZOAR_DISABLE` names.

    One that cannot be imported or breaks a rule is listed in `problems` by name and does not break the rest.
    """
    names = os.environ.get("BEZOAR_DISABLE", "") if disabled is None else disabled
    off = {name.strip() for name in names.split(",")}
    manager = pluggy.PluginManager("bezoar")
    manager.add_hookspecs(hookspecs)
    problems: list[str] = []
    owned: list[Owned] = []
    commands: dict[str, type[Command]] = {}
    found = entry_points(group="bezoar") if points is None else points
    for point in sorted(found, key=lambda p: (_owner(p.dist)[0] != "bezoar", p.name)):
        if point.name in off:
            continue
        owner = " ".join(_owner(point.dist)) if point.dist else "unknown"
        try:
            module: ModuleType = point.load()
        except (Exception, SystemExit) as error:  # a stranger's import can fail in any way, and must not take the rest
            problems.append(f"plugin `{point.name}` of {owner} cannot be imported: {type(error).__name__}: {error}")
            continue
        wrong = _register(manager, module, point)
        if wrong:
            problems.append(f"plugin `{point.name}` of {owner}: {wrong}")
            continue
        try:
            offers = _offered(module, point)
            new = _commands(module, commands)
        except Exception as error:  # nor may a hook of its own
            manager.unregister(module)
            problems.append(f"plugin `{point.name}` of {owner} cannot be used: {type(error).__name__}: {error}")
            continue
        commands.update(new)
        for offered in offers:
            fault = _fault(offered, owned)
            if fault:
                problems.append(fault)
            else:
                owned.append(offered)
    return Plugins(tuple(owned), tuple(commands.values()), manager, tuple(problems))


def _commands(module: ModuleType, taken: Mapping[str, type[Command]]) -> dict[str, type[Command]]:
    """Return a module's commands by name; raises whatever a broken one raises."""
    hook: Callable[[], Iterable[type[Command]]] | None = getattr(module, "bezoar_commands", None)
    new: dict[str, type[Command]] = {}
    for command in hook() if hook else ():
        if command.name in taken or command.name in new:
            raise ValueError(f"there is a command `{command.name}` already")
        command.arguments(argparse.ArgumentParser())
        new[command.name] = command
    return new


@cache
def _owner(distribution: Distribution | None) -> tuple[str, str]:
    """Return a distribution's name and version; reading them parses its metadata, so once is enough."""
    return (distribution.name, distribution.version) if distribution else ("unknown", "0")


def _register(manager: pluggy.PluginManager, module: ModuleType, point: EntryPoint) -> str:
    hooks = {name for name in vars(hookspecs) if name.startswith("bezoar_")}
    for name, value in vars(module).items():
        if name.startswith("bezoar_") and callable(value):
            if name not in hooks:
                return f"no hook is called `{name}`; {nearest(name, sorted(hooks))}"
            if not hasattr(value, "bezoar_impl"):
                return f"`{name}` lacks @hookimpl (from bezoar_core.hookspecs import hookimpl)"
    try:
        manager.register(module, name=f"{_owner(point.dist)[0]}:{point.name}")
    except (pluggy.PluginValidationError, ValueError) as error:
        return str(error)
    return ""


def _offered(module: ModuleType, point: EntryPoint) -> list[Owned]:
    distribution, release = _owner(point.dist)
    offered: list[Owned] = []
    for kind in METHODS:
        hook: Callable[[], Iterable[type]] | None = getattr(module, f"bezoar_{kind}s", None)
        for cls in hook() if hook else ():
            if not isinstance(cls, type):
                raise TypeError(f"`bezoar_{kind}s` returns {cls!r}, which is no class")
            offered.append(Owned(kind, str(getattr(cls, "name", "")), cls, distribution, release))
    return offered


def _fault(offered: Owned, owned: Iterable[Owned]) -> str:
    label = f"{offered.kind} `{offered.name or offered.cls.__name__}` of {offered.distribution} {offered.release}"
    if not isinstance(getattr(offered.cls, "name", None), str) or not isinstance(
        getattr(offered.cls, "version", None), int
    ):
        return f"{label}: needs the class variables `name` (str) and `version` (int)"
    if not is_dataclass(offered.cls) or not offered.cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return f"{label}: must be a frozen dataclass"
    fields = {field.name for field in dataclasses.fields(offered.cls)}
    missing = [m for m in METHODS[offered.kind] if not hasattr(offered.cls, m)]
    missing += [f for f in FIELDS[offered.kind] if f not in fields]
    if missing:
        return f"{label}: lacks " + ", ".join(f"`{m}`" for m in missing)
    space = STEP_KINDS if offered.kind in STEP_KINDS else (offered.kind,)
    for other in owned:
        if other.kind in space and other.name == offered.name:
            return f"{label}: the name is taken by {other.distribution} {other.release}"
    return ""


def prompts_of(cls: type) -> tuple[Prompt, ...]:
    """Return the prompt files a plugin declares; a field of that name is something else."""
    if any(field.name == "prompts" for field in dataclasses.fields(cls)):
        return ()
    declared: tuple[Prompt, ...] = getattr(cls, "prompts", ())
    return declared


@cache
def code_digest(cls: type) -> str:
    """Return the sha256 over a plugin's module, the modules of its own package that it imports, and its prompts."""
    digest = hashlib.sha256()
    for name in sorted(_own_modules(cls.__module__)):
        digest.update(name.encode() + b"\0" + _source(name))
    for prompt in prompts_of(cls):
        digest.update(prompt.digest.encode())
    return digest.hexdigest()


def _own_modules(name: str) -> set[str]:
    top = name.partition(".")[0]
    seen: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in ast.walk(ast.parse(_source(current))):
            targets = []
            if isinstance(node, ast.ImportFrom) and node.module:
                targets = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            todo += [t for t in targets if t.startswith(f"{top}.") and t not in seen and _is_module(t)]
    return seen


def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and spec.origin.endswith(".py")


def _source(name: str) -> bytes:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return b""
    return Path(spec.origin).read_bytes()
