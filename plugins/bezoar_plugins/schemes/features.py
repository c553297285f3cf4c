"""Which of a client's features a scheme cannot do without."""

from __future__ import annotations

from collections.abc import Sequence

from bezoar_core.records import Feature


def features(prefill: str, *stops: Sequence[str]) -> frozenset[Feature]:
    """Return the features that a prefill and stop strings take: none where they are empty."""
    used: set[Feature] = set()
    if prefill:
        used.add("prefill")
    if any(stops):
        used.add("stop")
    return frozenset(used)
