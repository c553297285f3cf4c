"""Rows that cannot be learned from, each kept with its reason; and rows that are cut, which are borne up to a share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bezoar_core.errors import StepFailed
from bezoar_core.parquet import write_rows
from bezoar_core.records import Row
from bezoar_plugins.stages.hh import Unusable

_COLUMNS = ("drop_reason", "drop_detail")


@dataclass
class Lost:
    """The rows of one source that were lost on the way."""

    source: str
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row, why: Unusable) -> None:
        """Lose a row."""
        self.rows.append({**row, **dict(zip(_COLUMNS, (why.reason, why.detail), strict=True))})

    def write(self, path: Path | None, used: int) -> Counter[str]:
        """Write the rows to `path`, return how many each reason took; raise `StepFailed` where none is `used`."""
        if path:
            write_rows(path, self.rows, _COLUMNS)
        reasons = Counter(str(row["drop_reason"]) for row in self.rows)
        if not used:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "there are none"
            raise StepFailed(f"no row of `{self.source}` can be used: {listed}", tip="see the step before, or its data")
        return reasons


def lost_counts(reasons: Counter[str]) -> dict[str, float]:
    """Return the figures of the manifest: how many were lost, and to which reason."""
    return {
        "rows_dropped": sum(reasons.values()),
        **{f"dropped_{reason}": count for reason, count in sorted(reasons.items())},
    }


def over(lengths: Sequence[int], longest: int) -> list[int]:
    """Return how many tokens each of these `lengths` (tokens) loses to `longest`, where it loses any."""
    return [length - longest for length in lengths if length > longest]


def require_whole(source: str, noun: str, lengths: Sequence[int], longest: int, share: float) -> None:
    """Raise `StepFailed` where more than `share` of the `lengths` (tokens) are over `longest`, and so are cut."""
    cut = len(over(lengths, longest))
    if cut > share * len(lengths):
        raise StepFailed(
            f"{cut} of {len(lengths)} {noun} of `{source}` are longer than `max_length: {longest}` tokens,"
            f" and `max_truncated` bears {share:.0%}",
            tip=f"19 of 20 have at most {sorted(lengths)[len(lengths) * 19 // 20]} tokens:"
            " raise `max_length`, or bear more",
        )
