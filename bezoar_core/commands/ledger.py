"""`bezoar ledger`: the replies kept beside a registry, counted, checked, copied out and compacted."""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command

if TYPE_CHECKING:
    from bezoar_core.ledger import Record

_KINDS = {
    "torn": "a torn line: its writer was stopped while it wrote",
    "flipped": "flipped bits: the checksum does not match",
    "zeros": "zeros, as a power cut leaves them",
    "other form": "a line of another form, perhaps of a later version",
    "foreign": "foreign bytes",
}


class ShowLedger:
    """Looks after the replies kept beside a registry."""

    name: ClassVar[str] = "ledger"
    help: ClassVar[str] = "the replies kept: `stats`, `verify`, `export`, `prune`"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Add the four actions, each for a registry."""
        actions = parser.add_subparsers(dest="what", metavar="what", required=True)
        _action(actions.add_parser, _stats, "replies, tokens and cost by model")
        _action(
            actions.add_parser,
            _verify,
            "check every reply and the index",
            "Checks every line by its checksum and names what is damaged: file, byte, length and what it seems to be; "
            "exit status 1 where anything is. An index that disagrees is made again; the replies are only read.",
        )
        export = _action(
            actions.add_parser,
            _export,
            "write the replies as JSON lines",
            "Writes a JSON line for each reply: key, model, text, tokens, cost in US dollars, time (seconds since "
            "1970) and duration. A request that was paid twice has two.",
        )
        export.add_argument("--model", metavar="NAME", help="only replies of this model, named as in `stats`")
        export.add_argument(
            "--since", type=_moment, metavar="DATE", help="only replies since `2026-01-31` or a time, UTC"
        )
        export.add_argument("--raw", action="store_true", help="with what the server sent, as it was")
        export.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
        prune = _action(
            actions.add_parser,
            _prune,
            "compact the ledger; with a filter, give replies up",
            "Joins small segments and takes out damage and duplicates: whatever could be replayed still can. With "
            "`--older-than` or `--model` replies are given up, those that match all filters; a run that needs one pays "
            "for it again.",
        )
        prune.add_argument("--older-than", type=float, metavar="DAYS", help="give up replies older than this")
        prune.add_argument("--model", metavar="NAME", help="give up replies of this model, named as in `stats`")
        prune.add_argument("--dry-run", action="store_true", help="only say what would be done")

    @staticmethod
    def run(options: Namespace) -> int:
        """Do what was asked; return 1 where `verify` finds damage."""
        from bezoar_core.errors import UsageError

        folder = options.registry.absolute().parent / ".bezoar" / "ledger"
        if not folder.is_dir():
            raise UsageError("there is no ledger yet", where=str(folder), tip="`bezoar run` writes it")
        status: int = options.action(folder, options)
        return status


def _action(
    add: Callable[..., ArgumentParser],
    action: Callable[[Path, Namespace], int],
    help: str,
    description: str | None = None,
) -> ArgumentParser:
    parser = add(action.__name__[1:], help=help, description=description or help)
    parser.add_argument("registry", type=Path, nargs="?", default=Path("registry.yaml"), help="default: registry.yaml")
    parser.set_defaults(action=action)
    return parser


def _stats(folder: Path, _: Namespace) -> int:
    from rich.table import Table

    from bezoar_core.console import PipedConsole
    from bezoar_core.ledger.stats import count

    stats = count(folder)
    table = Table(box=None, pad_edge=False)
    for column in ("model", "replies", "input tokens", "output tokens", "usd"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in stats.models:
        usd = "unknown" if model.usd is None else f"{model.usd:.4f}"
        table.add_row(model.model, f"{model.replies:,}", f"{model.input_tokens:,}", f"{model.output_tokens:,}", usd)
    PipedConsole().print(table)
    print(
        f"{stats.replies:,} replies in {stats.segments:,} segments, {stats.bytes:,} bytes, "
        f"{stats.damaged:,} damaged lines"
    )
    return 0


def _verify(folder: Path, _: Namespace) -> int:
    from bezoar_core.errors import BezoarError
    from bezoar_core.ledger.verification import verify

    found = verify(folder)
    for one in found.damage:
        print(f"{one.path}: byte {one.offset}, {one.length} bytes: {_KINDS[one.kind]}")
    print(f"{found.replies:,} whole replies in {found.segments:,} segments; index: {found.index}")
    if not found.damage:
        return 0
    lost, again = found.lost, len(found.damage) - found.lost
    raise BezoarError(
        f"{_many(len(found.damage), 'damaged place')}: up to {_many(lost, 'reply', 'replies')} lost, to be asked and "
        f"paid again where a run needs them; the requests of {again:,} were answered again",
        where=str(folder),
        tip="put the named files back from a copy if you have one; else `bezoar ledger prune` takes the damage out. A "
        "torn line is what a killed run leaves; anything else: look after the disk",
    )


def _export(folder: Path, options: Namespace) -> int:
    from bezoar_core.errors import UsageError
    from bezoar_core.ledger.export import export
    from bezoar_core.store import replacing

    damaged = 0

    def lines() -> Iterator[bytes]:
        nonlocal damaged
        for line in export(folder, _chosen(options.model, since=options.since), raw=options.raw):
            if isinstance(line, bytes):
                yield line
            else:
                damaged += 1

    try:
        with replacing(options.out) if options.out else nullcontext(sys.stdout.buffer) as file:
            file.writelines(lines())
            file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"`{options.out or 'standard output'}` cannot be written: {error.strerror}") from error
    if damaged:
        print(
            f"warning: {_many(damaged, 'damaged place')} passed over; `bezoar ledger verify` names them",
            file=sys.stderr,
        )
    return 0


def _prune(folder: Path, options: Namespace) -> int:
    from bezoar_core.errors import UsageError, nearest
    from bezoar_core.ledger.compaction import carry_out, plan
    from bezoar_core.run_lock import run_lock

    if options.older_than is not None and not options.older_than >= 0:
        raise UsageError(f"`--older-than {options.older_than}` is no number of days", tip="30 gives up what is older")
    with nullcontext() if options.dry_run else run_lock(folder.parent):
        planned = plan(folder, _given_up(options))
        if options.model is not None and options.model not in planned.models:
            raise UsageError(
                f"no reply is of model `{options.model}`", tip=nearest(options.model, sorted(planned.models))
            )
        if not options.dry_run:
            carry_out(planned)
    before, after, removed = planned.before, planned.after, planned.removed
    for title, size in (("before", before), ("after", after)):
        print(f"{title:<8}{size.replies:>12,} replies in {size.segments:,} segments, {size.bytes:,} bytes")
    print(f"{removed.damaged_bytes:,} bytes of damage and {_many(removed.duplicates, 'duplicate')} ", end="")
    print("would go" if options.dry_run else "are gone")
    if removed.replies:
        usd = "an unknown sum" if removed.usd is None else f"{removed.usd:.4f} usd"
        print(
            f"{_many(removed.replies, 'reply', 'replies')} given up that cost {usd}: paid again where a run needs them"
        )
    return 0


def _given_up(options: Namespace) -> Callable[[Record], bool]:
    days, model = options.older_than, options.model
    if days is None and model is None:
        return lambda record: False
    return _chosen(model, before=None if days is None else time.time() - days * 86_400)


def _chosen(model: str | None, *, since: float | None = None, before: float | None = None) -> Callable[[Record], bool]:
    """Return what says whether a reply is this model's and came in this time (seconds since 1970)."""

    def chosen(record: Record) -> bool:
        at = record.get("at")
        came = float(at) if isinstance(at, int | float) else math.nan  # no time is in no time
        return (
            (model is None or record.get("model") == model)
            and (since is None or came >= since)
            and (before is None or came < before)
        )

    return chosen


def _many(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"`{text}` is no date, for example 2026-01-31 or 2026-01-31T18:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [ShowLedger]
