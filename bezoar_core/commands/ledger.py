"""`bezoar ledger stats`: what was asked and what it cost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class ShowLedger:
    """Shows the replies kept beside a registry."""

    name: ClassVar[str] = "ledger"
    help: ClassVar[str] = "show the replies kept: `bezoar ledger stats`"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add what to show and for which registry."""
        parser.add_argument("what", choices=["stats"])
        parser.add_argument(
            "registry", type=Path, nargs="?", default=Path("registry.yaml"), help="default: registry.yaml"
        )

    @staticmethod
    def run(options: Namespace) -> int:
        """Print replies, tokens and cost by model."""
        from rich.table import Table

        from bezoar_core.console import PipedConsole
        from bezoar_core.errors import UsageError
        from bezoar_core.ledger import Ledger

        folder = options.registry.absolute().parent / ".bezoar" / "ledger"
        if not folder.is_dir():
            raise UsageError("there is no ledger yet", where=str(folder), tip="`bezoar run` writes it")
        with Ledger(folder) as ledger:
            stats = ledger.stats()
        table = Table(box=None, pad_edge=False)
        for column in ("model", "replies", "input tokens", "output tokens", "usd"):
            table.add_column(column, justify="left" if column == "model" else "right")
        for model in stats.models:
            usd = "unknown" if model.usd is None else f"{model.usd:.4f}"
            table.add_row(model.model, f"{model.replies:,}", f"{model.input_tokens:,}", f"{model.output_tokens:,}", usd)
        PipedConsole().print(table)
        print(
            f"{stats.replies:,} replies in {stats.segments:,} segments, {stats.bytes:,} bytes, "
            f"{len(stats.damaged):,} damaged lines"
        )
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [ShowLedger]
