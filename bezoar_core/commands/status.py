"""`bezoar status`: where each step stands, with its funnel."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class Status:
    """Shows what is made, and the last run."""

    name: ClassVar[str] = "status"
    help: ClassVar[str] = "show where each step stands, and how the last run ended"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the registry's options."""
        registry_options.add(parser)

    @staticmethod
    def run(options: Namespace) -> int:
        """Print a line a node and the last run."""
        import orjson

        from bezoar_core.console import PipedConsole, table
        from bezoar_core.funnel import ends, funnel, in_short, in_words

        project = registry_options.project(options)
        states = project.plan().states()
        manifests = {name: state.artifact.manifest for name, state in states.items() if state.artifact}
        lines = [
            (
                name,
                "made" if state.status == "cached" else state.status,
                state.why,
                in_words(manifests[name]) if name in manifests else "",
            )
            for name, state in states.items()
        ]
        console = PipedConsole()
        console.print(table(("step", "state", "why", "rows"), lines, console.width, fold="why"))
        chains = [funnel(project.registry, manifests, end) for end in ends(project.registry)]
        if any(chains):
            console.print("\nrows in > out, from the seeds on")
        for chain in filter(None, chains):
            console.print(f"  {in_short(chain)}", highlight=False, markup=False, soft_wrap=True)
        runs = sorted((project.state / "runs").glob("*"))
        if runs:
            record = runs[-1] / "run.json"
            told = "not finished: it is going on, or was interrupted"
            with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):  # half a record: the disk was full
                last = orjson.loads(record.read_bytes())
                ended = f"failed: {last['error']}" if last["error"] else "finished"
                told = f"{last['seconds']:.0f} s, {ended}"
            console.print(f"last run: {runs[-1].name}, {told}", highlight=False, markup=False)
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Status]
