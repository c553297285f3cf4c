"""`bezoar check`: every fault of a registry, before anything runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class Check:
    """Checks a registry without running anything."""

    name: ClassVar[str] = "check"
    help: ClassVar[str] = "check a registry: every fault at once, with its place"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the registry's options."""
        registry_options.add(parser)

    @staticmethod
    def run(options: Namespace) -> int:
        """Check, print what was found, and count what is there."""
        from bezoar_core.preparing import refuse_findings

        project = registry_options.project(options)
        plan = project.plan()
        for line in refuse_findings(project, plan):
            print(line)
        registry = project.registry
        counts = f"{len(registry.steps)} steps, {len(registry.models)} models, {len(registry.datasets)} datasets"
        print(f"{options.registry}: no faults ({counts}, {len(registry.judges)} judges)")
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Check]
