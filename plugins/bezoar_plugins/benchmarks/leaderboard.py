"""The first Open LLM Leaderboard's six tasks, the examples it gave and the one figure of each that it showed."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from bezoar_core.records import Sample

NAME = "open-llm-leaderboard-v1"

SHOTS = {"arc_challenge": 25, "hellaswag": 10, "mmlu": 5, "truthfulqa_mc2": 0, "winogrande": 5, "gsm8k": 5}

HEADLINES = {
    "arc_challenge": "acc_norm",
    "hellaswag": "acc_norm",
    "mmlu": "acc",
    "truthfulqa_mc2": "acc",
    "winogrande": "acc",
    "gsm8k": "exact_match,strict-match",
}
"""By task: its metric as `harness_results.label` names it, of 0 to 1."""


def average(aggregates: Iterable[Sample]) -> Sample | None:
    """Return the mean over the six headline figures, or None where one is missing.

    It is the leaderboard's, but for MMLU: that took the mean over its 57 subjects, the harness weighs them by size.
    """
    found = {sample.item: sample for sample in aggregates if HEADLINES.get(sample.item) == sample.metric}
    values = [sample.value for sample in found.values() if sample.value is not None]
    if len(values) < len(HEADLINES):
        return None
    errors = [sample.data["stderr"] for sample in found.values()]
    known = [error for error in errors if isinstance(error, int | float)]
    return Sample(
        item=NAME,
        metric="average",
        outcome="scored",
        value=sum(values) / len(values),
        category=NAME,
        data={
            "aggregate": True,
            "headline": True,
            "n": len(values),
            "stderr": sqrt(sum(error**2 for error in known)) / len(values) if len(known) == len(values) else None,
            "higher_is_better": True,
        },
    )
