"""`bezoar show STEP`: how an artifact was made, and a look at its rows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class Show:
    """Shows one step's manifest, funnel and first rows."""

    name: ClassVar[str] = "show"
    help: ClassVar[str] = "show how a step's output was made, and its first rows"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the step, the number of rows and the registry's options."""
        parser.add_argument("step", help="a step, or a measurement (`mt-bench@dpo`)")
        registry_options.add(parser)
        parser.add_argument("--rows", type=int, default=3, metavar="N", help="how many rows to show (default 3)")
        parser.add_argument("--dropped", action="store_true", help="the rows dropped, with their reasons")

    @staticmethod
    def run(options: Namespace) -> int:
        """Print what the manifest says, and rows as JSON."""
        from itertools import islice

        import orjson

        from bezoar_core.errors import BezoarError, UsageError, nearest
        from bezoar_core.funnel import funnel
        from bezoar_core.rows import read_parquet

        if options.rows < 0:
            raise UsageError(f"`--rows {options.rows}` is no number of rows", tip="0 shows none")
        plan = registry_options.project(options).plan()
        if options.step not in plan.nodes:
            raise UsageError(f"unknown step `{options.step}`", tip=nearest(options.step, sorted(plan.nodes)))
        state = plan.states()[options.step]
        if state.artifact is None:
            tip = registry_options.command_line(options, "run") + f" --until {state.node.step.name}"
            raise BezoarError(f"`{options.step}` is not made: {state.why}", tip=tip)
        manifest = state.artifact.manifest
        print(f"{options.step}: {manifest.kind} `{manifest.plugin['name']}`, {state.artifact.path}")
        for title, data in (("config", manifest.config), ("metrics", manifest.metrics), ("model", manifest.model)):
            if data:
                print(f"\n{title}")
                for key, value in data.items():
                    print(f"  {key}: {orjson.dumps(value).decode()}")
        print("\ninputs")
        for given in manifest.inputs:
            print(f"  {given.field}: {given.name} ({given.kind}, {given.content[:12]})")
        if manifest.counts:
            print(f"\nrows: {funnel(manifest.counts)}")
        rows = state.artifact.path / ("dropped.parquet" if options.dropped else "rows.parquet")
        if rows.is_file():
            for row in islice(read_parquet(rows), options.rows):
                print(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Show]
