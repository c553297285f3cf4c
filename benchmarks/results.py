"""What every benchmark leaves: one JSON file with the machine, the versions, the raw rows and flat ratios."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def write(
    name: str, rows: Sequence[Mapping[str, object]], ratios: Mapping[str, float | None], packages: Iterable[str]
) -> Path:
    """Write `results/<name>.json`. A ratio is None where this run did not measure it."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    found = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions(packages)},
        "ratios": {key: value if value is None else round(value, 4) for key, value in ratios.items()},
        "rows": list(rows),
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, object]:
    """Return the processor, the cores this process may use, the memory and the kernel."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
