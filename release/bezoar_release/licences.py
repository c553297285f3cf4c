"""What a release may bear: the obligations of everything it was made of, followed to it, with the chain of reasons."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from bezoar_core.registry import Registry
from bezoar_release.lineage import Relation, sources, uses

UNSTATED = "unstated"
"""The licence of a source for which the registry gives none."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What a licence, or the terms of an API, ask: `source` is their text.

    `alike` are the licences that its share-alike allows. `id` is what the Hub calls it, `spdx` what SPDX does.
    """

    id: str
    name: str
    asks: tuple[str, ...]
    source: str
    spdx: str
    alike: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Passing:
    """Which obligations go along where one thing is made of another, and why."""

    label: str
    obligations: frozenset[str]
    why: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The data file `licences.toml`."""

    obligations: Mapping[str, str]
    passes: Mapping[str, Passing]
    licences: Mapping[str, Fact]
    terms: Mapping[str, Fact]

    def licence(self, written: str | None) -> Fact | None:
        """Return the facts of a licence as it is written in a registry; None where we know nothing of it."""
        name = (written or "").casefold()
        return self.licences.get(name) or next((fact for fact in self.licences.values() if fact.spdx == name), None)


@cache
def facts() -> Facts:
    """Read the data file."""
    data = tomllib.loads(files("bezoar_release").joinpath("licences.toml").read_text(encoding="utf-8"))

    def entries(section: str) -> dict[str, Fact]:
        return {
            name: Fact(
                id=name,
                name=entry["name"],
                asks=tuple(entry["asks"]),
                source=entry["source"],
                spdx=entry.get("spdx", name),
                alike=tuple(entry.get("alike", ())),
            )
            for name, entry in data[section].items()
        }

    passes = {
        relation: Passing(label=entry["label"], obligations=frozenset(entry["obligations"]), why=entry["why"])
        for relation, entry in data["passes"].items()
    }
    return Facts(obligations=data["obligations"], passes=passes, licences=entries("licences"), terms=entries("terms"))


@dataclass(frozen=True, kw_only=True)
class Debt:
    """An obligation of one source, and the steps it passed to get here; `stopped` is the relation it did not pass.

    `licence` is the id of the licence or terms that ask it, or what the registry has in their place.
    """

    obligation: str
    section: str
    name: str
    licence: str
    path: tuple[str, ...] = ()
    stopped: Relation | None = None

    @property
    def chain(self) -> str:
        """Return the way from the source, as text."""
        return " -> ".join(f"`{name}`" for name in (self.name, *self.path))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a step's output may be released under `licence`.

    `refusals` say in words what stands against it (none: it may); `held` are the obligations that reached it and are
    kept, `accepted` those the registry takes by name, `stopped` those that do not reach it; `may` are the known
    licences it could bear.
    """

    step: str
    licence: str
    refusals: tuple[str, ...]
    held: tuple[Debt, ...]
    accepted: tuple[Debt, ...]
    stopped: tuple[Debt, ...]
    may: tuple[str, ...]


def judge(registry: Registry, step: str, licence: str, accepted: Sequence[str]) -> Verdict:
    """Return the verdict on releasing the output of `step` under `licence`, `accepted` inputs being taken by name."""
    known = facts()
    debts = owed(registry, step)
    reached = [debt for debt in debts if debt.stopped is None]
    by_name = [d for d in reached if d.obligation in {"unknown", "no-competing"} and d.name in accepted]
    open_debts = [debt for debt in reached if debt not in by_name]
    fact = known.licence(licence)
    refusals = [_refusal(debt, fact, licence) for debt in open_debts if not _keeps(fact, debt)]
    may = [f.id for f in known.licences.values() if all(_keeps(f, debt) for debt in open_debts)]
    return Verdict(
        step=step,
        licence=licence,
        refusals=tuple(dict.fromkeys(refusals)),
        held=tuple(debt for debt in open_debts if _keeps(fact, debt)),
        accepted=tuple(by_name),
        stopped=tuple(debt for debt in debts if debt.stopped is not None),
        may=tuple(may),
    )


def _keeps(fact: Fact | None, debt: Debt) -> bool:
    if fact is None or debt.obligation in {"unknown", "no-competing", "no-derivatives"}:
        return False
    if debt.obligation == "share-alike":
        source = facts().licence(debt.licence)
        return source is not None and fact.id in source.alike
    return debt.obligation in fact.asks


def _refusal(debt: Debt, fact: Fact | None, licence: str) -> str:
    thing = f"{debt.section.removesuffix('s')} `{debt.name}`"
    if fact is None:
        return f"nothing is known of the licence `{licence}`"
    if debt.obligation == "unknown":
        said = "not stated" if debt.licence == UNSTATED else f"`{debt.licence}`, which is not known here"
        return (
            f"the licence of {thing} is {said} ({debt.chain}): write `{debt.section}.{debt.name}.licence`, "
            "or take it by name in `release.accept_unknown`"
        )
    if debt.obligation == "no-competing":
        return (
            f"the terms of {thing} ({debt.licence}) forbid training competing models on its output ({debt.chain}): "
            "whether yours competes is for you to say, by name, in `release.accept_unknown`"
        )
    if debt.obligation == "no-derivatives":
        return f"{thing} ({debt.licence}) lets nothing adapted from it be shared ({debt.chain})"
    if debt.obligation == "share-alike":
        alike = " or ".join(f"`{name}`" for name in facts().licences[debt.licence].alike)
        return f"{thing} ({debt.licence}) asks that it be released under {alike}, not `{licence}` ({debt.chain})"
    return f"`{licence}` drops `{debt.obligation}`, which {thing} ({debt.licence}) asks for ({debt.chain})"


def owed(registry: Registry, step: str) -> tuple[Debt, ...]:
    """Return every obligation of every source of `step`, where it got to: one debt an obligation and source.

    Where several ways lead here, one that reaches the step counts before one that stopped.
    """
    memo: dict[str, tuple[Debt, ...]] = {}

    def of(name: str) -> tuple[Debt, ...]:
        if name not in memo:
            memo[name] = _first_reaching(_arriving(name))
        return memo[name]

    def _arriving(name: str) -> Iterator[Debt]:
        for use in uses(registry, name):
            if use.section == "steps":
                incoming: Sequence[Debt] = of(use.name)
            else:
                incoming = source_debts(registry, use.section, use.name, use.relation)
            passing = facts().passes[use.relation].obligations
            for debt in incoming:
                if debt.stopped is not None:
                    yield debt
                else:
                    stopped = None if debt.obligation in passing else use.relation
                    yield replace(debt, path=(*debt.path, name), stopped=stopped)

    return of(step)


def _first_reaching(debts: Iterator[Debt]) -> tuple[Debt, ...]:
    found: dict[tuple[str, str, str], Debt] = {}
    for debt in debts:
        key = (debt.section, debt.name, debt.obligation)
        if key not in found or (found[key].stopped is not None and debt.stopped is None):
            found[key] = debt
    return tuple(found.values())


def source_debts(registry: Registry, section: str, name: str, relation: Relation) -> tuple[Debt, ...]:
    """Return what one source asks: of its licence, and for a model that is asked, of its provider's terms.

    An API's weights are not handed on, so a model that is only asked may have terms and no licence.
    """
    entry = registry.models[name] if section == "models" else registry.datasets[name]
    licence, terms = facts().licence(entry.licence), facts().terms.get((entry.terms or "").casefold())
    asked = relation in {"teacher", "judge"}
    debts = [
        Debt(obligation=ask, section=section, name=name, licence=fact.id)
        for fact in (licence, terms)
        if fact
        for ask in fact.asks
    ]
    unread = [text for text, fact in ((entry.licence, licence), (entry.terms, terms)) if text and fact is None]
    nothing = not entry.licence and not (entry.terms and asked)
    if unread or nothing:
        debts.append(Debt(obligation="unknown", section=section, name=name, licence=" and ".join(unread) or UNSTATED))
    return tuple(debts)


def unused_acceptances(registry: Registry, steps: Sequence[str], accepted: Sequence[str]) -> tuple[str, ...]:
    """Return the names of `accepted` that no released step was made of."""
    made_of = {name for step in steps for _, name in sources(registry, step)}
    return tuple(name for name in accepted if name not in made_of)
