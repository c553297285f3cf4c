"""How far a judge of ratings agrees with people: answers that a person rated too."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bezoar_core.errors import DataError, nearest
from bezoar_core.records import Row, Sample, Score
from bezoar_core.types import Json
from bezoar_plugins.benchmarks.ratings import BEST, MISSING, WORST
from bezoar_plugins.fastchat_files import Question

METRIC = "judge_agreement"
RATING = "golden_rating"
"""The metric of the samples: what the judge says of an answer that a person rated."""
DRAWS = 1_000


@dataclass(frozen=True, kw_only=True)
class GoldenAnswer:
    """An answer, with those before it, and a person's rating of it."""

    question: Question
    answers: tuple[str, ...]
    rating: float

    @property
    def turn(self) -> int:
        """Return which turn of the question was answered."""
        return len(self.answers)


def read_golden(rows: Iterable[Row], name: str, questions: Sequence[Question]) -> tuple[GoldenAnswer, ...]:
    """Return the rated answers; raise `DataError` with the place of a row that is none.

    A row has `question_id`, `turn` (1 or 2), `answer` and `rating`; one of turn 2 also `first_answer`.
    """
    known = {str(question.id): question for question in questions}
    found: list[GoldenAnswer] = []
    for number, row in enumerate(rows, start=1):
        where = str(getattr(row, "place", f"{name}:{number}"))
        question, turn, rating = known.get(str(row.get("question_id"))), row.get("turn", 1), row.get("rating")
        if question is None:
            tip = nearest(str(row.get("question_id")), list(known))
            raise DataError(f"`question_id` {row.get('question_id')} is none of the questions", where=where, tip=tip)
        if turn not in range(1, len(question.turns) + 1):
            raise DataError(f"`turn` is a number from 1 to {len(question.turns)}, not {turn!r}", where=where)
        if isinstance(rating, bool) or not isinstance(rating, int | float) or not WORST <= rating <= BEST:
            raise DataError(f"`rating` is a number from {WORST:g} to {BEST:g}, not {rating!r}", where=where)
        columns = ("answer",) if turn == 1 else ("first_answer", "answer")
        texts = tuple(text for column in columns if isinstance(text := row.get(column), str))
        if len(texts) < len(columns):
            raise DataError(f"a rated answer to turn {turn} has a text in {' and '.join(columns)}", where=where)
        found.append(GoldenAnswer(question=question, answers=texts, rating=float(rating)))
    return tuple(found)


def agreement_score(judge: str, samples: Sequence[Sample], rng: random.Random) -> Score:
    """Return Cohen's kappa with quadratic weights (10.1037/h0026256) between judge and people, and a 95 % interval.

    The interval is a percentile bootstrap's over answers. Kappa is None where judge and people each give one rating
    throughout; draws like that are left out. `data` has the share of equal ratings, the mean of how far the judge is
    above people, and how many of its ratings were compared. 1 is full agreement, 0 as much as by chance.
    """
    from statistics import fmean

    pairs = [(s.value, float(str(s.data["human_rating"]))) for s in samples if s.value is not None]
    outcomes = Counter(str(sample.outcome) for sample in samples)
    low, high = _interval(pairs, rng)
    data: dict[str, Json] = {"statistic": "Cohen's kappa, quadratic weights", "people": len(samples)}
    if pairs:
        data |= {
            "same_rating": fmean(given == human for given, human in pairs),
            "judge_above_people": fmean(given - human for given, human in pairs),
        }
        data["notes"] = [f"rates {data['judge_above_people']:+.2f} against people on average"]
    return Score(
        model=judge,
        task="mt-bench",
        metric=METRIC,
        value=_kappa(pairs),
        n=len(pairs),
        low=low,
        high=high,
        missing={outcome: outcomes[outcome] for outcome in MISSING},
        data=data,
    )


def _kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the weighted kappa; ratings count in tenths, which leaves quadratic weights what they are."""
    from sklearn.metrics import cohen_kappa_score

    given, human = ([round(10 * pair[side]) for pair in pairs] for side in (0, 1))
    if len({*given}) < 2 and len({*human}) < 2:
        return None
    labels = list(range(min(*given, *human), max(*given, *human) + 1))
    return float(cohen_kappa_score(given, human, labels=labels, weights="quadratic"))


def _interval(pairs: Sequence[tuple[float, float]], rng: random.Random) -> tuple[float | None, float | None]:
    import numpy as np

    drawn = [_kappa(rng.choices(pairs, k=len(pairs))) for _ in range(DRAWS)] if len(pairs) > 1 else []
    found = [kappa for kappa in drawn if kappa is not None]
    if not found:
        return None, None
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def golden_sample(answer: GoldenAnswer, number: int, sample: Sample) -> Sample:
    """Return the judge's grade of a rated answer as a sample of the comparison."""
    data: Mapping[str, Json] = {**sample.data, "human_rating": answer.rating}
    return Sample(
        item=f"golden/{number}",
        metric=RATING,
        outcome=sample.outcome,
        value=sample.value,
        category=sample.category,
        data=data,
    )
