"""Merged weights that `bezoar gc --models` took: merged again from the model before and the adapter, to the byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bezoar_core.errors import StepFailed
from bezoar_core.interfaces import Rebuilding
from bezoar_core.plugins import Owned, Plugins
from bezoar_core.records import Adapter, ModelDir
from bezoar_core.store import PARTIAL, Manifest, hash_files, read_manifest

WEIGHTS = ".safetensors"


def weights(artifact: Path, manifest: Manifest) -> list[Path]:
    """Return the files of an artifact's merged weights."""
    names = [Path(name) for name in manifest.files]
    return [artifact / name for name in names if name.parts[0] == "model" and name.suffix == WEIGHTS]


def can_rebuild(manifest: Manifest, plugins: Plugins) -> bool:
    """Return whether a step's weights are a chain of adapters that its stage can merge again."""
    owned = _stage(manifest, plugins)
    return bool(manifest.model.get("adapters")) and owned is not None and issubclass(owned.cls, Rebuilding)


def rebuild(base: Path, chain: Sequence[Mapping[str, str]], plugins: Plugins) -> None:
    """Make the weights of the chain's last model again where they are gone, and those before that it takes.

    `chain` has `step` and adapter (`path`) of each, from the model of `base` on. Raises `StepFailed` where what comes
    out is not what was there, as on other hardware.
    """
    artifacts = [Path(link["path"]).parent for link in chain]
    there = len(artifacts)
    while there and any(_gone(artifacts[there - 1])):
        there -= 1
    for number in range(there, len(artifacts)):
        before = tuple(Adapter(step=link["step"], path=Path(link["path"])) for link in chain[:number])
        path = artifacts[number - 1] / "model" if number else base
        _merge(artifacts[number], path, base, before, plugins)


def _gone(artifact: Path) -> Iterator[Path]:
    manifest = read_manifest(artifact)
    return (path for path in (weights(artifact, manifest) if manifest else ()) if not path.is_file())


def _merge(artifact: Path, path: Path, base: Path, before: tuple[Adapter, ...], plugins: Plugins) -> None:
    manifest = read_manifest(artifact)
    owned = _stage(manifest, plugins) if manifest else None
    if manifest is None or owned is None or not issubclass(owned.cls, Rebuilding):
        return
    print(f"merging the weights of `{manifest.step}` again")
    start = ModelDir(name=manifest.step, path=path, format="", content="", base=base, adapters=before)
    made = artifact.with_name(f"{artifact.name}.{os.getpid()}{PARTIAL}")  # a step's processes may all be at it
    try:
        owned.cls.rebuild(start, artifact / "adapter", manifest.config, str(manifest.model["format"]), made)
        digests = hash_files(made)
        for file in _gone(artifact):
            name = file.relative_to(artifact / "model").as_posix()
            if digests.get(name) != manifest.files[f"model/{name}"]:
                raise StepFailed(
                    f"merging the adapter of `{manifest.step}` again gave other weights than before in `{name}`",
                    where=str(artifact),
                    tip=f"other hardware or packages do that: `bezoar run --rerun {manifest.step}` trains it again",
                )
            (made / name).rename(file)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _stage(manifest: Manifest, plugins: Plugins) -> Owned | None:
    return plugins.find(("stage",), str(manifest.plugin["name"])) if manifest.kind == "stage" else None
