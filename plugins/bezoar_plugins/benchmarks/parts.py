"""What a figure is over: all that was asked, one turn, or one category."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bezoar_core.types import Json

Place = tuple[Json, str]
"""The turn and the category of something measured."""


def parts(metric: str, places: Iterable[Place]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield the name of a figure over all, over each turn and over each category there is, and what is in it."""
    found = list(dict.fromkeys(places))
    yield metric, {}
    yield from ((f"{metric}/turn-{turn}", {"turn": turn}) for turn in dict.fromkeys(turn for turn, _ in found))
    for category in dict.fromkeys(category for _, category in found):
        yield f"{metric}/{category}", {"category": category}


def within(place: Place, part: Mapping[str, Json]) -> bool:
    """Tell whether a place belongs to a part."""
    turn, category = place
    return part.get("turn", turn) == turn and part.get("category", category) == category
