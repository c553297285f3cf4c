"""From seeds to the rows trained on: how many came through each step, and why the others did not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bezoar_core.errors import BezoarError
from bezoar_core.fields import references
from bezoar_core.registry import Registry
from bezoar_core.store import Manifest
from bezoar_core.types import DatasetRef, Json

_TRAINED, _HELD_BACK, _DROPPED = "rows_used", "rows_validation", "dropped_"
"""How a stage names in its metrics the rows it trained on, those it held back, and those it dropped by reason."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """The rows that went into a step and came out: of a scheme the seeds it read, of a stage the rows trained on.

    `given` is None where it was not recorded. A scheme's `dropped` are rows it made and discarded, not seeds.
    """

    step: str
    kind: str
    given: int | None
    kept: int
    dropped: Mapping[str, int]

    @property
    def lost(self) -> int:
        """Return how many rows were dropped."""
        return sum(self.dropped.values())

    @property
    def reasons(self) -> str:
        """Return why, most common first: `3 echo, 2 duplicate`."""
        ordered = sorted(self.dropped.items(), key=lambda entry: (-entry[1], entry[0]))
        return ", ".join(f"{count} {reason}" for reason, count in ordered)


def passage(manifest: Manifest) -> Passage | None:
    """Return what a manifest tells of rows; None for a measurement, which has none."""
    if manifest.kind == "stage":
        return _training(manifest)
    return made(manifest.step, manifest.kind, manifest.counts) if "kept" in manifest.counts else None


def made(step: str, kind: str, counts: Mapping[str, Json]) -> Passage:
    """Return what the counts of a scheme or filter tell."""
    reasons = counts.get("dropped")
    dropped = {reason: _whole(n) for reason, n in reasons.items()} if isinstance(reasons, dict) else {}
    kept = _whole(counts["kept"])
    read = kept + sum(dropped.values()) if kind == "filter" else counts.get("read")
    return Passage(step=step, kind=kind, given=None if read is None else _whole(read), kept=kept, dropped=dropped)


def _whole(value: Json) -> int:
    if not isinstance(value, int):
        raise BezoarError(f"a manifest counts {value!r} rows", tip="run the step again")
    return value


def _training(manifest: Manifest) -> Passage:
    given = _whole(manifest.counts.get("kept"))
    metrics = manifest.metrics
    dropped = {name.removeprefix(_DROPPED): int(n) for name, n in metrics.items() if name.startswith(_DROPPED) and n}
    if held_back := int(metrics.get(_HELD_BACK, 0)):
        dropped["held_back"] = held_back
    kept = int(metrics.get(_TRAINED, given))
    return Passage(step=manifest.step, kind=manifest.kind, given=given, kept=kept, dropped=dropped)


def funnel(registry: Registry, manifests: Mapping[str, Manifest], step: str) -> list[Passage]:
    """Return the passages of the steps whose rows `step` has, itself last; those that are not made are left out."""
    found = (passage(manifests[name]) for name in rows_behind(registry, step) if name in manifests)
    return [one for one in found if one is not None]


def rows_behind(registry: Registry, step: str) -> tuple[str, ...]:
    """Return the steps that `step` has its rows from, through all of theirs, itself last."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order or name not in registry.steps:
            return
        for source in _sources(registry, name):
            visit(source)
        order[name] = None

    visit(step)
    return tuple(order)


def ends(registry: Registry) -> list[str]:
    """Return the steps with rows whose rows no other step takes further."""
    taken = {source for name in registry.steps for source in _sources(registry, name)}
    return [name for name, step in registry.steps.items() if name not in taken and step.kind != "benchmark"]


def _sources(registry: Registry, name: str) -> Iterable[str]:
    plugin = registry.steps[name].plugin
    return (ref.name for f, ref in references(plugin) if f in ("seeds", "data") and isinstance(ref, DatasetRef))


def in_words(manifest: Manifest) -> str:
    """Return what came of a step's rows, `8 kept of 13: 3 echo, 2 duplicate`, or of its samples."""
    found = passage(manifest)
    if found is None:
        outcomes: Json = manifest.counts.get("outcomes")
        return ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()) if isinstance(outcomes, dict) else ""
    if found.kind == "stage":
        return f"trained on {found.kept} of {found.given}" + (f": {found.reasons}" if found.dropped else "")
    words = f"{found.kept} kept of {found.kept + found.lost}"
    return words + (f": {found.reasons}" if found.dropped else "")


def in_short(passages: Iterable[Passage]) -> str:
    """Return a chain as one line: what went in and came out, step by step."""
    return ", ".join(f"{one.step} {'?' if one.given is None else one.given} > {one.kept}" for one in passages)
