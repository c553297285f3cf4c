"""The mean of ratings from 1 to 10, with what it leaves out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bezoar_core.records import Sample, Score
from bezoar_core.types import Json
from bezoar_plugins.benchmarks.bootstrap import interval
from bezoar_plugins.benchmarks.loops import loops

WORST, BEST = 1.0, 10.0
_WORDS = {
    "empty_answers": "answers empty",
    "looping_answers": "answers in a loop",
    "cut_answers": "answers cut off",
    "over_context": "prompts over the context",
    "doubtful_references": "graded against a doubtful reference",
}
MISSING = ("unparsed", "refused", "failed")


def rating_score(
    model: str, metric: str, samples: Sequence[Sample], rng: random.Random, part: Mapping[str, Json]
) -> Score:
    """Return the mean of the ratings there are, its 95 % interval over questions, and the missing ones by outcome.

    A sample is one grade; an answer that was graded several times counts by the mean of its ratings. `data` has `part`,
    the means were every missing rating a 1 (`worst`) or a 10 (`best`), how many answers were cut off, empty, in a loop
    or not given since the prompt exceeded the context, and how many were graded against a doubtful reference. Of
    repeated grades it has the `spread` (the mean over answers of the ratings' standard deviation) and the share of
    answers with the `same_rating` every time. `notes` says in words what of this is not 0.
    """
    from statistics import fmean

    grades = _by_answer(samples)
    by_question: dict[str, list[float]] = {}
    for (question, _), rating in answer_ratings(samples).items():
        by_question.setdefault(question, []).append(rating)
    means = [mean for group in by_question.values() for mean in group]
    outcomes = Counter(str(sample.outcome) for sample in samples)
    bounds = interval(list(by_question.values()), rng)
    odd, spread = _oddities([found[0] for found in grades.values()]), _spread(grades)
    data: dict[str, Json] = {**part, **odd, **spread, "notes": [*_notes(odd, spread)]}
    if samples:
        data |= {
            name: fmean(fmean(bound if s.value is None else s.value for s in found) for found in grades.values())
            for name, bound in (("worst", WORST), ("best", BEST))
        }
    if judges := sorted({str(sample.data["judge_model"]) for sample in samples if sample.data.get("judge_model")}):
        data["judge_models"] = [*judges]
    return Score(
        model=model,
        task="mt-bench",
        metric=metric,
        value=fmean(means) if means else None,
        n=outcomes["scored"],
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        missing={outcome: outcomes[outcome] for outcome in MISSING},
        data=data,
    )


def answer_ratings(samples: Iterable[Sample]) -> Mapping[tuple[str, str], float]:
    """Return the rating of each answer that has one, by question and turn: the mean of its grades."""
    from statistics import fmean

    grades = {key: [s.value for s in found if s.value is not None] for key, found in _by_answer(samples).items()}
    return {key: fmean(values) for key, values in grades.items() if values}


def _by_answer(samples: Iterable[Sample]) -> Mapping[tuple[str, str], Sequence[Sample]]:
    """Return the grades of each answer, by question and turn."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((str(sample.data["question_id"]), str(sample.data["turn"])), []).append(sample)
    return found


def _notes(odd: Mapping[str, int], spread: Mapping[str, float]) -> Iterator[str]:
    for name, words in _WORDS.items():
        if odd[name]:
            yield f"{odd[name]} {words}"
    if spread:
        same = f"{spread['same_rating']:.0%} of answers rated the same every time"
        yield f"{same}, standard deviation {spread['spread']:.2f} on average"


def _oddities(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "cut_answers": sum(sample.data.get("finish") == "length" for sample in samples),
        "empty_answers": sum(not str(sample.data.get("answer", "-")).strip() for sample in samples),
        "looping_answers": sum(loops(str(sample.data.get("answer", ""))) for sample in samples),
        "over_context": sum(
            sample.data.get("stage") == "answer" and sample.data.get("kind") == "context" for sample in samples
        ),
        "doubtful_references": sum("doubtful_reference" in sample.data for sample in samples),
    }


def _spread(grades: Mapping[tuple[str, str], Sequence[Sample]]) -> dict[str, float]:
    from statistics import fmean, stdev

    repeated = [[s.value for s in found if s.value is not None] for found in grades.values() if len(found) > 1]
    compared = [ratings for ratings in repeated if len(ratings) > 1]
    if not compared:
        return {}
    return {
        "spread": fmean(map(stdev, compared)),
        "same_rating": fmean(len(set(ratings)) == 1 for ratings in compared),
        "graded_again": len(compared),
    }
