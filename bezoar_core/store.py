"""Finished work on disk: an artifact is whole, with a hash of every file, or it is not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.types import Json

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One thing a step was given: `artifact` is the folder's name where another step made it."""

    field: str
    name: str
    kind: str
    content: str
    artifact: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of how an artifact was made; `files` holds the sha256 of every file beside it.

    `times`, `cost` and `hardware` may differ between two runs that made the same.
    """

    step: str
    kind: str
    plugin: Mapping[str, Json]
    fingerprint: str
    config: Mapping[str, Json]
    seed: int
    inputs: tuple[Input, ...] = ()
    models: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    judges: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    output: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Json] = field(default_factory=dict)
    times: Mapping[str, Json] = field(default_factory=dict)
    cost: Mapping[str, Json] = field(default_factory=dict)
    bezoar: int = 1


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def content(self) -> str:
        """Return the content hash of the output."""
        return str(self.manifest.output["content"])


@dataclass(frozen=True)
class Store:
    """The artifacts under `.bezoar/artifacts`."""

    root: Path

    def folder(self, node: str, fingerprint: str) -> Path:
        """Return where the artifact of `node` with this fingerprint lies, or would."""
        return self.root / f"{node}-{fingerprint[:12]}"

    def get(self, node: str, fingerprint: str) -> Artifact | None:
        """Return the finished artifact, or None."""
        folder = self.folder(node, fingerprint)
        manifest = read_manifest(folder)
        return Artifact(folder, manifest) if manifest and manifest.fingerprint == fingerprint else None

    def history(self, node: str) -> list[Artifact]:
        """Return the finished artifacts of `node`, newest first."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if p.name.rpartition("-")[0] == node and p.suffix != PARTIAL]
        folders.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
        return [Artifact(p, m) for p in folders if (m := read_manifest(p))]

    def begin(self, node: str, fingerprint: str) -> Path:
        """Return an empty folder to write an artifact to; what an earlier attempt left there is removed."""
        partial = self.folder(node, fingerprint).with_name(f"{node}-{fingerprint[:12]}{PARTIAL}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an artifact's folder, or None where there is none."""
    try:
        data = orjson.loads((folder / "manifest.json").read_bytes())
        inputs = tuple(Input(**entry) for entry in data["inputs"])
        return Manifest(**{**data, "inputs": inputs})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise BezoarError(
            f"`manifest.json` is damaged: {error}",
            where=str(folder),
            tip=f"remove the folder `{folder.name}` and run again",
        ) from None


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file under `folder` by relative path, the manifest left out."""
    from concurrent.futures import ThreadPoolExecutor

    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / "manifest.json")
    with ThreadPoolExecutor(max_workers=2) as pool:
        digests = pool.map(_sha256, paths)
    return {path.relative_to(folder).as_posix(): digest for path, digest in zip(paths, digests, strict=True)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(files: Mapping[str, str], extra: Iterable[str] = ()) -> str:
    """Return one sha256 over files' names and hashes, and `extra`."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name]}\n".encode())
    for part in extra:
        digest.update(f"\0{part}".encode())
    return digest.hexdigest()


def publish(partial: Path, manifest: Manifest) -> Artifact:
    """Write the manifest, fsync everything and rename the folder into place: whole or not there."""
    write_json(partial / "manifest.json", manifest)
    for folder, _, names in os.walk(partial):
        for name in names:
            _fsync(Path(folder) / name)
        _fsync(Path(folder))
    final = partial.with_name(partial.name.removesuffix(PARTIAL))
    if final.exists():
        old = final.with_name(final.name + ".old" + PARTIAL)
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        partial.rename(final)
        shutil.rmtree(old)
    else:
        partial.rename(final)
    _fsync(final.parent)
    return Artifact(final, manifest)


def write_json(path: Path, data: object, *, sort: bool = True) -> None:
    """Write `data` as indented JSON; with `sort`, the same data gives the same bytes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | (orjson.OPT_SORT_KEYS if sort else 0)
    path.write_bytes(orjson.dumps(data, default=_plain, option=options))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably: a reader sees the old or the new."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which replaces `path` at the end, durably: a reader sees the old or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
