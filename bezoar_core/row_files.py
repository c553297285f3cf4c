"""Files that hold rows: which of a folder's files are meant, and one reader a kind, each a stream."""

from __future__ import annotations

import csv
import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import orjson

from bezoar_core.errors import DataError
from bezoar_core.types import Json

if TYPE_CHECKING:
    import pyarrow as pa

Numbered = tuple[int, dict[str, Json]]

# the words by which the Hub's datasets name their splits in file and folder names
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_SHARD = re.compile(r"(?:.*/)?([\w.]+?)-\d{5}-of-\d{5}\.")
_ABOUT = {"dataset_infos.json", "dataset_dict.json", "state.json"}
_TIP = "rows are read from .jsonl, .json, .csv (also with .gz) and .parquet"


def chosen(folder: Path, name: str, files: str | None, split: str | None) -> list[Path]:
    """Return the data files of `folder` that `files` (a glob) and `split` select, sorted."""
    found = sorted(p for p in folder.glob(files or "**/*") if p.is_file())
    if files is None:
        found = [p for p in found if kind(p) and p.name not in _ABOUT and not p.name.startswith(".")]
        kinds = sorted({kind(p) for p in found})
        if len(kinds) > 1:
            words = " and ".join(f".{k}" for k in kinds)
            raise DataError(f"holds {words} files", where=name, tip="say which are meant: `files: '*.jsonl'`")
    if not found:
        what = f"no file matches `{files}`" if files else "holds no data files"
        raise DataError(what, where=name, tip=_TIP)
    if split is None:
        return found
    splits = {p: split_of(p.relative_to(folder).as_posix()) for p in found}
    wanted = _SPLITS.get(split, split)
    if wanted not in splits.values():
        known = ", ".join(f"`{s}`" for s in sorted(set(splits.values())))
        raise DataError(
            f"has no split `{split}`", where=name, tip=f"its files make up {known}; or name files with `files`"
        )
    return [p for p in found if splits[p] == wanted]


def check_alone(path: Path, name: str, files: str | None, split: str | None) -> None:
    """Raise `DataError` where `files` or `split` ask for something else than the one file there is."""
    if files is not None:
        raise DataError("is one file, and `files` chooses among those of a folder", where=name, tip="leave `files` out")
    if split is not None and split_of(path.name) != _SPLITS.get(split, split):
        raise DataError(
            f"is one file, and its name does not say that it is split `{split}`", where=name, tip="leave `split` out"
        )


def split_of(path: str) -> str:
    """Return the split that a file's relative path names, by the Hub's conventions; `train` where it names none."""
    shard = _SHARD.match(path)
    if shard:
        return _SPLITS.get(shard[1], shard[1])
    for part in reversed(path.split("/")):
        for word in re.split(r"[^A-Za-z0-9]+", part):
            if word.lower() in _SPLITS:
                return _SPLITS[word.lower()]
    return "train"


def kind(path: Path) -> str:
    """Return `jsonl`, `json`, `csv` or `parquet`; empty for any other file."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.removeprefix(".").lower()
    if suffix == "parquet" and path.name.endswith(".gz"):
        return ""
    return {"ndjson": "jsonl"}.get(suffix, suffix) if suffix in {"ndjson", *_READERS} else ""


def rows_of(path: Path, name: str) -> Iterator[Numbered]:
    """Yield each row with its number: the line in a jsonl or csv file, else its place in the file, from 1."""
    reader = _READERS.get(kind(path))
    if reader is None:
        raise DataError("is of no kind that holds rows", where=name, tip=_TIP)
    try:
        yield from reader(path, name)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"cannot be unpacked: {error}", where=name, tip="fetch the file again") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=name) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb"))


def _lines(path: Path, name: str) -> Iterator[Numbered]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, _mapping(_parsed(text, f"{name}:{number}"), f"{name}:{number}")


def _document(path: Path, name: str) -> Iterator[Numbered]:
    with _open(path) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):  # JSON lines under another name
        yield from _lines(path, name)
        return
    with _open(path) as file:
        data = _parsed(file.read().removeprefix(b"\xef\xbb\xbf"), name)
    if not isinstance(data, list):
        raise DataError("holds no list of rows", where=name)
    for number, row in enumerate(data, start=1):
        yield number, _mapping(row, f"{name}:{number}")


def _table(path: Path, name: str) -> Iterator[Numbered]:
    csv.field_size_limit(sys.maxsize)
    with _open(path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            header = reader.fieldnames or ()
            if len(set(header)) < len(header):
                doubled = next(column for column in header if header.count(column) > 1)
                raise DataError(f"has two columns `{doubled}`", where=name, tip="rename one of them")
            for row in reader:
                if None in row or None in row.values():
                    problem = "more" if None in row else "fewer"
                    raise DataError(f"has {problem} fields than the header", where=f"{name}:{reader.line_num}")
                yield reader.line_num, dict(row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"cannot be read: {error}", where=f"{name}:{reader.line_num + 1}") from None


def _columns(path: Path, name: str) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False) as file:  # a page at a time, not a row group
            for field in file.schema_arrow:
                if not _is_json(field.type):
                    message = f"column `{field.name}` holds `{field.type}`, which is no JSON"
                    raise DataError(message, where=name, tip="convert it to text or numbers first")
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise DataError(f"is no readable parquet: {error}", where=name) from None


def _is_json(type_: pa.DataType) -> bool:
    import pyarrow.types as kinds

    if kinds.is_struct(type_):
        return all(_is_json(type_.field(i).type) for i in range(type_.num_fields))
    if (
        kinds.is_list(type_)
        or kinds.is_large_list(type_)
        or kinds.is_fixed_size_list(type_)
        or kinds.is_dictionary(type_)
    ):
        return _is_json(type_.value_type)
    plain = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_boolean,
        kinds.is_integer,
        kinds.is_floating,
        kinds.is_null,
    )
    return any(test(type_) for test in plain)


def _parsed(text: bytes, where: str) -> Json:
    try:
        return cast(Json, orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise DataError(f"is no JSON: {error}", where=where) from None


def _mapping(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise DataError("is no JSON object", where=where, tip="a row is one object with its columns as keys")
    return value


_READERS: dict[str, Callable[[Path, str], Iterator[Numbered]]] = {
    "jsonl": _lines,
    "json": _document,
    "csv": _table,
    "parquet": _columns,
}
