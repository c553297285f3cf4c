"""The console that tables are printed to."""

from __future__ import annotations

import os

from rich.console import Console


class PipedConsole(Console):
    """A console whose reader may leave (`bezoar status | head -1`): the rest goes nowhere, and the command goes on."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from here, instead of ending the process with status 1."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
