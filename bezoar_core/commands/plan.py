"""`bezoar plan`: what a run would do, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class ShowPlan:
    """Shows each node: cached, run, or waiting, and because of what."""

    name: ClassVar[str] = "plan"
    help: ClassVar[str] = "show what a run would do: cached, run, or rerun because of what"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the registry's options."""
        registry_options.add(parser)

    @staticmethod
    def run(options: Namespace) -> int:
        """Print the plan as a table."""
        from rich.table import Table

        from bezoar_core.console import PipedConsole
        from bezoar_core.estimates import estimate
        from bezoar_core.preparing import refuse_findings

        project = registry_options.project(options)
        plan = project.plan()
        lines = refuse_findings(project, plan)
        states = plan.states()
        table = Table(box=None, pad_edge=False)
        for column in ("step", "plugin", "state", "why", "requests", "tokens", "usd"):
            table.add_column(column, overflow="fold")
        for name, state in states.items():
            cost = estimate(plan, state)
            table.add_row(name, state.node.step.use, state.status, state.why, cost.requests, cost.tokens, cost.usd)
        console = PipedConsole(soft_wrap=False)
        console.print(table)
        waiting = sum(s.status != "cached" for s in states.values())
        console.print(f"{len(states)} nodes, {waiting} to make", highlight=False)
        for line in lines:
            console.print(line, markup=False, highlight=False)
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [ShowPlan]
