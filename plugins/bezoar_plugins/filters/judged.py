"""A judge's verdict on every row: what it accepts passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ClassVar

from bezoar_core.errors import BezoarError, DataError, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.labels import Decision, decisions, read_labels, row_id
from bezoar_core.records import REQUEST_FAILED, Drop, Failed, Forecast, Item, Keep, Metrics, Refused, Row, Unparsed
from bezoar_core.types import DatasetRef, Json, JudgeRef, LocalPath
from bezoar_plugins.filters.row_texts import exchange

Z95 = 1.959964
_PEOPLES = ("label", "label_author")
_ANSWERS = {True: "accept", False: "reject"}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Ask the judge about every row, add its verdict in three columns, and keep what it accepts.

    After OpenBezoar (arXiv 2404.12195): the columns are `<judge>_status`, `<judge>_rating` and `<judge>_reason`, and no
    rating is too low. Ours: a verdict that could not be read, was refused or never came is a status of its own, and its
    row is dropped under that name. Where people labelled a row, what they say decides, and the judge's columns stay.
    """

    name: ClassVar[str] = "judged"
    version: ClassVar[int] = 1

    judge: JudgeRef
    """Gives verdicts with a status, `Accept` or `Reject`."""
    data: DatasetRef
    """Rows with `instruction` and `response`, or with `inputs` and `explained_targets`."""
    label: str | None = None
    """A column in which people wrote `accept` or `reject`: the summary then says how far the judge agrees with them."""
    labels: LocalPath | None = None
    """What people said of these rows (`bezoar label`): it decides over the judge's verdict, and the summary says how
    far the judge agrees. The columns `label` and `label_author` hold it."""

    def __post_init__(self) -> None:
        if self.label is not None and self.labels is not None:
            raise ValueError("`label` and `labels` exclude one another: labels are in a column, or in a file")

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return one request a row, with the tokens commonly taken; what a judge has to ask again comes on top."""
        if rows is None:
            return None
        return Forecast(requests=(rows, rows), input_tokens=(300 * rows, 2000 * rows), output_tokens=(rows, 256 * rows))

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order."""
        for number, row in enumerate(rows, start=1):
            self._check(row, number)
        people = decisions(read_labels(Path(self.labels))) if self.labels is not None else None
        cases = ((row, Item(id=str(n), fields=self.shown(row) or {})) for n, row in enumerate(rows))
        async for decision in in_order(partial(self._decide, ask), cases):
            yield decision if people is None else self._overruled(decision, people)

    def _check(self, row: Row, number: int) -> None:
        where = f"{self.data.name}:row {number}"
        if self.label is not None and self.label not in row:
            raise DataError(f"row has no column `{self.label}`", where=where, tip=nearest(self.label, list(row)))
        if self.label is not None and _accepts(row.get(self.label)) is None:
            message = f"`{self.label}` holds {row.get(self.label)!r}"
            raise DataError(message, where=where, tip="a label is `accept` or `reject`")
        taken = [column for column in _PEOPLES if column in row] if self.labels is not None else []
        if taken:
            tip = "`labels` writes it: give that column another name before, with `rename`"
            raise DataError(f"row has a column `{taken[0]}` already", where=where, tip=tip)
        if self.shown(row) is None:
            tip = "it needs `instruction` and `response`, or `inputs` and `explained_targets`"
            raise DataError("nothing to judge in this row", where=where, tip=tip)

    def shown(self, row: Row) -> Mapping[str, str] | None:
        """Return what the judge is shown of a row, by the row's shape; None where there is nothing to judge."""
        return exchange(row)

    def accepted(self, row: Row) -> bool | None:
        """Return the judge's verdict in a row of the output; None where it gave none."""
        status = row.get(f"{self.judge.name}_status")
        return {"Accept": True, "Reject": False}.get(status) if isinstance(status, str) else None

    def _overruled(self, decision: Keep | Drop, people: Mapping[str, Decision]) -> Keep | Drop:
        """Let what people say of a row decide."""
        person = people.get(row_id(self.shown(decision.row) or {}))
        answer, authors = (None, None) if person is None else (_ANSWERS[person.accept], ", ".join(person.authors))
        row = {**decision.row, **dict(zip(_PEOPLES, (answer, authors), strict=True))}
        if person is None:
            return replace(decision, row=row)
        return Keep(row) if person.accept else Drop(row, "rejected_by_person", person.note)

    async def _decide(self, ask: Ask, case: tuple[Row, Item]) -> Keep | Drop:
        row, item = case
        verdict = await self.judge.judge(item, ask)
        if isinstance(verdict, Failed):
            return Drop(self._with(row, "Failed"), REQUEST_FAILED, f"{verdict.kind}: {verdict.message}")
        if isinstance(verdict, Refused):
            return Drop(self._with(row, "Refused"), "judge_refused", verdict.reply)
        if isinstance(verdict, Unparsed):
            return Drop(self._with(row, "Unparsed"), "judge_unparsed", f"{verdict.complaint}: {verdict.reply}")
        status = verdict.data.get("status")
        if status not in ("Accept", "Reject"):
            raise BezoarError(
                f"judge `{self.judge.name}` neither accepts nor rejects", tip="use one like `human-proxy`"
            )
        judged = self._with(row, status, verdict.data.get("rating"), verdict.data.get("reason", ""))
        return Keep(judged) if status == "Accept" else Drop(judged, "rejected")

    def _with(self, row: Row, status: str, rating: Json = None, reason: Json = "") -> Row:
        prefix = self.judge.name
        return {**row, f"{prefix}_status": status, f"{prefix}_rating": rating, f"{prefix}_reason": reason}

    def summarise(self, kept: Iterable[Row], dropped: Iterable[Row]) -> Metrics:
        """Return how often each status came and, with labels, the agreement over the rows with a verdict."""
        column = self.label if self.labels is None else _PEOPLES[0]
        statuses: Counter[str] = Counter()
        pairs: Counter[tuple[bool, bool]] = Counter()
        overruled = 0
        for row in chain(kept, dropped):
            statuses[str(row[f"{self.judge.name}_status"])] += 1
            said, verdict = _accepts(row.get(column)) if column else None, self.accepted(row)
            overruled += said is not None and said is not (verdict is True)
            if said is not None and verdict is not None:
                pairs[said, verdict] += 1
        names = ("Accept", "Reject", "Unparsed", "Refused", "Failed")
        figures: dict[str, float] = {"rows": statuses.total(), **{name.lower(): statuses[name] for name in names}}
        if self.labels is not None:
            figures["overruled"] = overruled
        return {**figures, **agreement(pairs.elements())} if column else figures


def agreement(pairs: Iterable[tuple[bool, bool]]) -> Metrics:
    """Return how far two raters agree: `agreement`, `chance` and Cohen's `kappa`, each interval 95 %.

    `chance` is the agreement to be expected of raters with these shares who do not look. The interval of the agreement
    is Wilson's; that of kappa takes Cohen's own standard error (1960), which stays wide where one rater always says the
    same. There is no kappa where chance alone agrees always.
    """
    counts = Counter(pairs)
    n = counts.total()
    if not n:
        return {"labelled": 0}
    agreed = (counts[True, True] + counts[False, False]) / n
    lefts, rights = (counts[True, True] + counts[True, False]) / n, (counts[True, True] + counts[False, True]) / n
    chance = lefts * rights + (1 - lefts) * (1 - rights)
    low, high = wilson(agreed, n)
    figures = {
        "labelled": n,
        "agreement": agreed,
        "agreement_low": low,
        "agreement_high": high,
        "chance": chance,
    }
    if chance == 1:
        return figures
    kappa = (agreed - chance) / (1 - chance)
    spread = Z95 * math.sqrt(agreed * (1 - agreed) / n) / (1 - chance)
    return {**figures, "kappa": kappa, "kappa_low": max(-1.0, kappa - spread), "kappa_high": min(1.0, kappa + spread)}


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share seen in `n` rows."""
    middle = share + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _accepts(label: Json) -> bool | None:
    """Return what a person's label says; None where it says neither."""
    return {"accept": True, "reject": False}.get(label.strip().casefold()) if isinstance(label, str) else None


@hookimpl
def bezoar_filters() -> Sequence[type[Filter]]:
    """Return the judged filter."""
    return [Judged]
