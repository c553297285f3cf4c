"""The charts of a report, drawn by matplotlib: text stays text, colours are the page's own."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from markupsafe import Markup

from bezoar_core.visible import visible
from bezoar_release.report.svg import inlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what stands for a colour while drawing, and the class that has it on the page; series by Okabe and Ito
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_INK, _GRID, _PAPER, _PALE = "#111111", "#dddddd", "#ffffff", "#999999"
_COLOURS = {c: f"s{n}" for n, c in enumerate(_SERIES, start=1)}
_COLOURS |= {_INK: "ink", _GRID: "grid", _PAPER: "paper", _PALE: "pale"}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":")

MOST_POINTS = 400
"""Of one line: more would not be seen."""
_LONGEST_LABEL = 26

NO_CHARTS = "Charts are left out: they need matplotlib (`pip install 'bezoar[report]'`). The tables have every figure."

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def available() -> bool:
    """Say whether charts can be drawn here."""
    return find_spec("matplotlib") is not None


def lines(key: str, title: str, series: Mapping[str, Sequence[Point]], x: str, y: str) -> Markup:
    """Return a chart of lines over steps; a line of many points is thinned to `MOST_POINTS`."""

    def draw(axes: Axes) -> None:
        for number, (name, points) in enumerate(series.items()):
            shown = _thinned(points)
            axes.plot(
                [place for place, _ in shown],
                [value for _, value in shown],
                color=_SERIES[number % len(_SERIES)],
                linestyle=_LINES[number % len(_LINES)],
                marker=_MARKERS[number % len(_MARKERS)] if len(shown) <= 40 else None,
                markersize=3.5,
                linewidth=1.6,
                label=_label(name),
            )
        axes.set_xlabel(_label(x, 60))
        axes.set_ylabel(y)
        if all(place == int(place) for points in series.values() for place, _ in points):
            from matplotlib.ticker import MaxNLocator

            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(axis="y")
        _legend(axes, len(series))

    ends = "; ".join(f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in series.items())
    return _chart(key, title, ends, (4.6, 2.6), draw)


def dots(key: str, title: str, rows: Sequence[str], series: Mapping[str, Sequence[Interval | None]], x: str) -> Markup:
    """Return a chart of figures with their intervals: a line for each of `rows`, on it a mark for each series."""

    def draw(axes: Axes) -> None:
        for number, (name, figures) in enumerate(series.items()):
            shift = (number - (len(series) - 1) / 2) * 0.7 / max(len(series), 2)
            found = [(place + shift, one) for place, one in enumerate(figures) if one is not None]
            _marks(axes, found, number, name)
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(_label(x, 60))
        axes.grid(axis="x")
        _legend(axes, len(series))

    height = 0.75 + len(rows) * max(0.26, 0.15 * len(series)) + (0.18 * (1 + (len(series) - 1) // 4) if series else 0)
    return _chart(key, title, _spoken(rows, series), (4.6, height), draw)


def differences(
    key: str, title: str, rows: Sequence[str], found: Sequence[Interval | None], apart: Sequence[bool], x: str
) -> Markup:
    """Return a chart of differences about zero; those that are `apart` from it are filled."""

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_INK, linewidth=0.9)
        for number, kind in enumerate(("distinguishable", "not distinguishable")):
            pairs = enumerate(zip(found, apart, strict=True))
            chosen = [(float(place), one) for place, (one, filled) in pairs if one and filled is (number == 0)]
            _marks(axes, chosen, number, kind, hollow=number == 1)
        axes.set_yticks(range(len(rows)), [_label(row, 34) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(_label(x, 60))
        axes.grid(axis="x")
        _legend(axes, 2)

    return _chart(key, title, _spoken(rows, {"": found}), (4.6, 1.0 + 0.27 * len(rows)), draw)


def bars(key: str, title: str, rows: Sequence[str], parts: Mapping[str, Sequence[float]], x: str) -> Markup:
    """Return a chart of stacked bars, one for each of `rows`."""

    def draw(axes: Axes) -> None:
        left = [0.0] * len(rows)
        for number, (name, values) in enumerate(parts.items()):
            colour = _SERIES[number] if number == 0 else _PALE
            axes.barh(range(len(rows)), values, left=left, height=0.62, color=colour, label=_label(name))
            left = [before + value for before, value in zip(left, values, strict=True)]
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(_label(x, 60))
        axes.grid(axis="x")
        _legend(axes, len(parts))

    spoken = "; ".join(
        f"{row}: " + ", ".join(f"{values[place]:g} {name}" for name, values in parts.items())
        for place, row in enumerate(rows)
    )
    return _chart(key, title, spoken, (4.6, 0.95 + 0.3 * len(rows)), draw)


def _marks(axes: Axes, found: Sequence[tuple[float, Interval]], number: int, name: str, hollow: bool = False) -> None:
    colour = _SERIES[number % len(_SERIES)]
    for place, one in found:
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(
        [one.value for _, one in found],
        [place for place, _ in found],
        linestyle="none",
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=5,
        color=colour,
        markerfacecolor=_PAPER if hollow else colour,
        label=_label(name),
    )


def _spoken(rows: Sequence[str], series: Mapping[str, Sequence[Interval | None]]) -> str:
    def said(one: Interval | None) -> str:
        if one is None:
            return "none"
        bounds = f" ({one.low:.4g} to {one.high:.4g})" if one.low is not None and one.high is not None else ""
        return f"{one.value:.4g}{bounds}"

    return "; ".join(
        f"{row}: " + ", ".join(f"{name} {said(figures[place])}".strip() for name, figures in series.items())
        for place, row in enumerate(rows)
    )


def _label(text: str, longest: int = _LONGEST_LABEL) -> str:
    shown = " ".join(visible(text).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _legend(axes: Axes, series: int) -> None:
    if series > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return every n-th point and the last, so that there are at most `MOST_POINTS`."""
    every = -(-len(points) // (MOST_POINTS - 1)) if len(points) > MOST_POINTS else 1
    kept = points[::every]
    return kept if kept[-1:] == points[-1:] else [*kept, points[-1]]


def _chart(key: str, title: str, description: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> Markup:
    """Draw and return a chart; the same calls give the same bytes, whatever the user's own settings."""
    with _own_settings(key):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return Markup(inlined(written.getvalue(), _COLOURS, key, visible(title), visible(description)))


@contextmanager
def _own_settings(key: str) -> Iterator[None]:
    import matplotlib

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "text.parse_math": False,  # a model may be called `$x$`
        "font.size": 10,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # matplotlib's own: what is measured is the same everywhere
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.edgecolor": _PALE,
        "axes.labelcolor": _INK,
        "axes.labelsize": 10,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "figure.facecolor": "none",
        "text.color": _INK,
        "xtick.color": _PALE,
        "ytick.color": _PALE,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "ytick.left": False,
        "grid.color": _GRID,
        "grid.linewidth": 0.8,
        "legend.fontsize": 10,
        "legend.handlelength": 1.6,
        "legend.columnspacing": 1.0,
        "legend.handletextpad": 0.5,
    }
    log = logging.getLogger("matplotlib")
    level = log.level
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # a letter that the measuring font lacks: the reader's browser has its own
        log.setLevel(logging.ERROR)  # that it lists the fonts, the first time
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        try:
            yield
        finally:
            log.setLevel(level)
