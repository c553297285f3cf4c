"""From the seeds to the rows trained on: how many came through each step, and why the others did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bezoar_core.errors import BezoarError
from bezoar_core.funnel import Passage, passage
from bezoar_core.store import Manifest, read_manifest
from bezoar_release.report import charts
from bezoar_release.report.account import Account, Entry
from bezoar_release.report.told import amount, mapped, told


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The passages of the steps whose rows `end` has, and their chart."""

    end: str
    passages: Sequence[Passage]
    chart: Markup | None


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What a step found that repeats a benchmark: over all, and by benchmark."""

    step: str
    counts: Mapping[str, float]


def funnels(account: Account) -> tuple[list[Funnel], list[str]]:
    """Return a funnel for each chain of steps that ends in rows or in a stage, and the steps that told no counts."""
    manifests: dict[str, Manifest] = {}
    silent: list[str] = []
    for entry in account.entries.values():
        try:
            manifest = _manifest(entry)
            if manifest is not None and passage(manifest) is not None:
                manifests[entry.name] = manifest
        except (BezoarError, KeyError, TypeError, ValueError):
            silent.append(entry.name)
    found: list[Funnel] = []
    taken = {need for e in account.entries.values() if e.kind in {"scheme", "filter", "stage"} for need in e.needs}
    for name in manifests:
        if name not in taken or account.entries[name].kind == "stage":
            behind = [manifests[one] for one in _behind(account, name) if one in manifests]
            passages = [one for one in map(passage, behind) if one is not None]
            found.append(Funnel(end=name, passages=passages, chart=_chart(name, passages)))
    return found, silent


def _manifest(entry: Entry) -> Manifest | None:
    return read_manifest(entry.folder) if entry.folder is not None and entry.manifest is not None else None


def _behind(account: Account, name: str) -> list[str]:
    """Return the steps that `name` has its rows from, itself last: a stage's model is none of them."""
    order: dict[str, None] = {}

    def visit(one: str) -> None:
        entry = account.entries[one]
        if entry.kind == "stage" and one != name:
            return
        for need in entry.needs:
            visit(need)
        order[one] = None

    visit(name)
    return list(order)


def _chart(name: str, passages: Sequence[Passage]) -> Markup | None:
    if not charts.available() or len(passages) < 2:
        return None
    parts = {"kept": [float(p.kept) for p in passages], "dropped": [float(p.lost) for p in passages]}
    return charts.bars(f"funnel-{name}", f"Rows on the way to {name}", [p.step for p in passages], parts, "rows")


def contamination(account: Account) -> list[Contamination]:
    """Return what the steps that compare rows with a benchmark found."""
    return [
        Contamination(
            step=entry.name,
            counts={
                key: value
                for key in mapped(entry.manifest, "metrics")
                if key.startswith("contaminated")
                and (value := amount(told(entry.manifest, "metrics", key))) is not None
            },
        )
        for entry in account.entries.values()
        if entry.plugin == "decontaminate" or "contaminated" in mapped(entry.manifest, "metrics")
    ]
