"""`bezoar show STEP`: how an artifact was made, and a look at its rows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command

if TYPE_CHECKING:
    from bezoar_core.plan import Plan, State


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
        parser.add_argument(
            "--row", type=int, metavar="N", help="row N (from 1) as the stage that trains on it sees it, token by token"
        )
        parser.add_argument("--format", metavar="NAME", help="with --row: in this prompt format, not the stage's")
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
        if options.row is not None:
            return _show_row(plan, states, options)
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


def _show_row(plan: Plan, states: dict[str, State], options: Namespace) -> int:
    """Print a row in colours on a terminal (prompt grey, target green, cut off red), and between marks in a pipe."""
    from rich.text import Text

    from bezoar_core.console import PipedConsole
    from bezoar_core.errors import UsageError
    from bezoar_core.seen_rows import seen_row

    if options.row < 1:
        raise UsageError(f"`--row {options.row}` is no row", tip="the first row is 1")
    console = PipedConsole(highlight=False, markup=False, soft_wrap=True)
    for title, pieces in seen_row(plan, states, options.step, options.row, options.format):
        console.print(title, style="bold")
        for piece in pieces:
            style = "red strike" if piece.cut else "green" if piece.target else "bright_black"
            if console.is_terminal:
                console.print(Text(piece.text, f"{style}{'' if piece.learned or piece.cut else ' dim'}"), end="")
            else:
                console.print(f"--- {piece.told}\n{piece.text}")
        console.print()
        console.print("; ".join(piece.told for piece in pieces), style="dim")
    return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Show]
