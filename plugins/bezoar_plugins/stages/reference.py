"""What the reference says of the rows to learn: asked once before the first step, and kept for a run that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

_KEPT = "reference.json"


def with_reference(
    rows: Dataset, columns: Sequence[str], ask: Callable[[], Dataset], work: Path, main: bool
) -> Dataset:
    """Return `rows` with the `columns` of log-probabilities that `ask` finds, or found in an earlier attempt.

    Of several processes the `main` one keeps them. TRL keeps its own in a folder that goes with the process.
    """
    kept = work / _KEPT
    if kept.is_file():
        told = json.loads(kept.read_text(encoding="utf-8"))
    else:
        asked = ask()
        told = {name: list(asked[name]) for name in columns}
        if main:
            written = kept.with_suffix(".new")
            written.write_text(json.dumps(told), encoding="utf-8")
            written.replace(kept)
    for name in columns:
        rows = rows.add_column(name, told[name])
    return rows
