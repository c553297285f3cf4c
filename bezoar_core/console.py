"""The console that tables are printed to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bezoar_core.visible import visible


class PipedConsole(Console):
    """A console whose reader may leave (`bezoar status | head -1`): the rest goes nowhere, and the command goes on."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from here, instead of ending the process with status 1."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


_FOLDED = 8
"""Characters a line that a folded column is left at least."""


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], width: int, *, fold: str, right: Sequence[str] = ()
) -> Table:
    """Return a table for `width` characters: where they are too few, the column `fold` is folded, and ranges broken.

    Where even that is too wide, every column is folded: nothing is cut off. The columns `right` end at the right. What
    cannot be seen is spelt out.
    """
    lines = [columns, *([visible(text) for text in row] for row in rows)]
    if _least(lines) + 2 * len(columns) > width:
        lines = [[text.replace(" to ", " to\n") for text in line] for line in lines]
    others = [[text for text, column in zip(line, columns, strict=True) if column != fold] for line in lines]
    whole = _least(others) + _FOLDED + 2 * len(columns) <= width
    made = Table(box=None, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, overflow="fold", no_wrap=whole and column != fold, justify=justify)
    for line in lines[1:]:
        made.add_row(*map(Text, line))
    return made


def _least(lines: Iterable[Sequence[str]]) -> int:
    """Return how wide the columns are together, where no line is broken."""
    return sum(max(len(part) for text in texts for part in text.split("\n")) for texts in zip(*lines, strict=True))
