"""The command `bezoar`: finds its subcommands among the plugins, and is the one place that catches an error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bezoar_core.errors import BezoarError
from bezoar_core.plugins import load

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `bezoar`; return 0, 1 for a run that failed, 2 for misuse, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="bezoar",
        description="From seed data to an aligned, evaluated, documented small language model, with one command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    found = [command for offered in load().manager.hook.bezoar_commands() for command in offered]
    for command in sorted(found, key=lambda c: str(c.name)):
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except BezoarError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Version(argparse.Action):
    """`--version`: a distribution's metadata is parsed only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        parser.exit(message=f"bezoar {version('bezoar')}\n")


if __name__ == "__main__":
    sys.exit(main())
