"""The end of a run as plugins see it: they look at it, and whatever they do it stays as it ended."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress

from bezoar_core.plan import Plan
from bezoar_core.plugins import Plugins
from bezoar_core.runner import RunRecord

LOG = "run_finished.log"


def run_finished(plugins: Plugins, plan: Plan, record: RunRecord) -> Iterator[str]:
    """Call each plugin's `bezoar_run_finished` and yield what it has to say, or in a line how it failed."""
    log = record.path / "logs" / LOG
    given = {"plan": plan, "record": record}
    for hook in plugins.manager.hook.bezoar_run_finished.get_hookimpls():
        try:
            said: Iterable[str] | None = hook.function(*map(given.__getitem__, hook.argnames))  # type: ignore[assignment]
            lines = [str(line) for line in said or ()]
        except (Exception, SystemExit) as error:  # a stranger's, after hours of work
            with suppress(OSError), log.open("a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            lines = [f"plugin `{hook.plugin_name}` failed after the run: {what} ({os.path.relpath(log)})"]
        yield from lines
