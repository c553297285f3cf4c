"""`bezoar gc`: remove what nothing reaches any more."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


def _runs(text: str) -> int:
    with suppress(ValueError):
        if (runs := int(text)) >= 0:
            return runs
    raise ArgumentTypeError(f"`{text}` is no number of runs")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class CollectGarbage:
    """Removes what no run of late, no release and not the plan as it stands has a use for."""

    name: ClassVar[str] = "gc"
    help: ClassVar[str] = "remove superseded artifacts, old runs and half-made work; never the ledger"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the registry's options, and what is kept."""
        registry_options.add(parser)
        parser.add_argument("--dry-run", action="store_true", help="list what would go, and remove nothing")
        parser.add_argument(
            "--keep-runs",
            type=_runs,
            default=3,
            metavar="N",
            help="keep the last N runs and all that they made or used, whatever their profile (default 3)",
        )
        parser.add_argument(
            "--models",
            action="store_true",
            help="also merged weights between stages that no release names: a step that needs them merges them again",
        )

    @staticmethod
    def run(options: Namespace) -> int:
        """List what goes with its bytes, and remove it."""
        from bezoar_core.garbage import garbage, remove
        from bezoar_core.memory import in_words
        from bezoar_core.rebuilding import WEIGHTS
        from bezoar_core.run_lock import run_lock

        project = registry_options.project(options)
        with nullcontext() if options.dry_run else run_lock(project.state):
            found = garbage(project.plan(), options.keep_runs, merging=project.plugins if options.models else None)
            for one in found:
                print(f"{in_words(one.size):>8}  {one.path.relative_to(project.root)}  {one.why}")
                if not options.dry_run:
                    remove(one)
        files = sum(one.path.suffix == WEIGHTS for one in found)
        things = _counted(len(found) - files, "folder") + (f" and {_counted(files, 'file')}" if files else "")
        total = in_words(sum(one.size for one in found))
        print(f"would remove {things}, {total}" if options.dry_run else f"removed {things}, {total}")
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [CollectGarbage]
