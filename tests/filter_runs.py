"""A filter run over rows, without a model."""

from __future__ import annotations

from collections.abc import Iterable

from bezoar_core.draw import KeyedDraw
from bezoar_core.interfaces import Filter
from bezoar_core.records import Drop, Keep, Row
from bezoar_core.testing import ScriptedAsk


async def decisions(chosen: Filter, rows: Iterable[Row]) -> list[Keep | Drop]:
    """Return the decisions; the filter asks nothing."""
    ask = ScriptedAsk(lambda request: "")
    found = [decision async for decision in chosen.decide(rows, ask, KeyedDraw(42))]
    assert ask.requests == []
    return found


async def drops(chosen: Filter, rows: Iterable[Row]) -> list[tuple[str, str] | None]:
    """Return each row's reason and detail; None where it was kept."""
    found = await decisions(chosen, rows)
    return [(one.reason, one.detail) if isinstance(one, Drop) else None for one in found]
