"""The plugin of the report: the command `bezoar report`, and the file that every run ends with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from bezoar_core.interfaces import Command
    from bezoar_core.plan import Plan
    from bezoar_core.runner import RunRecord


class ReportCommand:
    """Writes the report of a run again, from what the run recorded."""

    name: ClassVar[str] = "report"
    help: ClassVar[str] = "write the report of a run as one HTML file: the last run, or the one named"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the registry's options, the run and the file."""
        registry_options.add(parser)
        parser.add_argument("--run", dest="of_run", metavar="ID", help="a folder of .bezoar/runs; default: the newest")
        parser.add_argument("--output", type=Path, metavar="FILE", help="default: report.html in the run's folder")

    @staticmethod
    def run(options: Namespace) -> int:
        """Write the report and print where it lies."""
        from bezoar_release.report.command import report

        print(report(options))
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Return the command `report`."""
    return [ReportCommand]


@hookimpl
def bezoar_run_finished(plan: Plan, record: RunRecord) -> Sequence[str]:
    """Write the run's report into its folder, or find that of an earlier run it repeats, and say where it lies."""
    from os.path import relpath

    from bezoar_release.report.earlier import earlier_report

    if earlier := earlier_report(record):
        return [f"report: {relpath(earlier)} (nothing was made since)"]
    from bezoar_release.report.command import write

    return [f"report: {relpath(write(plan, record.path, record.path / 'report.html'))}"]
