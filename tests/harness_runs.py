"""The harness through our benchmark on the tiny random model, and task folders of the test's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from local_models import TINY, local_model

from bezoar_core.draw import KeyedDraw
from bezoar_core.interfaces import Ask
from bezoar_core.records import ModelDir, Sample, Score, Subject
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import ModelRef
from bezoar_plugins.benchmarks.lm_eval import LmEval

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
TASKS = ROOT / "examples" / "tasks"
BOTH = ("bezoar_sort_mc", "bezoar_copy_gen")


def tiny_model() -> ModelDir:
    """Return the tiny random model."""
    return local_model(TINY)


def benchmark(**fields: Any) -> LmEval:  # noqa: ANN401 - any field
    return LmEval(**{"models": (ModelRef("tiny"),), "tasks": BOTH, "include_path": str(TASKS), "limit": 12, **fields})


async def collected(source: AsyncIterator[T]) -> list[T]:
    return [one async for one in source]


async def measured(bench: LmEval, model: ModelDir, out: Path) -> list[Sample]:
    out.mkdir(parents=True, exist_ok=True)
    ask = ScriptedAsk(lambda request: "never")
    subject = Subject(name="tiny", ref=ModelRef("tiny"), model=model)
    samples = await collected(bench.measure(subject, ask, KeyedDraw(7), out))
    assert not ask.requests
    return samples


async def asked(bench: LmEval, ask: Ask, out: Path) -> list[Sample]:
    """Measure a model without a folder."""
    out.mkdir(parents=True, exist_ok=True)
    subject = Subject(name="api", ref=ModelRef("api"))
    return await collected(bench.measure(subject, ask, KeyedDraw(7), out))


async def compared(bench: LmEval, samples: list[Sample], out: Path) -> dict[tuple[str, str], Score]:
    scores = await collected(bench.compare({"tiny": samples}, ScriptedAsk(lambda request: ""), KeyedDraw(7), out))
    return {(score.task, score.metric): score for score in scores if isinstance(score, Score)}


def documents(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if "aggregate" not in sample.data]


def write_tasks(folder: Path, tasks: Mapping[str, str], rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    loader = "import json\nfrom pathlib import Path\n\n\ndef load(**_ignored):\n    from datasets import Dataset\n\n"
    loader += '    rows = json.loads((Path(__file__).parent / "rows.json").read_text())\n'
    loader += '    data = Dataset.from_list(rows)\n    return {"test": data, "train": data}\n'
    (folder / "own_rows.py").write_text(loader)
    (folder / "rows.json").write_text(json.dumps(rows))
    for name, text in tasks.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


CHOICE = """
task: {name}
custom_dataset: !function own_rows.load
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "{text}"
target_delimiter: "{delimiter}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
GROUP = """
group: own_group
task: [own_apart, own_joint]
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
"""
ROWS: list[dict[str, Any]] = [
    {"q": f"{a} and {b} are", "choices": [str(a + b), str(a * b + 11)], "answer": 0} for a in (2, 3) for b in (4, 9)
]


def own_tasks(folder: Path) -> Path:
    """Write two tasks of choices, of which one ends its question in a space, and their group."""
    tasks = {
        "own_apart": CHOICE.format(name="own_apart", text="{{q}}:", delimiter=" "),
        "own_joint": CHOICE.format(name="own_joint", text="{{q}} ", delimiter=""),
        "own_group": GROUP,
    }
    return write_tasks(folder, tasks, ROWS)
