"""The report of an earlier run that had the same output: a run that made nothing needs no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from bezoar_core.runner import RunRecord


def earlier_report(record: RunRecord) -> Path | None:
    """Return the newest report of a run over the same nodes with the same artifacts, where `record` made nothing."""
    if any(node.status != "cached" for node in record.nodes.values()):
        return None
    artifacts = {name: node.artifact for name, node in record.nodes.items()}
    for report in sorted(record.path.parent.glob("*/report.html"), reverse=True):
        if _artifacts(report.parent / "run.json") == artifacts:
            return report
    return None


def _artifacts(path: Path) -> Mapping[str, object] | None:
    try:
        nodes = orjson.loads(path.read_bytes())["nodes"]
        return {name: node["artifact"] for name, node in nodes.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # half there, or somebody edited it
        return None
