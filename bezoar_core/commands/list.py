"""`bezoar list`: the plugins at hand."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class List:
    """Lists kind, name, distribution and version of every plugin."""

    name: ClassVar[str] = "list"
    help: ClassVar[str] = "list the plugins at hand"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Take no arguments."""

    @staticmethod
    def run(options: Namespace) -> int:
        """Print one line a plugin; plugins that could not be used go to stderr."""
        import sys

        from bezoar_core.plugins import load

        plugins = load()
        found = sorted((str(o.kind), o.name, o.distribution, o.release) for o in plugins.owned)
        rows = [("kind", "name", "distribution", "version"), *found]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for problem in plugins.problems:
            print(f"warning: {problem}", file=sys.stderr)
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [List]
