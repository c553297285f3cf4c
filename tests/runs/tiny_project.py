"""The repository's own registry and examples in a folder of the test's."""

from __future__ import annotations

import shutil
from pathlib import Path

from bezoar_core.testing import BezoarProject

ROOT = Path(__file__).parents[2]


def copy_project(folder: Path) -> BezoarProject:
    """Copy the registry and the examples to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "registry.yaml", folder)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return BezoarProject(folder)
