"""The console that tables are printed to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


class PipedConsole(Console):
    """A console whose reader may leave (`bezoar status | head -1`): the rest goes nowhere, and the command goes on."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from here, instead of ending the process with status 1."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int, *, fold: str = "") -> Table:
    """Return a table for `width` characters: where they are too few, the column `fold` is folded, and ranges broken."""
    made, lines = Table(box=None, pad_edge=False), list(rows)
    wanted = [max(map(len, texts)) for texts in zip(columns, *lines, strict=True)]
    narrow = sum(wanted) + 2 * len(columns) > width
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column != fold)
    for line in lines:
        made.add_row(*(Text(text.replace(" to ", " to\n") if narrow else text) for text in line))
    return made
