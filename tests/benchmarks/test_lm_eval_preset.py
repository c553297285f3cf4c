"""The leaderboard's preset, on tasks of the test's own that bear the names of its six."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_runs import CHOICE, benchmark, compared, measured, tiny_model, write_tasks

from bezoar_plugins.benchmarks.harness_tasks import task_manager
from bezoar_plugins.benchmarks.leaderboard import HEADLINES, SHOTS
from bezoar_plugins.benchmarks.lm_eval import LmEval

PRESET = "open-llm-leaderboard-v1"
ROWS = [{"q": f"{a} and {b} are", "choices": [str(a + b), "no"], "answer": 0} for a in range(6) for b in range(6)]
GSM8K = """
task: gsm8k
custom_dataset: !function own_rows.load
test_split: test
fewshot_split: train
output_type: generate_until
doc_to_text: "{{q}}:"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: strict-match, filter: [{function: regex, regex_pattern: "#### ([0-9]+)"}, {function: take_first}]}
  - {name: flexible-extract, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}
"""
MMLU = """
group: mmlu
task: [mmlu_one, mmlu_two]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
NAMES = ("arc_challenge", "hellaswag", "mmlu_one", "mmlu_two", "truthfulqa_mc2", "winogrande", "own_task")


@pytest.fixture
def six(tmp_path: Path) -> str:
    tasks = {name: CHOICE.format(name=name, text="{{q}}:", delimiter=" ") for name in NAMES}
    for name in ("arc_challenge", "hellaswag"):
        tasks[name] = tasks[name].replace(
            "metric_list: [{metric: acc, ", "metric_list: [{metric: acc_norm}, {metric: acc, "
        )
    return str(write_tasks(tmp_path / "six", {**tasks, "gsm8k": GSM8K, "mmlu": MMLU}, ROWS))


async def test_tasks_examples_headlines_and_average(six: str, tmp_path: Path) -> None:
    bench = benchmark(tasks=("own_task",), shots=1, preset=PRESET, include_path=six, limit=3)
    scores = await compared(bench, await measured(bench, tiny_model(), tmp_path), tmp_path)
    headlines = {task: metric for (task, metric), score in scores.items() if score.data.get("headline")}
    assert headlines == {**HEADLINES, PRESET: "average"}
    assert scores["gsm8k", "exact_match,flexible-extract"].data["headline"] is False
    assert scores["arc_challenge", "acc"].data["headline"] is False
    assert all("headline" not in scores[task, "acc"].data for task in ("mmlu_one", "own_task"))
    shots = {task: score.data["shots"] for (task, _), score in scores.items() if task not in ("mmlu", PRESET)}
    own = {"own_task": 1, "mmlu_one": 5, "mmlu_two": 5}
    assert shots == {**{task: number for task, number in SHOTS.items() if task != "mmlu"}, **own}
    found = [scores[task, metric] for task, metric in HEADLINES.items()]
    mean = scores[PRESET, "average"]
    assert mean.value == pytest.approx(sum(score.value or 0 for score in found) / 6) and mean.n == 6
    squares = sum(float(str(score.data["stderr"])) ** 2 for score in found)
    assert mean.low == pytest.approx((mean.value or 0) - 1.959963984540054 * squares**0.5 / 6)


def test_the_presets_tasks_are_its_own() -> None:
    assert [item for item in SHOTS] == [*HEADLINES]
    with pytest.raises(ValueError, match="`gsm8k` belongs to the preset: leave it out of `tasks`"):
        benchmark(preset=PRESET, tasks=("gsm8k",))
    with pytest.raises(ValueError, match="`shots` is given for `mmlu`, which the preset gives 5"):
        benchmark(preset=PRESET, shots={"mmlu": 0})
    with pytest.raises(
        ValueError, match="`tasks` is empty: name tasks of the harness or of `include_path`, or a `preset`"
    ):
        LmEval(models=())


@pytest.mark.slow  # the harness reads the YAML of its 14,000 tasks
def test_the_harness_has_the_six_with_their_metrics() -> None:
    index = task_manager(None, tuple(SHOTS)).task_index
    for task, headline in HEADLINES.items():
        metric, _, used = headline.partition(",")
        config = index[task].cfg or {}
        listed = config["aggregate_metric_list"] if task == "mmlu" else config["metric_list"]
        assert metric in [one["metric"] for one in listed]
        assert not used or used in [one["name"] for one in config["filter_list"]]
