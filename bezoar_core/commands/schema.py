"""`bezoar schema`: the registry's JSON schema, for editors."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import ClassVar

from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Command


class Schema:
    """Prints the JSON schema of a registry with the plugins at hand."""

    name: ClassVar[str] = "schema"
    help: ClassVar[str] = "print the registry's JSON schema, for editors"

    @staticmethod
    def arguments(parser: ArgumentParser) -> None:
        """Take no arguments."""

    @staticmethod
    def run(options: Namespace) -> int:
        """Print the schema."""
        import sys

        import orjson

        from bezoar_core.plugins import load
        from bezoar_core.registry import Budget, DatasetKeys, ModelKeys, StepKeys
        from bezoar_core.schema import json_schema

        common = {"model": ModelKeys, "dataset": DatasetKeys, "step": StepKeys, "budget": Budget}
        sys.stdout.buffer.write(orjson.dumps(json_schema(load(), common), option=orjson.OPT_INDENT_2) + b"\n")
        return 0


@hookimpl
def bezoar_commands() -> Sequence[type[Command]]:
    """Register the command."""
    return [Schema]
