"""The options every command on a registry has, and the project they name."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bezoar_core.project import Project


def add(parser: ArgumentParser) -> None:
    """Add the registry's path, `--profile` and `--set`."""
    parser.add_argument("registry", type=Path, nargs="?", default=Path("registry.yaml"), help="default: registry.yaml")
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="lay a profile over the registry; several apply in order",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for example steps.lamini.count=50"
    )


def project(options: Namespace, *, upgrade: bool = False) -> Project:
    """Open the project the options name."""
    from bezoar_core.project import Project

    return Project.open(options.registry, options.profile, options.set, upgrade=upgrade)


def command_line(options: Namespace, command: str) -> str:
    """Return the command line that names the same project, for a tip."""
    parts = ["bezoar", command, shlex.quote(str(options.registry))]
    parts += [f"--profile {shlex.quote(name)}" for name in options.profile]
    parts += [f"--set {shlex.quote(assignment)}" for assignment in options.set]
    return " ".join(parts)
