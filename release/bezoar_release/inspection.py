"""What stands against a release, said before a run: faults of the section, licences that do not hold."""

from __future__ import annotations

from collections.abc import Iterator

from bezoar_core.errors import Fault
from bezoar_core.records import Finding
from bezoar_core.registry import Registry
from bezoar_core.yaml_tree import Spot
from bezoar_release.licences import judge, unused_acceptances
from bezoar_release.lineage import base, hub_id
from bezoar_release.settings import Release, Target, read_release, targets


def inspect(registry: Registry) -> list[Finding]:
    """Return the findings about the `release:` section: its faults, or for each target its licence and its base."""
    release, faults = read_release(registry)
    if release is None:
        return [_as_finding(registry, fault) for fault in faults]
    return list(_findings(registry, release))


def _as_finding(registry: Registry, fault: Fault) -> Finding:
    spots: dict[str, Spot] = {where: spot for spot, where in registry.tree.places.items() if spot[:1] == ("release",)}
    path = spots.get(fault.where, ("release",))
    return Finding(severity="error", path=path, message=fault.message, tip=fault.tip)


def _findings(registry: Registry, release: Release) -> Iterator[Finding]:
    for target in targets(release):
        path: Spot = ("release", f"{target.kind}s", target.name)
        verdict = judge(registry, target.step, target.licence, release.accept_unknown)
        tip = "it could bear " + ", ".join(f"`{name}`" for name in verdict.may) if verdict.may else ""
        for refusal in verdict.refusals:
            message = f"`{target.name}` could not be released: {refusal}"
            yield Finding(severity="error", path=path, message=message, tip=tip)
        if target.kind == "model":
            yield from _base_findings(registry, target, path)
    steps = [target.step for target in targets(release)]
    for name in unused_acceptances(registry, steps, release.accept_unknown):
        message = f"`{name}` is taken by name, and nothing released is made of it"
        yield Finding(severity="warning", path=("release", "accept_unknown"), message=message)


def _base_findings(registry: Registry, target: Target, path: Spot) -> Iterator[Finding]:
    name = base(registry, target.step)
    if hub_id(registry, "models", name) is None:
        message = f"`{target.name}` could be packed but not pushed: its base `{name}` names no repository on the Hub"
        yield Finding(severity="warning", path=path, message=message, tip=f"give `models.{name}` its `hub_id`")
