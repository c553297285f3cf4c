"""LM Eval Harness: any of its tasks, or a folder of one's own, on a model's folder."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from bezoar_core.errors import BezoarError
from bezoar_core.hookspecs import hookimpl
from bezoar_core.interfaces import Ask, Benchmark, Draw
from bezoar_core.records import Difference, Item, Sample, Score, Subject
from bezoar_core.types import ForComparison, LocalPath, ModelRef, NonEmptyStr, NonNegativeInt, PositiveInt
from bezoar_plugins.benchmarks.bootstrap import interval
from bezoar_plugins.benchmarks.differences import check_pairs, chosen_pairs, differences
from bezoar_plugins.benchmarks.harness_figures import Documents, document_values, tables
from bezoar_plugins.benchmarks.harness_results import (
    Evaluated,
    aggregate_samples,
    document_samples,
    evaluated,
    results_file,
)
from bezoar_plugins.benchmarks.harness_tasks import WHERE, documents, leaves, load, task_manager

_HALF_WIDTH = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True, kw_only=True)
class LmEval:
    """Run tasks of EleutherAI's LM Evaluation Harness (10.5281/zenodo.12608602) in process, as its command would.

    Prompts, tokenisation (context and continuation jointly), metrics and standard errors are the harness's own. Ours:
    no reply is cached, and each task says for how many requests the ids differ from separately tokenised segments, the
    form in which our stages train.
    """

    name: ClassVar[str] = "lm-eval"
    version: ClassVar[int] = 2
    loads_models: ClassVar[bool] = True
    requires: ClassVar[Mapping[str, str]] = dict.fromkeys(("lm_eval", "scipy", "statsmodels"), "bezoar[eval]")

    models: tuple[ModelRef, ...]
    """Measured."""
    tasks: tuple[NonEmptyStr, ...]
    """Names of tasks, groups or tags."""
    include_path: LocalPath | None = None
    """A folder of task YAMLs; the harness's own tasks are read only for a name that it lacks."""
    shots: NonNegativeInt | Mapping[str, NonNegativeInt] | None = None
    """Examples before each question, for all or by the names in `tasks`; None: as each task says."""
    limit: PositiveInt | None = None
    """The first so many documents of each task; None: all."""
    batch_size: PositiveInt = 8
    """Scores compare only at one batch size and dtype."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights."""
    apply_chat_template: bool = False
    """Ask through the model's chat template, examples as turns."""
    random_seeds: tuple[int, int, int, int] = (0, 1234, 1234, 1234)
    """Of Python, numpy, torch and the draw of examples, as the command's `--seed`."""
    pairs: Annotated[tuple[tuple[NonEmptyStr, NonEmptyStr], ...] | None, ForComparison()] = None
    """Of `models`, told apart on the same documents; None: each and the next one, and the first and the last."""

    def __post_init__(self) -> None:
        check_pairs(self.pairs, [model.name for model in self.models])

    def items(self) -> Iterable[Item]:
        """Yield each document's question and right answer."""
        for task in leaves(load(task_manager(self.include_path, self.tasks), self.tasks, self._shots)):
            yield from documents(task, self.limit)

    async def measure(self, model: Subject, ask: Ask, draw: Draw, out: Path) -> AsyncIterator[Sample]:
        """Yield one sample a document and metric, then one a task or group and metric; write `results.json`."""
        if model.model is None:
            tip = "the harness reads weights: name models with a `source`, or the outputs of stages"
            raise BezoarError(f"model `{model.name}` has no folder to load", where=WHERE, tip=tip)
        from asyncio import to_thread

        found = await to_thread(self._evaluated, model.model.path)  # the step goes on telling that it lives
        (out / "results.json").write_text(results_file(found, model.name), encoding="utf-8")
        for task, rows in found.rows.items():
            for sample in document_samples(task, rows):
                yield sample
        for sample in aggregate_samples(found):
            yield sample

    async def compare(
        self, samples: Mapping[str, Sequence[Sample]], ask: Ask, draw: Draw, out: Path
    ) -> AsyncIterator[Score | Difference]:
        """Yield each model's figure of each task or group and metric, and how far the models of each pair differ.

        A figure's interval is that of the harness's standard error; without one a bootstrap's, as `data` then says. A
        figure that is not the mean over its documents has no difference, as its `data` says.
        """
        means = {model: document_values(found) for model, found in samples.items()}
        for model, found in samples.items():
            for sample in found:
                if sample.data.get("aggregate"):
                    yield _score(model, sample, means[model].get((sample.item, sample.metric)), draw)
        pairs = chosen_pairs(self.pairs, [model.name for model in self.models], WHERE)
        for difference in differences(tables(samples, means), pairs, draw):
            yield difference

    @property
    def _shots(self) -> Mapping[str, int]:
        if self.shots is None:
            return {}
        return self.shots if isinstance(self.shots, Mapping) else dict.fromkeys(self.tasks, self.shots)

    def _evaluated(self, path: Path) -> Evaluated:
        # A pool forked beside torch's threads can hang; the harness draws the same without one.
        os.environ.setdefault("DISABLE_MULTIPROC", "1")
        import torch
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        manager = task_manager(self.include_path, self.tasks)
        tasks = load(manager, self.tasks, self._shots)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        harness = HFLM(pretrained=str(path.resolve()), device=device, dtype=self.dtype, batch_size=self.batch_size)
        python, numpy, pytorch, examples = self.random_seeds
        found = simple_evaluate(
            model=harness,
            tasks=tasks,
            task_manager=manager,
            batch_size=self.batch_size,
            device=device,
            limit=self.limit,
            apply_chat_template=self.apply_chat_template,
            fewshot_as_multiturn=self.apply_chat_template,
            random_seed=python,
            numpy_random_seed=numpy,
            torch_random_seed=pytorch,
            fewshot_random_seed=examples,
        )
        return evaluated(found, harness)


def _score(model: str, sample: Sample, values: Documents | None, draw: Draw) -> Score:
    error, count = sample.data["stderr"], sample.data["n"]
    data = {key: value for key, value in sample.data.items() if key not in ("aggregate", "n")}
    bounds = None
    if sample.value is not None and isinstance(error, int | float) and isfinite(error):
        bounds = sample.value - _HALF_WIDTH * error, sample.value + _HALF_WIDTH * error
    elif values is not None:
        bounds = interval([[value] for value in values.values()], draw("interval", model, sample.item, sample.metric))
        data["interval"] = "bootstrap over documents"
    if values is None:
        data["no_difference"] = "the figure is not the mean over its documents"
    return Score(
        model=model,
        task=sample.item,
        metric=sample.metric,
        value=sample.value,
        n=count if isinstance(count, int) else 0,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        data=data,
    )


@hookimpl
def bezoar_benchmarks() -> Sequence[type[Benchmark]]:
    """Return the LM Evaluation Harness."""
    return [LmEval]
