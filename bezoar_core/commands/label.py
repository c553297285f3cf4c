"""`bezoar label STEP`: people check a judge's rows, on a sheet that does not show its verdicts."""

from __future__ import annotations

import hashlib
import os
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bezoar_core.commands import registry_options
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command

if TYPE_CHECKING:
    from bezoar_core.interfaces import Reviewed
    from bezoar_core.plan import Plan
    from bezoar_core.store import Artifact


class LabelRows:
    """Writes a sheet of a step's rows to be labelled by people, and reads it back."""

    name: ClassVar[str] = "label"
    help: ClassVar[str] = "have people check a judge: write a sheet of rows, read it back with `--read`"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the step, what to write and what to read."""
        parser.add_argument("step", help="a step that lets a judge decide")
        registry_options.add(parser)
        parser.add_argument("--rows", type=int, default=50, metavar="N", help="how many rows to sample (default 50)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="another number draws other rows")
        parser.add_argument("--out", type=Path, metavar="FILE", help="the sheet (default: STEP-labels.csv)")
        parser.add_argument("--read", type=Path, metavar="FILE", help="keep the labels of a sheet that was filled in")

    @staticmethod
    def run(options: Namespace) -> int:
        """Write a sheet, or keep the labels of one."""
        from bezoar_core.errors import UsageError, nearest
        from bezoar_core.interfaces import Reviewed

        plan = registry_options.project(options).plan()
        node = plan.nodes.get(options.step)
        plugin = node.step.plugin if node else None
        if not isinstance(plugin, Reviewed):
            names = [name for name, node in plan.nodes.items() if isinstance(node.step.plugin, Reviewed)]
            message = "gives no verdicts that people could check" if node else "is no step"
            raise UsageError(f"`{options.step}` {message}", tip=nearest(options.step, names))
        kept = plan.registry.root / (plugin.labels or f"labels/{options.step}.jsonl")
        return _read(plan, plugin, kept, options) if options.read else _write(plan, plugin, kept, options)


def _write(plan: Plan, plugin: Reviewed, kept: Path, options: Namespace) -> int:
    from bezoar_core.errors import BezoarError, UsageError
    from bezoar_core.label_sheet import write_sheet
    from bezoar_core.labels import read_labels

    if options.rows < 1:
        raise UsageError(f"`--rows` is {options.rows}: write 1 or more")
    state = plan.states()[options.step]
    if state.artifact is None:
        tip = registry_options.command_line(options, "run") + f" --until {options.step}"
        raise BezoarError(f"`{options.step}` is not made: {state.why}", tip=tip)
    done = {label.row for label in read_labels(kept)}
    verdicts = {row: verdict for row, _, verdict in _rows(plugin, state.artifact) if row not in done}
    accepted, rejected = ([row for row in verdicts if verdicts[row] is wanted] for wanted in (True, False))
    passed = min(len(accepted), options.rows - min(len(rejected), options.rows // 2))
    drawn = _draw(accepted, passed, options.seed) + _draw(rejected, options.rows - passed, options.seed)
    if not drawn:
        raise BezoarError(f"`{options.step}` has no row with a verdict and without a label")
    texts = {row: shown for row, shown, _ in _rows(plugin, state.artifact) if row in set(drawn)}
    path = options.out or Path(f"{options.step}-labels.csv")
    # in an order that does not tell which were accepted
    write_sheet(path, {row: texts[row] for row in _draw(drawn, len(drawn), f"order {options.seed}")})
    print(f"{path}: {len(drawn)} rows; the judge accepted {passed} of them and rejected {len(drawn) - passed}")
    print("fill in `label` (accept or reject) and `author`, leave empty what you cannot tell, then:")
    print(f"{_again(options)} --read {shlex.quote(str(path))}")
    return 0


def _read(plan: Plan, plugin: Reviewed, kept: Path, options: Namespace) -> int:
    from bezoar_core.errors import BezoarError
    from bezoar_core.label_sheet import read_sheet
    from bezoar_core.labels import add_labels

    # the step may have been made anew while people were at it
    made = plan.store.history(options.step)
    if not made:
        raise BezoarError(f"`{options.step}` is not made, so its rows are not known")
    known = {row for artifact in made for row, _, _ in _rows(plugin, artifact)}
    sheet = read_sheet(options.read, known, options.step)
    new = add_labels(kept, sheet.labels)
    print(f"labels: {len(sheet.labels)}; rows left empty: {sheet.empty}; added to {os.path.relpath(kept)}: {len(new)}")
    if plugin.labels is None and sheet.labels:
        name = kept.relative_to(plan.registry.root).as_posix()
        print(f"set `labels: {name}` at `{options.step}` in {plan.registry.path.name}; both are yours to keep. Then:")
    print(f"{registry_options.command_line(options, 'run')}   (verdicts are replayed at no cost)")
    return 0


def _again(options: Namespace) -> str:
    return registry_options.command_line(options, "label").replace("label", f"label {options.step}", 1)


def _rows(plugin: Reviewed, artifact: Artifact) -> Iterator[tuple[str, Mapping[str, str], bool | None]]:
    """Yield the id, the texts and the judge's verdict of an artifact's rows."""
    from bezoar_core.labels import row_id
    from bezoar_core.rows import read_parquet

    for name in ("rows.parquet", "dropped.parquet"):
        for row in read_parquet(artifact.path / name):
            texts = plugin.shown(row)
            if texts is not None:
                yield row_id(texts), texts, plugin.accepted(row)


def _draw(rows: Iterable[str], count: int, key: int | str) -> list[str]:
    """Return `count` of the rows, in an order that depends on `key` and their ids only."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{key} {row}".encode()).digest())[:count]


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [LabelRows]
