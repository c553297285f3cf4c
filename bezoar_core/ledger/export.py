"""The replies of a ledger as JSON lines, for reading elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from bezoar_core.ledger.damage import Damage, examine
from bezoar_core.ledger.segment import segments
from bezoar_core.ledger.stats import Record


def export(folder: Path, wanted: Callable[[Record], bool], *, raw: bool) -> Iterator[bytes | Damage]:
    """Yield a line for each reply that is `wanted`: `key` (sha256 in hex) and the record, `raw` only where asked for.

    A request that was paid twice has two lines. Damage comes as it is met.
    """
    for path in segments(folder).values():
        for line in examine(path):
            if isinstance(line, Damage):
                yield line
                continue
            record: Record = orjson.loads(line.record)
            if wanted(record):
                fields = {name: value for name, value in record.items() if raw or name != "raw"}
                yield orjson.dumps({"key": line.key.hex(), **fields}, option=orjson.OPT_APPEND_NEWLINE)
