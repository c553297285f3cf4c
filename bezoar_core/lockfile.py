"""`bezoar.lock`, beside the registry: what was resolved once, and is obeyed until `--upgrade`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.store import write_atomically


@dataclass(frozen=True)
class LockFile:
    """Pins of sources, versions of packages, and prompt hashes of judges, by name."""

    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    judges: dict[str, dict[str, str]] = field(default_factory=dict)


def read_lock(path: Path) -> LockFile:
    """Read the lock, or an empty one where there is none."""
    try:
        data = orjson.loads(path.read_bytes())
        lock = LockFile(**{key: data[key] for key in ("sources", "packages", "judges")})
        if not _is_lock(lock):
            raise TypeError
        return lock
    except FileNotFoundError:
        return LockFile()
    except (orjson.JSONDecodeError, KeyError, TypeError, IsADirectoryError):
        raise BezoarError("is no lock file", where=path.name, tip="remove it: the next run writes it anew") from None


def _is_lock(lock: LockFile) -> bool:
    return isinstance(lock.packages, dict) and all(
        isinstance(part, dict) and all(isinstance(pin, dict) for pin in part.values())
        for part in (lock.sources, lock.judges)
    )


def write_lock(path: Path, lock: LockFile) -> None:
    """Write the lock where it changed."""
    content: Mapping[str, object] = {
        "about": "written by `bezoar run`; commit it; `bezoar run --upgrade` resolves anew",
        "sources": lock.sources,
        "packages": lock.packages,
        "judges": lock.judges,
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    data = orjson.dumps(content, option=options)
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data)
