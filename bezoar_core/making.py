"""What each kind of step does with its plugin: rows, a model or scores, in the folder that becomes the artifact."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from bezoar_core.binding import Workshop
from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import BezoarError, StepFailed
from bezoar_core.fields import references
from bezoar_core.interfaces import Ask, Benchmark, Filter, Log, Scheme, Stage, Summary
from bezoar_core.parquet import write_rows
from bezoar_core.records import (
    REQUEST_FAILED,
    Difference,
    Drop,
    Dropped,
    Keep,
    Kept,
    ModelDir,
    Row,
    RowsDir,
    Sample,
    Score,
    Subject,
)
from bezoar_core.rows import Rows, require
from bezoar_core.spec import StepSpec
from bezoar_core.spool import Spool
from bezoar_core.store import content_of, hash_files, read_manifest
from bezoar_core.types import DatasetRef, Json, ModelRef

_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE

Report = Callable[[Mapping[str, Json]], None]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a step left in its folder, for the manifest."""

    output: Mapping[str, Json]
    files: Mapping[str, str]
    counts: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, Json] = field(default_factory=dict)


async def make_rows(shop: Workshop, plugin: object, ask: Ask, out: Path, work: Path, report: Report) -> Made:
    """Run a scheme or a filter: `rows.parquet` and `dropped.parquet`, every row with its reason in one of them."""
    with closing(Spool(work / "kept.jsonl")) as kept, closing(Spool(work / "dropped.jsonl")) as dropped:
        inputs = _Inputs(shop, plugin, "seeds" if isinstance(plugin, Scheme) else "data")
        report({"wanted": plugin.count} if isinstance(plugin, Scheme) else {"total": inputs.rows})
        draw = KeyedDraw(shop.spec.seed)
        if isinstance(plugin, Scheme):
            count = plugin.count
            reasons = await _spooled(
                plugin.generate(inputs, ask, draw, lambda: max(0, count - len(kept))), kept, dropped, report
            )
        elif isinstance(plugin, Filter):
            reasons = await _spooled(plugin.decide(inputs, ask, draw), kept, dropped, report)
        else:
            raise BezoarError(f"`{shop.spec.use}` makes no rows")
        return _published(shop.spec, plugin, inputs.read, kept, dropped, reasons, out)


async def _spooled(
    outcomes: AsyncIterator[Kept | Dropped] | AsyncIterator[Keep | Drop], kept: Spool, dropped: Spool, report: Report
) -> Mapping[str, int]:
    """Take every outcome to the disk and return how many were dropped for each reason."""
    reasons: Counter[str] = Counter()
    async for outcome in outcomes:
        if isinstance(outcome, Kept | Keep):
            kept.append(outcome.row)
        else:
            dropped.append({**outcome.row, "drop_reason": outcome.reason, "drop_detail": outcome.detail})
            reasons[outcome.reason] += 1
        report({"kept": len(kept), "dropped": len(dropped)})
    return reasons


def _published(
    spec: StepSpec, plugin: object, read: int, kept: Spool, dropped: Spool, reasons: Mapping[str, int], out: Path
) -> Made:
    lost = (str(row["drop_detail"]) for row in dropped if row["drop_reason"] == REQUEST_FAILED)
    _bear(spec, "rows", reasons.get(REQUEST_FAILED, 0), len(kept) + len(dropped), lost)
    write_rows(out / "dropped.parquet", dropped, mixed=True)
    metrics = plugin.summarise(kept, Rows(lambda: _without_reason(dropped))) if isinstance(plugin, Summary) else {}
    if not kept and (spec.read or "labelled" not in metrics):
        tip = f"the rows and their reasons are in {os.path.relpath(out / 'dropped.parquet')}"
        raise StepFailed(_nothing(spec, reasons), where=f"steps.{spec.step}", tip=tip)
    write_rows(out / "rows.parquet", kept)
    files = hash_files(out)
    output: dict[str, Json] = {"kind": "rows", "content": files["rows.parquet"], "rows": len(kept)}
    counts: dict[str, Json] = {"read": read, "kept": len(kept), "dropped": dict(sorted(reasons.items()))}
    return Made(output=output, files=files, counts=counts, metrics=metrics)


class _Inputs(Iterable[Row]):
    """The rows a field names, one input after the other; may be gone through again. `read` is how far anybody went."""

    def __init__(self, shop: Workshop, plugin: object, name: str) -> None:
        self._shop = shop
        self._columns: frozenset[str] = getattr(plugin, "columns", frozenset())
        refs = [ref for found, ref in references(plugin) if found == name and isinstance(ref, DatasetRef)]
        self._sources = [(ref, _place(shop, ref.name)) for ref in refs]
        self.read = 0

    @property
    def rows(self) -> int | None:
        """Return how many rows there are, where that is known without reading them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = [self._shop.spec.datasets[ref.name].parquet for ref, _ in self._sources]
        with suppress(OSError, pa.ArrowException):  # whoever reads it says what is wrong
            return sum(pq.read_metadata(path).num_rows for path in found if path) if all(found) else None
        return None

    def __iter__(self) -> Iterator[Row]:
        number = 0
        for ref, place in self._sources:
            for row in require(ref.rows(), self._columns, place):
                number += 1
                self.read = max(self.read, number)
                yield row


def _place(shop: Workshop, name: str) -> str:
    """Name rows as a user knows them: a dataset by its file, a step by its name."""
    source = shop.spec.datasets[name].keys.get("source")
    return str(source).removeprefix("file:") if source else name


def _without_reason(dropped: Iterable[Row]) -> Iterator[Row]:
    for row in dropped:
        yield {name: value for name, value in row.items() if name not in ("drop_reason", "drop_detail")}


def _bear(spec: StepSpec, noun: str, failed: int, total: int, details: Iterator[str]) -> None:
    if failed > spec.on_error * max(total, 1):
        raise StepFailed(
            f"{failed} of {total} {noun} got no reply, and `on_error` bears {spec.on_error:.0%}: {next(details)}",
            where=f"steps.{spec.step}",
            tip="replies that came are in the ledger: run again to ask for the rest, or raise `on_error`",
        )


def _nothing(spec: StepSpec, reasons: Mapping[str, int]) -> str:
    listed = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    return f"`{spec.step}` kept no row ({listed or 'it was given none'})"


def train(shop: Workshop, plugin: Stage, out: Path, work: Path, log: Log) -> Made:
    """Run a stage; `model/` must be there afterwards, `adapter/` says that it was LoRA."""
    spec = shop.spec
    start, model, rows, heldout = _given(shop, plugin, work)
    metrics = plugin.train(model, rows, heldout, out, work, log, spec.seed)
    if not (out / "model" / "config.json").is_file():
        raise BezoarError(f"stage `{spec.use}` left no model in `model/`")
    form = getattr(plugin, "format", None) or model.format
    lora = (out / "adapter").is_dir() and model.adapters is not None
    steps: list[Json] = [a.step for a in model.adapters or ()]
    base = spec.models[start].base or {"name": start, **spec.models[start].keys, "source": spec.models[start].source}
    files = hash_files(out)
    weights = {name: digest for name, digest in files.items() if name.startswith("model/")}
    return Made(
        output={"kind": "model", "content": content_of(weights, [form])},
        files=files,
        counts={"kept": rows.count},
        metrics=metrics,
        model={"format": form, "base": dict(base), "adapters": [*steps, spec.step] if lora else None},
    )


def help_train(shop: Workshop, plugin: Stage, scratch: Path, work: Path) -> None:
    """Run a stage as one of its further processes, which leaves nothing: what it writes to `scratch` goes."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    _, model, rows, heldout = _given(shop, plugin, scratch)
    plugin.train(model, rows, heldout, scratch, work, lambda step, total, figures: None, shop.spec.seed)


def _given(shop: Workshop, plugin: Stage, work: Path) -> tuple[str, ModelDir, RowsDir, RowsDir | None]:
    start = next(ref.name for f, ref in references(plugin) if f == "model" and isinstance(ref, ModelRef))
    rows = _rows_dir(shop, plugin, "data", work)
    if rows is None:
        raise BezoarError(f"stage `{shop.spec.use}` has no field `data`")
    return start, shop.model_dir(shop.spec.models[start]), rows, _rows_dir(shop, plugin, "heldout", work)


def _rows_dir(shop: Workshop, plugin: object, name: str, work: Path) -> RowsDir | None:
    columns: frozenset[str] = getattr(plugin, "columns", frozenset())
    for found, ref in references(plugin):
        if found == name and isinstance(ref, DatasetRef):
            return shop.rows_dir(shop.spec.datasets[ref.name], work, columns, _place(shop, ref.name))
    return None


async def measure(shop: Workshop, plugin: Benchmark, ask: Ask, out: Path, report: Report) -> Made:
    """Measure one model: `samples.jsonl`, and whatever files the benchmark writes itself.

    Samples without a reply count against `on_error` as rows do: else a server that was down would be a lasting result.
    """
    spec = shop.spec
    name = str(spec.subject)
    described = spec.models[name]
    model = shop.model_dir(described) if described.source else None
    samples: list[Sample] = []
    async for sample in plugin.measure(Subject(name=name, ref=ModelRef(name), model=model), ask, _draw(spec), out):
        samples.append(sample)
        report({"samples": len(samples)})
    _bear_samples(spec, samples)
    return _samples(samples, out)


async def compare(shop: Workshop, plugin: Benchmark, ask: Ask, out: Path, report: Report) -> Made:
    """Compare the models measured: `scores.json`, `differences.json`, and the samples that only a comparison has."""
    spec = shop.spec
    measured = {name: read_samples(Path(path)) for name, path in spec.samples.items()}
    samples: list[Sample] = []
    scores: list[Score] = []
    differences: list[Difference] = []
    async for found in plugin.compare(measured, ask, _draw(spec), out):
        if isinstance(found, Score):
            scores.append(found)
        elif isinstance(found, Difference):
            differences.append(found)
        else:
            samples.append(found)
        report({"scores": len(scores), "samples": len(samples)})
    _bear_samples(spec, samples)
    for name, figures in (("scores", scores), ("differences", differences)):
        (out / f"{name}.json").write_bytes(orjson.dumps([asdict(figure) for figure in figures], option=_PRETTY))
    return _samples(samples, out)


def _bear_samples(spec: StepSpec, samples: Sequence[Sample]) -> None:
    failed = [sample.data for sample in samples if sample.outcome == "failed"]
    # a prompt over a model's context is a finding about the model: asking again would not help
    lost = [str(data.get("message", "")) for data in failed if data.get("kind") != "context"]
    _bear(spec, "samples", len(lost), len(samples), iter(lost))


def _draw(spec: StepSpec) -> KeyedDraw:
    return KeyedDraw(spec.seed)


def _samples(samples: Sequence[Sample], out: Path) -> Made:
    with (out / "samples.jsonl").open("wb") as file:
        for sample in samples:
            file.write(orjson.dumps(asdict(sample), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    files = hash_files(out)
    outcomes: dict[str, Json] = {}
    for sample in samples:
        before = outcomes.get(sample.outcome, 0)
        outcomes[sample.outcome] = (before if isinstance(before, int) else 0) + 1
    output: dict[str, Json] = {"kind": "scores", "content": content_of(files)}
    return Made(output=output, files=files, counts={"outcomes": outcomes})


def read_samples(path: Path) -> list[Sample]:
    """Read the samples of one measurement; raise `BezoarError` where they are not those that were measured."""
    manifest = read_manifest(path.parent)
    found = path.read_bytes() if path.is_file() else b""
    if manifest is None or hashlib.sha256(found).hexdigest() != manifest.files.get(path.name):
        raise BezoarError(
            f"`{path.name}` is gone, or not the file that was measured: its sha256 differs",
            where=os.path.relpath(path.parent),
            tip=f"remove the folder `{path.parent.name}` and run again: replies are in the ledger",
        )
    return [Sample(**orjson.loads(line)) for line in found.splitlines()]
