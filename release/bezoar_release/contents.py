"""What the files of a release may hold: nothing that runs, and nothing of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.types import Json

# the tree of a release holds these and nothing else
_SUFFIXES = {".safetensors", ".parquet", ".json", ".jinja", ".model", ".txt", ".md"}

_ADDRESS = re.compile(r"https?://")


def published(value: Json) -> Json:
    """Return a manifest as it may be shown: server addresses and absolute paths of this machine are left out."""
    if isinstance(value, dict):
        return {key: published(child) for key, child in value.items()}
    if isinstance(value, list):
        return [published(child) for child in value]
    if isinstance(value, str):
        scheme, colon, path = value.partition(":")
        if _ADDRESS.match(value):
            return "(address not published)"
        if value.startswith("/") and "/" in value.strip("/"):  # `/end` may be a stop text, and names no one's folder
            return Path(value).name
        if colon and scheme in {"file", "random"} and path.startswith("/"):
            return f"{scheme}:{Path(path).name}"
    return value


def check_contents(folder: Path, root: str) -> None:
    """Raise if a file is of no kind that a release holds, is not as named, or names the project's own folder."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _SUFFIXES:
            raise BezoarError(f"`{name}` is no file that a release holds", where=str(folder))
        if not is_as_named(path):
            raise BezoarError(
                f"`{name}` is not what its name says: loading it could run code (a pickle) or fail", where=str(folder)
            )
        if path.suffix in {".json", ".jinja", ".md"} and root.encode() in path.read_bytes():
            raise BezoarError(f"`{name}` names a folder of this machine: `{root}`", where=str(folder))


def is_as_named(path: Path) -> bool:
    """Say whether a file's content is of the kind of its suffix: a pickle in disguise is not."""
    with path.open("rb") as file:
        opening = file.read(9)
    if path.suffix == ".safetensors":  # eight bytes of length, then JSON
        return opening[8:] == b"{"
    if path.suffix == ".parquet":
        return opening[:4] == b"PAR1"
    if path.suffix == ".model":  # sentencepiece: the first field of a protobuf message
        return opening[:1] == b"\x0a"
    try:
        text = path.read_text(encoding="utf-8")
        return path.suffix != ".json" or orjson.loads(text) is not None
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        return False
