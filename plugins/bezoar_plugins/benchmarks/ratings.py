"""The mean of ratings from 1 to 10, with what it leaves out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from bezoar_core.records import Sample, Score
from bezoar_core.types import Json
from bezoar_plugins.benchmarks.bootstrap import interval

WORST, BEST = 1.0, 10.0
MISSING = ("unparsed", "refused", "failed")


def rating_score(
    model: str, metric: str, samples: Sequence[Sample], rng: random.Random, part: Mapping[str, Json]
) -> Score:
    """Return the mean of the ratings there are, its 95 % interval over questions, and the missing ones by outcome.

    `data` has `part`, the means were every missing rating a 1 (`worst`) or a 10 (`best`), and how many answers were cut
    off or empty.
    """
    from statistics import fmean

    by_question: dict[str, list[float]] = {}
    for sample in samples:
        if sample.value is not None:
            by_question.setdefault(str(sample.data["question_id"]), []).append(sample.value)
    ratings = [rating for group in by_question.values() for rating in group]
    outcomes = Counter(str(sample.outcome) for sample in samples)
    missing = {outcome: outcomes[outcome] for outcome in MISSING}
    lost = sum(missing.values())
    bounds = interval(list(by_question.values()), rng)
    data: dict[str, Json] = {
        **part,
        "cut_answers": sum(sample.data.get("finish") == "length" for sample in samples),
        "empty_answers": sum(not str(sample.data.get("answer", "-")).strip() for sample in samples),
    }
    if samples:
        data |= {name: fmean([*ratings, *[bound] * lost]) for name, bound in (("worst", WORST), ("best", BEST))}
    return Score(
        model=model,
        task="mt-bench",
        metric=metric,
        value=fmean(ratings) if ratings else None,
        n=len(ratings),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        missing=missing,
        data=data,
    )
