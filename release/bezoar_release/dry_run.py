"""A release up to the push: everything checked, then packed, then shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from bezoar_core.errors import BezoarError, ConfigError, UsageError, nearest
from bezoar_core.project import Project
from bezoar_core.registry import Registry
from bezoar_release.dataset_card import dataset_card
from bezoar_release.history import finished
from bezoar_release.licences import Verdict, judge
from bezoar_release.lineage import base, hub_id
from bezoar_release.model_card import model_card
from bezoar_release.package import Package, pack, readable
from bezoar_release.settings import Release, Target, read_release, targets


def refuse_push() -> NoReturn:
    """Raise: this version packs a release and sends nothing."""
    raise UsageError(
        "pushing to the Hub is not supported yet", tip="use `--dry-run` to pack everything and see the plan"
    )


def dry_run(project: Project, only: Sequence[str] = ()) -> str:
    """Pack the release under `.bezoar/release/` and return the plan of the push; raise before packing if it is refused.

    Every licence is judged and every card written before the first file is copied.
    """
    registry = project.registry
    release, chosen = _chosen(registry, only)
    verdicts = {target.name: judge(registry, target.step, target.licence, release.accept_unknown) for target in chosen}
    _refuse(verdicts)
    history = finished(project.plan(), chosen)
    cards = {
        target.name: (model_card if target.kind == "model" else dataset_card)(
            history, release, target, verdicts[target.name]
        )
        for target in chosen
    }
    folder = project.state / "release"
    packages = [pack(history, target, release.version, cards[target.name], folder / target.name) for target in chosen]
    return "\n".join(_plan(registry, release, packages, verdicts))


def _chosen(registry: Registry, only: Sequence[str]) -> tuple[Release, Sequence[Target]]:
    release, faults = read_release(registry)
    if faults:
        raise ConfigError(faults)
    if release is None:
        raise UsageError(
            f"`{registry.path.name}` has no section `release`", tip="say what to publish, and under which licence"
        )
    every = targets(release)
    for name in only:
        if name not in [target.name for target in every]:
            raise UsageError(f"nothing called `{name}` is released", tip=nearest(name, [t.name for t in every]))
    return release, [target for target in every if not only or target.name in only]


def _refuse(verdicts: dict[str, Verdict]) -> None:
    refused = {name: verdict for name, verdict in verdicts.items() if verdict.refusals}
    if not refused:
        return
    lines = [
        f"`{name}` under `{verdict.licence}`: {refusal}"
        + (f"\n    it could bear {_listed(verdict.may)}" if last else "")
        for name, verdict in refused.items()
        for refusal, last in _with_last(verdict)
    ]
    raise BezoarError(
        "a licence does not hold, so nothing is released\n  " + "\n  ".join(lines),
        where="release",
        tip="change `release.licence`, give one of them its own in `release.licences`, or leave the input out",
    )


def _with_last(verdict: Verdict) -> Iterator[tuple[str, bool]]:
    for number, refusal in enumerate(verdict.refusals, start=1):
        yield refusal, bool(verdict.may) and number == len(verdict.refusals)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _plan(
    registry: Registry, release: Release, packages: Sequence[Package], verdicts: dict[str, Verdict]
) -> Iterator[str]:
    total = sum(sum(package.files.values()) for package in packages)
    yield f"release {release.version} of `{registry.name}`: a dry run, nothing was sent"
    yield "this is what a push would send, all of it private until it is verified" + (
        ", then public" if release.public else ""
    )
    for package in packages:
        yield from _package(registry, package, verdicts[package.target.name])
    if release.collection:
        yield f"\ncollection {release.namespace}/{release.collection}: {len(packages)} repositories"
    yield f"\n{len(packages)} repositories, {readable(total)} in {packages[0].folder.parent}"


def _package(registry: Registry, package: Package, verdict: Verdict) -> Iterator[str]:
    target = package.target
    yield f"\n{target.repo_id}  ({target.kind}, from step `{target.step}`)"
    yield f"  licence {target.licence}: it holds"
    for debt in verdict.held:
        yield f"    keeps {debt.obligation} of `{debt.name}` ({debt.licence}): {debt.chain}"
    for debt in verdict.accepted:
        yield f"    taken by name: {debt.obligation} of `{debt.name}`"
    # every input is credited on the card, asked for or not
    ended = [f"{debt.obligation} of `{debt.name}`" for debt in verdict.stopped if debt.obligation != "attribution"]
    if ended:
        yield "    does not reach it: " + ", ".join(ended)
    if target.kind == "model" and hub_id(registry, "models", base(registry, target.step)) is None:
        name = base(registry, target.step)
        yield f"  a push would refuse it: its base `{name}` names no repository on the Hub (`models.{name}.hub_id`)"
    width = max(len(name) for name in package.files)
    for name, size in package.files.items():
        yield f"    {name:<{width}}  {readable(size):>9}"
    yield f"    {'total':<{width}}  {readable(sum(package.files.values())):>9}"
    for name in package.left_out:
        yield f"    left out: {name}"
