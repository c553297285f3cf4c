"""Models that FastChat measured: their answers and ratings, read from its data folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bezoar_core.errors import DataError
from bezoar_core.interfaces import Draw
from bezoar_core.records import Row, Sample, Score
from bezoar_core.rows import PlacedRow, read_rows
from bezoar_core.types import Json
from bezoar_plugins.benchmarks.pairing import Answers, Asked
from bezoar_plugins.benchmarks.parts import parts, within
from bezoar_plugins.benchmarks.ratings import BEST, WORST, rating_score
from bezoar_plugins.fastchat_files import ERROR, read_references

NOTE = "read from `outside`: not comparable with the ratings of another judge"
KNOWN = ("worst", "best", "spread", "same_rating", "graded_again")
"""What can be said of ratings from outside; of the answers themselves nothing is."""

Turn = tuple[str, int]
"""A question's id, as text, and the number of the turn."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What a FastChat folder holds: answers by model, and the rows of each turn's ratings by judge and model."""

    answers: Mapping[str, Answers] = field(default_factory=dict)
    ratings: Mapping[tuple[str, str], Mapping[Turn, Sequence[Row]]] = field(default_factory=dict)


def read_outside(folder: Path, ours: Collection[str]) -> Outside:
    """Read `model_answer/*.jsonl` and `model_judgment/*_single.jsonl`; raise `DataError` with file and line.

    A model is named by its file of answers and in each rating; none may bear a name of `ours`.
    """
    answers: dict[str, Answers] = {}
    ratings: dict[tuple[str, str], dict[Turn, list[Row]]] = {}
    for path in sorted(folder.glob("model_answer/*.jsonl")):
        answers[path.stem] = _answers(read_rows(path), str(path))
        _refuse(path.stem, ours, str(path))
    for path in sorted(folder.glob("model_judgment/*_single.jsonl")):
        for row in read_rows(path):
            judge, model = _judge(row), _text(row, "model")
            _refuse(model, ours, row.place)
            turns = ratings.setdefault((judge, model), {})
            turns.setdefault((str(_id(row)), _turn(row)), []).append({**row, "score": _score(row)})
    if not answers and not ratings:
        message = "holds no file of answers or ratings"
        tip = "FastChat's are `model_answer/*.jsonl` and `model_judgment/*_single.jsonl`"
        raise DataError(message, where=str(folder), tip=tip)
    return Outside(answers=answers, ratings=ratings)


def outside_scores(outside: Outside, questions: Sequence[Asked], draw: Draw) -> Iterator[Score]:
    """Yield each model's means over the `questions` that ours were asked; a rating that is not there is not scored.

    A turn that was rated several times, as FastChat does when it is run again, counts by the mean. The judge is in the
    name of the task, since ratings of two judges cannot be compared. `data` says that they are from
    `outside` and how many turns were never rated (`unrated`, counted as failed).
    """
    for (judge, model), rows in outside.ratings.items():
        samples = [
            _rating(question, turn, row)
            for question in questions
            for turn in range(1, len(question.turns) + 1)
            for row in rows.get((str(question.id), turn), [None])
        ]
        for metric, part in parts("rating", ((s.data["turn"], s.category) for s in samples)):
            chosen = [s for s in samples if within((s.data["turn"], s.category), part)]
            score = rating_score(model, metric, chosen, draw("bootstrap", "outside", judge, model, metric), part)
            told = {key: score.data[key] for key in KNOWN if key in score.data}
            unrated = sum("unrated" in sample.data for sample in chosen)
            data: dict[str, Json] = {
                **part,
                **told,
                "outside": True,
                "judge": judge,
                "unrated": unrated,
                "notes": [NOTE],
            }
            yield replace(score, task=f"mt-bench (judge {judge})", data=data)


def _rating(question: Asked, turn: int, row: Row | None) -> Sample:
    score = row["score"] if row else None
    value = score if isinstance(score, float) and WORST <= score <= BEST else None
    lost = row is None or row.get("judgment") == ERROR
    data: dict[str, Json] = {"question_id": question.id, "turn": turn}
    return Sample(
        item=f"{question.id}/{turn}",
        metric="rating",
        outcome="scored" if value is not None else "failed" if lost else "unparsed",
        value=value,
        category=question.category,
        data=data if row else {**data, "unrated": True},
    )


def _answers(rows: Iterable[Row], name: str) -> Answers:
    found = read_references(rows, name)
    return {key: turns[: turns.index(ERROR)] if ERROR in turns else turns for key, turns in found.items()}


def _refuse(model: str, ours: Collection[str], where: str) -> None:
    if model in ours:
        tip = "rename one: an answer file, and `model` in the ratings"
        raise DataError(f"model `{model}` is also one of `models`", where=where, tip=tip)


def _judge(row: PlacedRow) -> str:
    judge = row.get("judge")
    name = judge[0] if isinstance(judge, list) and judge else None
    if not isinstance(name, str):
        raise DataError("a rating has a list `judge` of name and prompt, this row has none", where=row.place)
    return name


def _text(row: PlacedRow, name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        raise DataError(f"a rating has a text `{name}`, this row has none", where=row.place)
    return text


def _id(row: PlacedRow) -> int | str:
    found = row.get("question_id")
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise DataError("a rating has a number or text `question_id`, this row has none", where=row.place)
    return found


def _turn(row: PlacedRow) -> int:
    turn = row.get("turn")
    if isinstance(turn, bool) or turn not in (1, 2) or not isinstance(turn, int):
        raise DataError("a rating has a `turn`, 1 or 2, this row has none", where=row.place)
    return turn


def _score(row: PlacedRow) -> float:
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DataError("a rating has a number `score`, this row has none", where=row.place)
    return float(score)
