"""Writing a report: for `bezoar report`, and at the end of a run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from bezoar_core.commands import registry_options
from bezoar_core.errors import BezoarError, UsageError, nearest
from bezoar_core.plan import Plan
from bezoar_core.store import write_atomically
from bezoar_release.report.account import read_account, recorded_profiles
from bezoar_release.report.page import page


def report(options: Namespace) -> Path:
    """Write the report of the run that the options name, the newest by default, and return where it lies.

    Where no profile is named, the registry is read with those of the run.
    """
    run = _run(options.registry.absolute().parent / ".bezoar" / "runs", options.of_run)
    options.profile = options.profile or recorded_profiles(run)
    plan = registry_options.project(options).plan()
    output: Path = options.output or run / "report.html"
    if output.is_dir():
        raise UsageError(f"`{output}` is a folder", tip="name a file: `--output report.html`")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"`{above}` is a file, no folder", tip="name a file in a folder: `--output report.html`")
    return write(plan, run, output)


def write(plan: Plan, run: Path, output: Path) -> Path:
    """Write the report of the run in the folder `run`, and return where it lies."""
    written = page(read_account(plan, run))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, written)
    return output


def _run(runs: Path, name: str | None) -> Path:
    found = {path.name: path for path in sorted(runs.glob("*")) if path.is_dir()}
    if not found:
        raise BezoarError("there is no run to report on", where=str(runs), tip="`bezoar run` makes one")
    if name is None:
        return found[max(found)]
    if name not in found:
        raise UsageError(f"there is no run `{name}`", where=str(runs), tip=nearest(name, list(found)))
    return found[name]
