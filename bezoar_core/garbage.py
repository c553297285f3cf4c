"""What lies under `.bezoar` and nothing reaches any more: no run of late, no release, not the plan as it stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from bezoar_core.plan import Plan, State
from bezoar_core.plugins import Plugins
from bezoar_core.rebuilding import can_rebuild, weights
from bezoar_core.store import PARTIAL, read_manifest
from bezoar_core.types import Json


@dataclass(frozen=True)
class Garbage:
    """A folder or file that may go, why, and the bytes that its going frees."""

    path: Path
    why: str
    size: int


def garbage(plan: Plan, keep_runs: int, *, merging: Plugins | None = None) -> list[Garbage]:
    """Return what may go while no run is going on; the ledger never may.

    Kept is what the plan would take as it is, and, where a step waits for another, the newest that it made before: it
    may prove to be the right one. Kept are also the last `keep_runs` runs and the release's folders, and with all of
    these what they were made of. With `merging`, merged weights that are not released go too, where one of these can
    merge them again.
    """
    state = plan.store.root.parent
    runs = sorted(_folders(state / "runs"))
    old = runs[: max(0, len(runs) - keep_runs)]
    release = _folders(state / "release")
    names = _released(plan)
    reached = _closure(plan, _reached(plan, plan.states(), runs[len(old) :], [f for f in release if f.name in names]))
    found: list[tuple[Path, str]] = []
    for folder in _folders(plan.store.root):
        if folder.suffix == PARTIAL:
            found.append((folder, "left half-made"))
        elif folder.name not in reached:
            found.append((folder, "superseded"))
    found += [(folder, "of an attempt given up") for folder in _folders(state / "work") if folder.name not in reached]
    found += [(folder, f"older than the last {keep_runs}") for folder in old]
    found += [(folder, "no longer released") for folder in release if folder.name not in names]
    if merging:
        found += [(file, "can be merged again") for file in _merged(plan, reached, merging)]
    return [Garbage(path, why, _freed(path)) for path, why in found]


def remove(one: Garbage) -> None:
    """Remove it; whatever looks meanwhile, or after a kill, does not take what is left of a folder for whole."""
    if one.path.is_file():
        one.path.unlink()
        return
    going = one.path if one.path.suffix == PARTIAL else one.path.with_name(f"{one.path.name}.gone{PARTIAL}")
    one.path.rename(going)
    shutil.rmtree(going)


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.is_symlink()) if parent.is_dir() else []


def _released(plan: Plan) -> set[str]:
    """Return the names of the folders that the registry's release has."""
    parts = [plan.registry.release.get(kind) for kind in ("models", "datasets")]
    return {name for part in parts if isinstance(part, dict) for name in part}


def _reached(plan: Plan, states: Mapping[str, State], runs: list[Path], release: list[Path]) -> Iterator[str]:
    """Yield names of artifacts' folders, which those in `work` share."""
    for name, state in states.items():
        if state.fingerprint is not None:
            yield plan.store.folder(name, state.fingerprint).name
        if state.artifact is None:
            yield from (made.path.name for made in plan.store.history(name)[:1])
    for run in runs:
        for path in (run / "specs").glob("*.json"):
            if spec := _read(path):
                yield plan.store.folder(str(spec["node"]), str(spec["fingerprint"])).name
        nodes = _read(run / "run.json").get("nodes")
        for node in nodes.values() if isinstance(nodes, dict) else ():
            if isinstance(node, dict) and node["artifact"]:
                yield str(node["artifact"])
    packed: set[str] = set()
    for folder in release:
        lineage = _read(folder / "bezoar.json").get("lineage")
        for told in lineage if isinstance(lineage, list) else ():
            if isinstance(told, dict):
                packed.add(str(told.get("fingerprint"))[:12])
    yield from (p.name for p in _folders(plan.store.root) if p.name.rpartition("-")[2] in packed)


def _merged(plan: Plan, reached: set[str], plugins: Plugins) -> Iterator[Path]:
    """Yield the merged weights of steps that no release names, where their stage can merge them again."""
    named = plan.registry.release.get("models")
    released = set(named.values()) if isinstance(named, dict) else set()
    for name in sorted(reached):
        manifest = read_manifest(plan.store.root / name)
        if manifest and manifest.step not in released and can_rebuild(manifest, plugins):
            yield from (file for file in weights(plan.store.root / name, manifest) if file.is_file())


def _read(path: Path) -> dict[str, Json]:
    """Return a record, or an empty one where a kill or a full disk left none."""
    with suppress(FileNotFoundError, orjson.JSONDecodeError):
        read = orjson.loads(path.read_bytes())
        return read if isinstance(read, dict) else {}
    return {}


def _closure(plan: Plan, names: Iterator[str]) -> set[str]:
    """Return the artifacts named, and those they were made of."""
    reached: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            manifest = read_manifest(plan.store.root / name)
            todo += [given.artifact for given in manifest.inputs if given.artifact] if manifest else []
    return reached


def _freed(folder: Path) -> int:
    """Return the bytes of a folder's files, but for those that a hard link keeps elsewhere."""
    files = (
        [folder] if folder.is_file() else [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    )
    stats = [file.lstat() for file in files]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)
