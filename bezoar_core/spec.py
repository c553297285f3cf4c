"""The work order of one node, as JSON: all a process needs, wherever it runs. It holds no secret's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bezoar_core.store import Input, write_json
from bezoar_core.types import Json


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model a node asks or reads; `chain` holds the steps and adapters since `source`, None where one was not LoRA.

    `content` stands for the weights in the ledger's keys; `artifact` is the folder of the step that trained it.
    """

    name: str
    client: str
    fields: Mapping[str, Json]
    keys: Mapping[str, Json]
    format: str
    content: str
    source: str | None = None
    artifact: str | None = None
    base: Mapping[str, Json] = field(default_factory=dict)
    chain: list[dict[str, str]] | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Rows a node reads: a step's parquet file, or a dataset's keys."""

    name: str
    content: str
    parquet: str | None = None
    keys: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """A judge a node asks."""

    name: str
    use: str
    fields: Mapping[str, Json]
    version: int
    prompts: list[Json]


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One node's work order; paths are absolute. `read` says whether another node reads its output."""

    node: str
    step: str
    kind: str
    part: str
    use: str
    fields: Mapping[str, Json]
    config: Mapping[str, Json]
    seed: int
    on_error: float
    fingerprint: str
    root: str
    state: str
    run: str
    budget: float | None
    processes: int = 1
    accelerate_config: str | None = None
    subject: str | None = None
    read: bool = True
    inputs: list[Input] = field(default_factory=list)
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    judges: Mapping[str, JudgeSpec] = field(default_factory=dict)
    benchmarks: Mapping[str, JudgeSpec] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def write_spec(path: Path, spec: StepSpec) -> None:
    """Write the order to `path`, its mappings in the registry's order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, spec, sort=False)


def read_spec(path: Path) -> StepSpec:
    """Read an order that `write_spec` wrote."""
    data = orjson.loads(path.read_bytes())
    return StepSpec(
        **{
            **data,
            "inputs": [Input(**entry) for entry in data["inputs"]],
            "models": {name: ModelSpec(**entry) for name, entry in data["models"].items()},
            "datasets": {name: DatasetSpec(**entry) for name, entry in data["datasets"].items()},
            "judges": {name: JudgeSpec(**entry) for name, entry in data["judges"].items()},
            "benchmarks": {name: JudgeSpec(**entry) for name, entry in data["benchmarks"].items()},
        }
    )
