"""Where the nodes of a graph are drawn: in layers from top to bottom, each as near as can be to what is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

WIDTH, HEIGHT = 147, 46
_ACROSS, _DOWN = 12, 32
_SWEEPS = 8


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The left upper corner of each box, the path of each edge, and the size of the whole."""

    width: int
    height: int
    boxes: Mapping[str, tuple[float, float]]
    edges: Sequence[str]


def drawing(needs: Mapping[str, Sequence[str]]) -> Drawing:
    """Return where to draw the nodes of `needs`, each of which comes after those it needs (Sugiyama's method).

    An edge over several layers is led through all of them, so that it passes no box.
    """
    layer = _layers(needs)
    chains = [_chain(need, name, layer) for name, found in needs.items() for need in found]
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name, number in layer.items():
        rows[number].append(name)
    near: dict[str, set[str]] = {name: set() for name in layer}
    for chain in chains:
        for number, point in enumerate(chain[1:-1], start=layer[chain[0]] + 1):
            rows[number].append(point)
        for above, below in pairwise(chain):
            near.setdefault(above, set()).add(below)
            near.setdefault(below, set()).add(above)
    _untangle(rows, near)
    places = _places(rows, near, layer)
    width = ceil(max((x + _span(n, layer) for n, (x, _) in places.items()), default=0))
    edges = [_path([places[point] for point in chain], [point in layer for point in chain]) for chain in chains]
    height = len(rows) * (HEIGHT + _DOWN) - _DOWN if rows else 0
    return Drawing(width=width, height=height, boxes={name: places[name] for name in needs}, edges=edges)


def _layers(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the layer of each node: as late as what is made of it allows; what nothing is made of stays early."""
    early: dict[str, int] = {}
    for name, found in needs.items():
        early[name] = max((early[need] + 1 for need in found), default=0)
    users: dict[str, list[str]] = {name: [] for name in needs}
    for name, found in needs.items():
        for need in found:
            users[need].append(name)
    late: dict[str, int] = {}
    for name in reversed(list(needs)):
        late[name] = min((late[user] - 1 for user in users[name]), default=early[name])
    return {name: late[name] for name in needs}


def _chain(need: str, name: str, layer: Mapping[str, int]) -> list[str]:
    """Return an edge as the points it is led through, one in each layer between."""
    between = [f"{need}\n{name}\n{number}" for number in range(layer[need] + 1, layer[name])]
    return [need, *between, name]


def _untangle(rows: list[list[str]], near: Mapping[str, set[str]]) -> None:
    """Order each row by the mean place of its neighbours in the row before, then in the row after, and so on."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        numbers = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for number in numbers:
            other = {n: place for place, n in enumerate(rows[number - 1 if down else number + 1])}
            means = {
                name: _mean([float(other[n]) for n in near[name] if n in other], float(place))
                for place, name in enumerate(rows[number])
            }
            rows[number].sort(key=means.__getitem__)


def _places(
    rows: Sequence[Sequence[str]], near: Mapping[str, set[str]], layer: Mapping[str, int]
) -> dict[str, tuple[float, float]]:
    """Return the corners: each row near its neighbours, its order kept and nothing on top of another."""
    widths = [sum(_span(name, layer) + _ACROSS for name in row) - _ACROSS for row in rows]
    widest = max(widths, default=0.0)
    centre: dict[str, float] = {}
    for row, width in zip(rows, widths, strict=True):
        x = (widest - width) / 2
        for name in row:
            centre[name] = x + _span(name, layer) / 2
            x += _span(name, layer) + _ACROSS
    for _ in range(_SWEEPS):
        for row in [*rows, *reversed(rows)]:
            spans = [_span(name, layer) for name in row]
            wanted = [_mean([centre[n] for n in near.get(name, ())], widest / 2) for name in row]
            centre |= dict(zip(row, _spaced(wanted, spans, widest), strict=True))
    left = min((x - _span(name, layer) / 2 for name, x in centre.items()), default=0.0)
    return {
        name: (round(centre[name] - _span(name, layer) / 2 - left, 1), float(number * (HEIGHT + _DOWN)))
        for number, row in enumerate(rows)
        for name in row
    }


def _spaced(wanted: Sequence[float], spans: Sequence[float], widest: float) -> list[float]:
    """Return places as near to those wanted as their order, their widths and the width of the whole allow.

    It is the mean of two greedy passes, one from each side.
    """
    gaps = [(a + b) / 2 + _ACROSS for a, b in pairwise(spans)]
    right, left = list(wanted), list(wanted)
    least, most = spans[0] / 2, widest - spans[-1] / 2
    for n in range(len(wanted)):
        least = max(least, right[n])
        right[n] = least
        least += gaps[n] if n < len(gaps) else 0
    for n in reversed(range(len(wanted))):
        most = min(most, left[n])
        left[n] = most
        most -= gaps[n - 1] if n else 0
    places = [(a + b) / 2 for a, b in zip(left, right, strict=True)]
    over = max(0.0, places[-1] + spans[-1] / 2 - widest)
    under = max(0.0, spans[0] / 2 - places[0])
    return [place - over + under for place in places]


def _span(name: str, layer: Mapping[str, int]) -> float:
    return WIDTH if name in layer else 6.0


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(sorted(values)) / len(values) if values else otherwise


def _path(points: Sequence[tuple[float, float]], boxes: Sequence[bool]) -> str:
    """Return a smooth line from below the first box, by way of the points between, to above the last."""
    xs = [x + (WIDTH if box else 6.0) / 2 for (x, _), box in zip(points, boxes, strict=True)]
    x, y = xs[0], points[0][1] + HEIGHT
    parts = [f"M{x:.1f} {y:.1f}"]
    for number, (place, (_, top)) in enumerate(zip(xs[1:], points[1:], strict=True), start=2):
        half = _DOWN / 2
        parts.append(f"C{x:.1f} {y + half:.1f} {place:.1f} {top - half:.1f} {place:.1f} {top:.1f}")
        x, y = place, top + HEIGHT
        if number < len(points):
            parts.append(f"V{y:.1f}")
    return "".join(parts)
