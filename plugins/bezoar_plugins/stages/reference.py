"""What the reference says of the rows to learn: asked once before the first step, and kept for a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def keep_reference(rows: Dataset, work: Path) -> None:
    """Have TRL keep the log-probabilities it asks for in `work`, and find those of an earlier attempt there.

    A dataset made in memory has a folder of its own, which goes with the process and no other process sees.
    """
    rows._get_cache_file_path = lambda fingerprint: str(work / "reference.arrow")
