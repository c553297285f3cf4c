"""How many rows came through, and why the others did not."""

from __future__ import annotations

from collections.abc import Mapping

from bezoar_core.types import Json


def funnel(counts: Mapping[str, Json]) -> str:
    """Return the counts of a manifest in words: `8 kept of 13: 3 echo, 2 duplicate`."""
    kept, dropped = counts.get("kept"), counts.get("dropped")
    if not isinstance(kept, int):
        outcomes = counts.get("outcomes")
        return ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()) if isinstance(outcomes, dict) else ""
    if not isinstance(dropped, dict):
        return f"{kept}"
    total = kept + sum(n for n in dropped.values() if isinstance(n, int))
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
    return f"{kept} kept of {total}" + (f": {reasons}" if reasons else "")
