"""The scheme `shout`: each seed's instruction, answered in capitals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bezoar_core.errors import RequestFailed
from bezoar_core.hookspecs import hookimpl
from bezoar_core.in_order import in_order
from bezoar_core.interfaces import Ask, Draw, Scheme, Want
from bezoar_core.records import REQUEST_FAILED, Dropped, Kept, Message, Row
from bezoar_core.types import DatasetRef, ModelRef, PositiveInt


@dataclass(frozen=True, kw_only=True)
class Shout:
    """Ask the teacher each seed's instruction and keep the reply in capitals."""

    name: ClassVar[str] = "shout"
    version: ClassVar[int] = 1
    columns: ClassVar[frozenset[str]] = frozenset({"instruction"})

    teacher: ModelRef
    seeds: DatasetRef
    count: PositiveInt = 8

    async def generate(self, seeds: Iterable[Row], ask: Ask, draw: Draw, want: Want) -> AsyncIterator[Kept | Dropped]:
        """Yield one row a seed, until there are enough."""

        async def one(row: Row) -> Kept | Dropped:
            reply = await ask(self.teacher, [Message("user", str(row["instruction"]))])
            if not reply.text.strip():
                return Dropped(row, "empty")
            return Kept({"instruction": row["instruction"], "response": reply.text.upper()})

        async for outcome in in_order(one, seeds, want, failed=_lost):
            yield outcome


def _lost(row: Row, error: RequestFailed) -> Dropped:
    return Dropped(row, REQUEST_FAILED, str(error))


@hookimpl
def bezoar_schemes() -> Sequence[type[Scheme]]:
    """Register the scheme."""
    return [Shout]
