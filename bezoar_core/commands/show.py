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
        from bezoar_core.funnel import funnel, in_words
        from bezoar_core.rows import read_parquet

        if options.rows < 0:
            raise UsageError(f"`--rows {options.rows}` is no number of rows", tip="0 shows none")
        plan = registry_options.project(options).plan()
        if options.step not in plan.nodes:
            raise UsageError(f"unknown step `{options.step}`", tip=nearest(options.step, sorted(plan.nodes)))
        states = plan.states()
        state = states[options.step]
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
            print(f"\nrows: {in_words(manifest)}")
        manifests = {name: other.artifact.manifest for name, other in states.items() if other.artifact}
        chain = funnel(plan.registry, manifests, options.step)
        if chain:
            print(f"\n{'from the seeds on':<24} {'in':>9} {'out':>9}  dropped")
            for one in chain:
                print(f"  {one.step:<22} {'?' if one.given is None else one.given:>9} {one.kept:>9}  {one.reasons}")
        rows = state.artifact.path / ("dropped.parquet" if options.dropped else "rows.parquet")
        if rows.is_file():
            for row in islice(read_parquet(rows), options.rows):
                print(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Show]
