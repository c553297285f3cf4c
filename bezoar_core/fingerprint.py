"""What a step's output depends on, as one hash: config with a meaning, prompts, seed, and the content of its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from bezoar_core.fields import for_comparison, meaning, references
from bezoar_core.formats import DEFAULT_FORMAT
from bezoar_core.graph import Node, loads, own_references
from bezoar_core.plugins import prompts_of
from bezoar_core.references import item_datasets
from bezoar_core.registry import JudgeEntry, ModelEntry, Registry
from bezoar_core.sources import Sources, parse
from bezoar_core.store import Artifact
from bezoar_core.types import BenchmarkRef, DatasetRef, Json, JudgeRef, ModelRef, Reference


@dataclass(frozen=True)
class Contents:
    """The content hashes a registry's names stand for; None for what is not there yet."""

    registry: Registry
    sources: Sources
    environ: Mapping[str, str]

    def source(self, text: str, kind: Literal["model", "dataset"] = "model") -> str | None:
        """Return the content id of a source, known without the network, or None."""
        return self.sources.identity(parse(text, kind))

    def dataset(self, name: str) -> str | None:
        """Return the hash of a dataset: its source's content and which rows of it."""
        entry = self.registry.datasets[name]
        content = self.source(entry.source, "dataset")
        if content is None:
            return None
        chosen = [content, entry.subset, entry.split, entry.files, entry.first, dict(sorted(entry.where.items()))]
        return digest(chosen)

    def model(self, name: str) -> str | None:
        """Return the hash of a model of the registry: weights and format, or an API's identity."""
        entry = self.registry.models[name]
        version: int = getattr(type(entry.settings), "version", 1)
        parts: list[Json] = [
            f"{entry.client} {version}",
            entry.format,
            meaning(entry.settings, self.registry.root, self.environ),
        ]
        if entry.source is not None:
            content = self.source(entry.source)
            if content is None:
                return None
            parts.append(content)
        return digest(parts)

    def trained(self, made: Artifact) -> str:
        """Return the hash of a step's model that is asked: its content, and the settings it inherits from its base."""
        base = made.manifest.model.get("base")
        name = base.get("name") if isinstance(base, dict) else None
        entry = self.registry.models.get(str(name))
        if entry is None or entry.client != "transformers" or not entry.fields:
            return made.content
        return digest([made.content, meaning(entry.settings, self.registry.root, self.environ)])

    def trainable(self, entry: ModelEntry) -> str | None:
        """Return the hash of a model as a start for training: its client's settings do not matter."""
        content = self.source(entry.source) if entry.source else None
        return None if content is None else digest([content, entry.format or DEFAULT_FORMAT])


def digest(value: object) -> str:
    """Return the sha256 of a JSON value in canonical form."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def input_contents(node: Node, contents: Contents, artifacts: Mapping[str, Artifact]) -> dict[str, str] | None:
    """Return the content hash of every input by `field:name`, or None while one is missing."""
    found: dict[str, str] = {}
    registry = contents.registry
    for field, ref in own_references(node):
        content = _content(field, ref, node, contents, artifacts)
        if content is None:
            return None
        found[f"{field}:{ref.name}"] = content
    if node.part == "measure" and node.subject:
        subject = ModelRef(node.subject)
        content = _content("models", subject, node, contents, artifacts)
        if content is None:
            return None
        found[f"models:{node.subject}"] = content
    if node.part == "compare":
        for need in node.needs:
            if "@" not in need or registry.steps.get(need):
                continue
            if need not in artifacts:
                return None
            found[f"samples:{need}"] = artifacts[need].content
    return found


def _content(
    field: str, ref: Reference, node: Node, contents: Contents, artifacts: Mapping[str, Artifact]
) -> str | None:
    registry = contents.registry
    if isinstance(ref, JudgeRef):
        return _judge(registry.judges[ref.name], contents, artifacts)
    if isinstance(ref, BenchmarkRef):
        return _items(ref, contents, artifacts)
    loaded = loads(registry, node)
    if ref.name in registry.steps:
        return _made(ref, contents, artifacts, asked=not loaded)
    if isinstance(ref, DatasetRef):
        return contents.dataset(ref.name)
    return contents.trainable(registry.models[ref.name]) if loaded else contents.model(ref.name)


def _made(ref: Reference, contents: Contents, artifacts: Mapping[str, Artifact], *, asked: bool) -> str | None:
    made = artifacts.get(ref.name)
    if made is None:
        return None
    return contents.trained(made) if asked and isinstance(ref, ModelRef) else made.content


def _items(ref: BenchmarkRef, contents: Contents, artifacts: Mapping[str, Artifact]) -> str | None:
    """Return the hash of what a benchmark asks: its configuration but for models and judges, and its datasets."""
    registry = contents.registry
    step = registry.steps[ref.name]
    config = meaning(step.plugin, registry.root, contents.environ)
    for field in for_comparison(type(step.plugin)):
        config.pop(field, None)
    for field, inner in references(step.plugin):
        if isinstance(inner, ModelRef | JudgeRef):
            config.pop(field, None)
    parts: list[Json] = [step.owned.name, step.owned.version, config]
    for dataset in item_datasets(registry, ref):
        if dataset.name in registry.steps:
            content = artifacts[dataset.name].content if dataset.name in artifacts else None
        else:
            content = contents.dataset(dataset.name)
        if content is None:
            return None
        parts.append(content)
    return digest(parts)


def _judge(judge: JudgeEntry, contents: Contents, artifacts: Mapping[str, Artifact]) -> str | None:
    parts: list[Json] = [
        judge.owned.name,
        judge.owned.version,
        meaning(judge.plugin, contents.registry.root, contents.environ),
        [prompt.digest for prompt in prompts_of(judge.owned.cls)],
    ]
    for _, ref in references(judge.plugin):
        if ref.name in contents.registry.steps:
            content = _made(ref, contents, artifacts, asked=True)
        elif isinstance(ref, DatasetRef):
            content = contents.dataset(ref.name)
        else:
            content = contents.model(ref.name)
        if content is None:
            return None
        parts.append(content)
    return digest(parts)


def fingerprint(node: Node, registry: Registry, inputs: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the node's fingerprint: changing anything that can change its output changes it."""
    step = node.step
    return digest(
        {
            "plugin": [step.owned.kind, step.owned.name, step.owned.version],
            "part": [node.part, node.subject],
            "config": _config(node, registry.root, environ),
            "prompts": [prompt.digest for prompt in prompts_of(step.owned.cls)],
            "seed": seed_of(node, registry),
            "on_error": step.on_error,
            "inputs": dict(inputs),
        }
    )


def _config(node: Node, root: Path, environ: Mapping[str, str]) -> dict[str, Json]:
    config = meaning(node.step.plugin, root, environ)
    if node.part == "measure":
        # adding a model to a benchmark measures that model only
        left_out = for_comparison(type(node.step.plugin)) | {"models"}
        return {name: value for name, value in config.items() if name not in left_out}
    return config


def seed_of(node: Node, registry: Registry) -> int:
    """Return the step's seed: its own, or one made of the registry's seed and the step's name."""
    if node.step.seed is not None:
        return node.step.seed
    return int.from_bytes(hashlib.sha256(f"{registry.seed}:{node.step.name}".encode()).digest()[:4], "big") >> 1
