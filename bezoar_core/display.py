"""How a run is watched: a live table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.live import Live
from rich.table import Table
from rich.text import Text

from bezoar_core.console import PipedConsole
from bezoar_core.plan import Plan
from bezoar_core.types import Json
from bezoar_core.visible import visible

PLAIN_EVERY = 15.0
"""Seconds between two lines of progress of one step in a pipe."""

SHOWN = ("loss", "validation_loss")
"""The figures of a stage that a line has room for; all of them are in its `metrics.jsonl`."""


@dataclass
class _Line:
    state: str = "waiting"
    detail: str = ""
    began: float = 0.0
    seconds: float = 0.0
    said: float = 0.0


@dataclass
class Display:
    """Shows the events of a run as they come."""

    plan: Plan
    selected: Collection[str]
    console: PipedConsole = field(default_factory=lambda: PipedConsole(stderr=True))
    _lines: dict[str, _Line] = field(default_factory=dict)
    _live: Live | None = None

    def __enter__(self) -> Display:
        states = self.plan.states()
        for name in self.selected:
            self._lines[name] = _Line(state="cached" if states[name].status == "cached" else "waiting")
        if self.console.is_terminal and any(line.state != "cached" for line in self._lines.values()):
            self._live = Live(console=self.console, get_renderable=self._table, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, event: Mapping[str, Json]) -> None:
        """Take in one event."""
        line = self._lines.setdefault(str(event.get("node", "")), _Line())
        now = time.monotonic()
        kind = event["event"]
        if kind == "started":
            line.state, line.began, line.said = "running", now, now
            self._say(event, f"started ({event['why']})")
        elif kind == "progress":
            line.detail = ", ".join(filter(None, (progress_text(event), _left(event, now - line.began))))
            if line.detail and now - line.said >= PLAIN_EVERY:
                line.said = now
                self._say(event, line.detail)
        elif kind == "finished":
            line.state, line.seconds = "made", _number(event.get("seconds"))
            self._say(event, f"made in {line.seconds:.1f} s" + (f" ({line.detail})" if line.detail else ""))
        elif kind == "failed":
            line.state = "failed"
            self._say(event, f"failed: {event['message']}")

    def _say(self, event: Mapping[str, Json], text: str) -> None:
        if self._live is None:
            self.console.print(Text(visible(f"{event['node']}: {text}")), soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for _ in range(4):
            table.add_column(no_wrap=True)
        colours = {"made": "green", "cached": "dim", "running": "bold cyan", "failed": "bold red", "waiting": "dim"}
        lines = {n: line for n, line in self._lines.items() if n}
        shown = _window(lines, max(4, self.console.height - 2))
        for name, line in shown.items():
            seconds = time.monotonic() - line.began if line.state == "running" else line.seconds
            clock = f"{seconds:6.1f} s" if seconds else ""
            table.add_row(Text(name), Text(line.state, style=colours[line.state]), clock, Text(line.detail))
        if len(shown) < len(lines):
            done = sum(line.state in {"made", "cached"} for line in lines.values())
            table.add_row(Text(f"{done} of {len(lines)} nodes done", style="dim"), "", "", "")
        return table


def _window(lines: Mapping[str, _Line], height: int) -> dict[str, _Line]:
    """Return the lines that fit: around what is running."""
    if len(lines) <= height:
        return dict(lines)
    names = list(lines)
    running = [i for i, name in enumerate(names) if lines[name].state == "running"]
    last = running[-1] if running else max((i for i, n in enumerate(names) if lines[n].state == "made"), default=0)
    start = min(max(0, last - height // 2), len(names) - height + 1)
    return {name: lines[name] for name in names[start : start + height - 1]}


_COUNTS = {
    "samples": "samples",
    "in_flight": "in flight",
    "replayed": "from the ledger",
    "retries": "tried again",
}


def _left(event: Mapping[str, Json], seconds: float) -> str:
    """Return about how long it will take yet, from what is done by now."""
    kept, dropped, step = (_number(event.get(name)) for name in ("kept", "dropped", "step"))
    wanted, total = _number(event.get("wanted")), _number(event.get("total"))
    done, whole = (kept, wanted) if wanted else (step or kept + dropped, total)
    if not 0 < done < whole:
        return ""
    left = seconds * (whole - done) / done
    return f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"


def progress_text(event: Mapping[str, Json]) -> str:
    """Return a progress event in words: rows, accept rate, tokens a second, in flight, cost; or steps and loss."""
    parts: list[str] = []
    kept, dropped = event.get("kept"), event.get("dropped")
    if isinstance(kept, int) and isinstance(dropped, int):
        share = f" ({kept / (kept + dropped):.0%} kept)" if kept + dropped else ""
        parts.append(f"{kept} kept, {dropped} dropped{share}")
    for key, noun in _COUNTS.items():
        if event.get(key):
            parts.append(f"{event[key]} {noun}")
    if event.get("tokens_per_second"):
        parts.append(f"{_number(event['tokens_per_second']):.0f} tokens/s")
    if event.get("usd"):
        parts.append(f"${_number(event['usd']):.4f}")
    if event.get("step"):
        parts.append(f"step {event.get('step')} of {event['total']}")
    figures = event.get("figures")
    if isinstance(figures, dict):
        parts += [f"{name.replace('_', ' ')} {_number(figures[name]):.4g}" for name in SHOWN if name in figures]
        if "tokens_per_second" in figures:
            parts.append(f"{_number(figures['tokens_per_second']):.0f} tokens/s")
    return ", ".join(parts)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
