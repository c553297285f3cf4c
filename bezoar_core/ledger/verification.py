"""Is every reply what was written, and does the index find it?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bezoar_core.ledger.damage import Damage, examine
from bezoar_core.ledger.index import Broken, Busy, Index, exists, remove
from bezoar_core.ledger.ledger import indexed, locked
from bezoar_core.ledger.segment import Place, scan, segments


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found: `lost` of the `damage` has no whole reply to the same request; `index` is in words."""

    segments: int
    replies: int
    damage: tuple[Damage, ...]
    lost: int
    index: str


def verify(folder: Path) -> Verified:
    """Check every line by its checksum, then the index against the lines; it is made again where it disagrees.

    Only the index is ever written to, and where it cannot be, it is left as it is.
    """
    found = segments(folder)
    damage: list[Damage] = []
    replies = 0
    for path in found.values():
        for line in examine(path):
            if isinstance(line, Damage):
                damage.append(line)
            else:
                replies += 1
    lost = len(damage) - _held(found.values(), damage)
    return Verified(segments=len(found), replies=replies, damage=tuple(damage), lost=lost, index=_verify_index(folder))


def _held(paths: Collection[Path], damage: list[Damage]) -> int:
    """Count the damage whose request has a whole reply too."""
    wanted = {found.key for found in damage if found.key is not None}
    held = {line.key for path in paths for line in scan(path) if line.key in wanted} if wanted else set()
    return sum(found.key in held for found in damage)


def _verify_index(folder: Path) -> str:
    if not exists(folder):
        return "not there: the next run makes it"
    try:
        wrong = _disagreement(folder)
        if not wrong:
            return "agrees"
        with locked(folder):
            remove(folder)
            indexed(folder).close()
    except Busy:
        return "not checked: another process keeps it locked"
    except OSError as error:
        return f"not checked: {error.strerror}"
    return f"{wrong}: made again"


def _disagreement(folder: Path) -> str:
    try:
        index = Index(folder)
        try:
            with index.snapshot():
                wrong = _wrong_entries(index, folder)
        finally:
            index.close()
    except Busy:
        raise
    except Broken as broken:
        return f"cannot be used ({broken})"
    return f"{wrong:,} of its entries disagreed with the segments" if wrong else ""


def _wrong_entries(index: Index, folder: Path) -> int:
    """Count entries that are missing, that are not the first with their key, and that no line stands behind."""
    scanned = index.scanned()  # before the files: what comes later it need not know
    missing = confirmed = 0
    for number, path in segments(folder).items():
        for line in scan(path):
            if line.key is None:
                continue
            place, known = Place(number, line.offset, line.length), index.find(line.key)
            confirmed += known == place
            missing += (known is None or known > place) and line.offset < scanned.get(number, 0)
    return missing + len(index) - confirmed
