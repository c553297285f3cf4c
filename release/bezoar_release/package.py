"""A release's folders: what the run made, copied or hard-linked, with card and record; whole or not there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from bezoar_core.errors import BezoarError
from bezoar_core.fields import path_content
from bezoar_core.store import PARTIAL, write_json
from bezoar_core.types import Json
from bezoar_release.history import History, involved
from bezoar_release.lineage import base, hub_id, hub_revision
from bezoar_release.record import inside, plain
from bezoar_release.settings import Target

CARRIED = (".safetensors", ".json", ".jinja", ".model", ".txt")
REQUIRED = ("config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja")
TOKENIZERS = ("tokenizer.json", "tokenizer.model")

# the tree of a release holds these and nothing else
_SUFFIXES = {*CARRIED, ".md", ".parquet"}
# where a saved file remembers the folder it was loaded from
_WHENCE = ("_name_or_path", "name_or_path")


@dataclass(frozen=True, kw_only=True)
class Package:
    """A packed folder: its files by relative path with their sizes, and what of the run was left out."""

    target: Target
    folder: Path
    files: Mapping[str, int]
    left_out: tuple[str, ...]


def pack(history: History, target: Target, version: str, card: str, folder: Path) -> Package:
    """Build `folder` anew and rename it into place; the same run packs to the same bytes."""
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    left_out = _model(history, target, partial) if target.kind == "model" else _dataset(history, target, partial)
    (partial / "README.md").write_text(card, encoding="utf-8")
    _write_record(history, target, version, partial)
    check_tree(partial, str(history.registry.root))
    if folder.exists():
        old = folder.with_name(folder.name + ".old" + PARTIAL)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old)
    else:
        partial.rename(folder)
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    return Package(target=target, folder=folder, files=files, left_out=tuple(left_out))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _model(history: History, target: Target, out: Path) -> list[str]:
    """Copy the merged model and, where every stage was LoRA, the adapter; return what was left behind."""
    step = target.step
    names = sorted(history.artifacts[step].manifest.files)
    left_out: list[str] = []
    for name in names:
        top, _, rest = name.partition("/")
        if top != "model":
            continue
        if "/" not in rest and rest.endswith(CARRIED):
            _carry(history.file(step, name), out / rest)
        else:
            left_out.append(name)
    missing = [name for name in REQUIRED if not (out / name).is_file()]
    if not any((out / name).is_file() for name in TOKENIZERS):
        missing.append(TOKENIZERS[0])
    if not any(out.glob("*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        raise BezoarError(f"the model of `{step}` lacks {listed}", where=str(history.folder(step) / "model"))
    for name in ("config.json", "tokenizer_config.json"):
        _forget_origin(out / name)
    source = adapter_folder(history, step)
    if source:
        (out / "adapter").mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            _carry(history.file(step, f"{source}/{name}"), out / "adapter" / name)
        _name_base(history, step, out / "adapter" / "adapter_config.json")
    return left_out


def adapter_folder(history: History, step: str) -> str | None:
    """Return the folder of the adapter that leads from the source's weights to the model of `step`, if there is one.

    A chain of several LoRA stages has no base on the Hub but the first: its adapters are released as one, concatenated.
    """
    files = history.artifacts[step].manifest.files
    adapters = plain(history.record(step)["model"])
    chain = adapters.get("adapters") if isinstance(adapters, dict) else None
    if not isinstance(chain, list):
        return None
    if "chain/adapter_config.json" in files:
        return "chain"
    if len(chain) == 1:
        return "adapter"
    raise BezoarError(
        f"`{step}` was trained by {len(chain)} adapters, and its artifact has no `chain/` with all of them",
        where=str(history.folder(step)),
    )


def _carry(source: Path, target: Path) -> None:
    """Hard-link large files and copy small ones, which a reader may edit; never load them."""
    if source.suffix in {".safetensors", ".parquet"}:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)


def _forget_origin(path: Path) -> None:
    """Remove the folder a config was loaded from: a path on this machine says nothing to others."""
    data = orjson.loads(path.read_bytes())
    if any(key in data for key in _WHENCE):
        write_json(path, {key: value for key, value in data.items() if key not in _WHENCE})


def _name_base(history: History, step: str, path: Path) -> None:
    """Name the adapter's base by its Hub repository; peft wrote the folder it was loaded from."""
    data = orjson.loads(path.read_bytes())
    name = base(history.registry, step)
    data["base_model_name_or_path"] = hub_id(history.registry, "models", name)
    data["revision"] = hub_revision(history.registry, "models", name)
    write_json(path, data)


def _dataset(history: History, target: Target, out: Path) -> list[str]:
    """Link the kept rows and, where there are any, the dropped ones."""
    for name, folder in row_files(history, target.step).items():
        (out / folder).mkdir()
        _carry(history.file(target.step, name), out / folder / "train-00000-of-00001.parquet")
    return []


def row_files(history: History, step: str) -> dict[str, str]:
    """Return the parquet files of a rows artifact that hold rows, and the folder of each in a release."""
    reasons = inside(history.record(step), "counts", "dropped")
    return {"rows.parquet": "data"} | ({"dropped.parquet": "dropped"} if len(reasons) else {})


def _write_record(history: History, target: Target, version: str, out: Path) -> None:
    """Write `bezoar.json`: what made this, and the sha256 of every other file."""
    data: dict[str, Json] = {
        "bezoar": 1,
        "name": target.name,
        "repo_id": target.repo_id,
        "kind": target.kind,
        "version": version,
        "licence": target.licence,
        "step": target.step,
        "files": {path.relative_to(out).as_posix(): path_content(path) for path in _files(out)},
        "lineage": [published(plain(history.record(name))) for name in involved(history.registry, target)],
    }
    write_json(out / "bezoar.json", data)


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
        if value.startswith("/"):
            return Path(value).name
        if colon and scheme in {"file", "random"} and path.startswith("/"):
            return f"{scheme}:{Path(path).name}"
    return value


def check_tree(folder: Path, root: str) -> None:
    """Raise if a file is of no kind that a release holds, is not as named, or names the project's own folder."""
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _SUFFIXES:
            raise BezoarError(f"`{name}` is no file that a release holds", where=str(folder))
        if not is_as_named(path):
            raise BezoarError(
                f"`{name}` is not what its name says: loading it could run code (a pickle) or fail", where=str(folder)
            )
        if path.suffix in {".json", ".jinja"} and root.encode() in path.read_bytes():
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


def readable(size: float) -> str:
    """Return a number of bytes to read, in powers of ten as the Hub shows them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
