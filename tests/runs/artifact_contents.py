"""What "artifacts equal" means: every file but the manifest's times, costs and hardware."""

from __future__ import annotations

import json
from pathlib import Path

from bezoar_core.store import hash_files

MAY_DIFFER = ("times", "cost", "hardware")


def artifact_contents(state: Path) -> dict[str, object]:
    """Return everything in the finished artifacts that must be the same in two runs."""
    found: dict[str, object] = {}
    for folder in sorted((state / "artifacts").iterdir()):
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for key in MAY_DIFFER:
            del manifest[key]
        assert manifest["files"] == hash_files(folder), folder.name
        found[folder.name] = manifest
    return found
