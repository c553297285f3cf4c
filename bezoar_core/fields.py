"""A plugin instance seen as data: its configuration, the part of it with a meaning, and its references."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bezoar_core.types import FilePath, ForComparison, Json, NoEffect, Reference, SecretText
from bezoar_core.yaml_tree import expand, variables


def to_json(value: object) -> Json:
    """Return a field's value as JSON: references by name, tuples as lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Reference):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): to_json(child) for key, child in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        children = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [to_json(child) for child in children]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"a field holds {type(value).__name__}, which the registry cannot write")


def marks(cls: type) -> dict[str, tuple[object, ...]]:
    """Return the annotations' marks (`NoEffect`, `FilePath`, `ForComparison`, `SecretText`) of each field."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: tuple(_marks(hints[f.name])) for f in dataclasses.fields(cls)}


def for_comparison(cls: type) -> frozenset[str]:
    """Return the names of the fields that only a benchmark's `compare` reads."""
    return frozenset(name for name, found in marks(cls).items() if any(isinstance(m, ForComparison) for m in found))


def _marks(hint: Any) -> Iterator[object]:  # noqa: ANN401 - a type expression of any form
    for part in (*getattr(hint, "__metadata__", ()), *get_args(hint)):
        if isinstance(part, NoEffect | FilePath | ForComparison | SecretText):
            yield part
        else:
            yield from _marks(part)


def configuration(plugin: object) -> dict[str, Json]:
    """Return every field but the secret ones, environment variables unexpanded: what a manifest may show."""
    found = marks(type(plugin))
    return {
        name: to_json(getattr(plugin, name))
        for name in found
        if not any(isinstance(mark, SecretText) for mark in found[name])
    }


def meaning(plugin: object, root: Path, environ: Mapping[str, str]) -> dict[str, Json]:
    """Return what the output depends on: no secrets, nothing marked `NoEffect`, files by content.

    A value that mentions the environment is there as its sha256.
    """
    result: dict[str, Json] = {}
    for name, found in marks(type(plugin)).items():
        if any(isinstance(mark, NoEffect | SecretText) for mark in found):
            continue
        value = to_json(getattr(plugin, name))
        if value is not None and any(isinstance(mark, FilePath) for mark in found):
            value = path_content(root / str(value))
        elif any(True for _ in variables(value)):
            value = "sha256:" + hashlib.sha256(repr(expand(value, environ)).encode()).hexdigest()
        result[name] = value
    return result


def path_content(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files and their names; "missing" where there is none."""
    if path.is_file():
        return _file_sha256(path)
    if not path.is_dir():
        return "missing"
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def references(plugin: object) -> Iterator[tuple[str, Reference]]:
    """Yield each field's references, those in tuples too."""
    for field in dataclasses.fields(plugin):  # type: ignore[arg-type]
        yield from ((field.name, ref) for ref in _references(getattr(plugin, field.name)))


def _references(value: object) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, tuple | list):
        for child in value:
            yield from _references(child)
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _references(child)
