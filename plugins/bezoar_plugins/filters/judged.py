"""A judge's verdict on every row: what it accepts passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import ClassVar

from bezoar_core.errors import BezoarError, DataError, nearest
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Filter
from bezoar_core.records import REQUEST_FAILED, Drop, Failed, Forecast, Item, Keep, Metrics, Refused, Row, Unparsed
from bezoar_core.types import DatasetRef, Json, JudgeRef
from bezoar_plugins.filters.row_texts import exchange

Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Ask the judge about every row, add its verdict in three columns, and keep what it accepts.

    After OpenBezoar (arXiv 2404.12195): the columns are `<judge>_status`, `<judge>_rating` and `<judge>_reason`, and no
    rating is too low. Ours: a verdict that could not be read, was refused or never came is a status of its own, and its
    row is dropped under that name.
    """

    name: ClassVar[str] = "judged"
    version: ClassVar[int] = 1

    judge: JudgeRef
    """Gives verdicts with a status, `Accept` or `Reject`."""
    data: DatasetRef
    """Rows with `instruction` and `response`, or with `inputs` and `explained_targets`."""
    label: str | None = None
    """A column in which people wrote `accept` or `reject`: the summary then says how far the judge agrees with them."""

    def forecast(self, rows: int | None) -> Forecast | None:
        """Return one request a row, with the tokens commonly taken; what a judge has to ask again comes on top."""
        if rows is None:
            return None
        return Forecast(requests=(rows, rows), input_tokens=(300 * rows, 2000 * rows), output_tokens=(rows, 256 * rows))

    async def decide(self, rows: Iterable[Row], ask: Ask, draw: Draw) -> AsyncIterator[Keep | Drop]:
        """Yield a decision a row, in row order."""
        for number, row in enumerate(rows):
            self._case(number, row)  # a row that cannot be judged is found before anything is asked
        cases = (self._case(number, row) for number, row in enumerate(rows))
        async for decision in in_order(partial(self._decide, ask), cases):
            yield decision

    def _case(self, number: int, row: Row) -> tuple[Row, Item]:
        if self.label is not None and self.label not in row:
            raise DataError(
                f"row has no column `{self.label}`",
                where=f"{self.data.name}:row {number + 1}",
                tip=nearest(self.label, list(row)),
            )
        if self.label is not None and _accepts(row.get(self.label)) is None:
            raise DataError(
                f"`{self.label}` holds {row.get(self.label)!r}",
                where=f"{self.data.name}:row {number + 1}",
                tip="a label is `accept` or `reject`",
            )
        fields = exchange(row)
        if fields is None:
            raise DataError(
                "nothing to judge in this row",
                where=f"{self.data.name}:row {number + 1}",
                tip="it needs `instruction` and `response`, or `inputs` and `explained_targets`",
            )
        return row, Item(id=str(number), fields=fields)

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
        statuses: Counter[str] = Counter()
        pairs: list[tuple[bool, bool]] = []
        for row in chain(kept, dropped):
            status = str(row[f"{self.judge.name}_status"])
            statuses[status] += 1
            if self.label is not None and status in ("Accept", "Reject"):
                pairs.append((_accepts(row[self.label]) is True, status == "Accept"))
        figures: dict[str, float] = {"rows": statuses.total()}
        for status in ("Accept", "Reject", "Unparsed", "Refused", "Failed"):
            figures[status.lower()] = statuses[status]
        return figures if self.label is None else {**figures, **agreement(pairs)}


def agreement(pairs: Sequence[tuple[bool, bool]]) -> Metrics:
    """Return how far two raters agree: `agreement`, `chance` and Cohen's `kappa`, each interval 95 %.

    `chance` is the agreement to be expected of raters with these shares who do not look. The interval of the agreement
    is Wilson's; that of kappa takes Cohen's own standard error (1960), which stays wide where one rater always says the
    same. There is no kappa where chance alone agrees always.
    """
    n = len(pairs)
    if not n:
        return {"labelled": 0}
    agreed = sum(left == right for left, right in pairs) / n
    lefts, rights = sum(left for left, _ in pairs) / n, sum(right for _, right in pairs) / n
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
