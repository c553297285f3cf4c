"""The plugin of `bezoar release`: the command, and what it has to say about a registry before a run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from bezoar_core.interfaces import Command
    from bezoar_core.plan import Plan
    from bezoar_core.records import Finding


class ReleaseCommand:
    """Packs what a finished run made, as it would be published."""

    name: ClassVar[str] = "release"
    help: ClassVar[str] = "pack models and datasets for the Hugging Face Hub, with cards and checked licences"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the command's own arguments."""
        registry_options.add(parser)
        parser.add_argument("--dry-run", action="store_true", help="write the folders and show the plan; send nothing")
        parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this model or dataset")

    @staticmethod
    def run(options: Namespace) -> int:
        """Pack the release and print what would be pushed."""
        from bezoar_release.dry_run import dry_run, refuse_push

        if not options.dry_run:
            refuse_push()
        print(dry_run(registry_options.project(options), options.only))
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Return the `release` command."""
    return [ReleaseCommand]


@hookimpl
def bezoar_inspect(plan: Plan) -> Sequence[Finding]:
    """Return what stands against releasing what this registry makes."""
    from bezoar_release.inspection import inspect

    return inspect(plan.registry)
