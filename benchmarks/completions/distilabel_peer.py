"""distilabel: a local `Pipeline` of the prompts and one `TextGeneration` over its `OpenAILLM`.

A step sends one batch at a time, all of it at once, and has no rate limit: requests in flight are `input_batch_size`.
The loader hands over everything in one batch, which is quicker than many; raw copies of inputs and outputs are off,
as the result drops them. A second replica of the step, which its guide offers for speed, cost a third more CPU and
won no time where tried: there is one. Nothing is answered from the cache (`use_cache=False`), but every batch is
written to the folder, as always. It fetches citations from the network where `bs4` is installed: it is not here.

There is no warm-up: each run of a pipeline starts processes of its own, which no earlier run can warm (tried: no
gain). So the clock holds their start, too, and the fixed waits: 2.5 s between looks at whether the steps have loaded,
0.5 s at whether they have ended. CPU is that of all these processes, memory that of the largest.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from measured import Clock, Task, task


def run(given: Task) -> None:
    os.environ.update(
        HF_HOME=given.folder,
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        DISTILABEL_LOG_LEVEL="WARNING",
    )
    for name in ("openai", "distilabel.models", "distilabel.pipeline", "distilabel.steps.tasks"):
        importlib.import_module(name)  # before the clock: the processes are forks of this one
    with redirect_stdout(sys.stderr):
        clock = Clock()
        answered = _ask(given, given.prompts)
    clock.stop(answered)


def _ask(given: Task, prompts: Sequence[str]) -> int:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration
    from pydantic import SecretStr

    with Pipeline(name="bench", cache_dir=given.folder) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in prompts], batch_size=len(prompts))
        generate = TextGeneration(
            llm=OpenAILLM(
                model="bench",
                base_url=given.url,
                api_key=SecretStr("none"),
                generation_kwargs={"max_new_tokens": 64, "temperature": 0.0},
            ),
            input_batch_size=given.in_flight,
            add_raw_input=False,
            add_raw_output=False,
        )
        load.connect(generate)
    rows = pipeline.run(use_cache=False)["default"]["train"]
    return sum(1 for text in rows["generation"] if text)


if __name__ == "__main__":
    run(task())
