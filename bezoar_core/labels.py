"""What people said of a step's rows: a file beside the registry, kept and versioned by its user like the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from bezoar_core.errors import DataError
from bezoar_core.store import write_atomically

Answer = Literal["accept", "reject"]
ANSWERS: Mapping[str, Answer] = {"accept": "accept", "reject": "reject"}


@dataclass(frozen=True, kw_only=True)
class Label:
    """What `author` said of the row `row` (see `row_id`) at `time`, in UTC."""

    row: str
    label: Answer
    author: str
    time: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What people together say of a row; `authors` are those who say so."""

    accept: bool
    authors: tuple[str, ...]
    note: str


def row_id(shown: Mapping[str, str]) -> str:
    """Return a row's id: it follows from the texts that a person is shown, so a row judged anew keeps it."""
    content = orjson.dumps(dict(shown), option=orjson.OPT_SORT_KEYS)
    # no spreadsheet takes it for a number, as it would `12e45678`
    return f"row-{hashlib.sha256(content).hexdigest()[:16]}"


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a file, oldest first; none where there is no file. Raises `DataError` with every fault."""
    found: list[Label] = []
    faults: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
        try:
            label = Label(**orjson.loads(line))
            if label.label not in ANSWERS or not all(isinstance(value, str) for value in asdict(label).values()):
                raise ValueError(f"`label` is {label.label!r}")
            found.append(label)
        except (TypeError, ValueError) as error:
            faults.append(f"{path.name}:{number}: no label: {error}")
    if faults:
        raise DataError(
            "\n".join(faults), tip="`bezoar label --read` writes this file: one label a line, added at its end"
        )
    return found


def add_labels(path: Path, labels: Iterable[Label]) -> list[Label]:
    """Add what is new of `labels` to the end of a file, whole or not at all, and return it.

    A label that only repeats its author's last word on the row is not new.
    """
    known = {key: (label.label, label.note) for key, label in last_words(read_labels(path)).items()}
    new = [label for label in labels if known.get((label.row, label.author)) != (label.label, label.note)]
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        lines = [orjson.dumps(label, option=orjson.OPT_APPEND_NEWLINE) for label in new]
        write_atomically(path, b"".join([before, b"" if before[-1:] in (b"", b"\n") else b"\n", *lines]))
    return new


def last_words(labels: Iterable[Label]) -> dict[tuple[str, str], Label]:
    """Return the last label of each row by each author."""
    return {(label.row, label.author): label for label in labels}


def decisions(labels: Iterable[Label]) -> Mapping[str, Decision]:
    """Return what most people say of each row by their last words; a row on which they are divided evenly has none."""
    by_row: dict[str, list[Label]] = {}
    for label in last_words(labels).values():
        by_row.setdefault(label.row, []).append(label)
    return {row: made for row, said in by_row.items() if (made := _decision(said))}


def _decision(said: Sequence[Label]) -> Decision | None:
    accepts = [label for label in said if label.label == "accept"]
    rejects = [label for label in said if label.label == "reject"]
    if len(accepts) == len(rejects):
        return None
    most = max(accepts, rejects, key=len)
    return Decision(
        accept=most is accepts,
        authors=tuple(sorted(label.author for label in most)),
        note="; ".join(label.note for label in most if label.note),
    )
