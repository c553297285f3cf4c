"""The judged filter: columns, reasons, row order, the agreement with people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from scheme_runs import ScrambledAsk

from bezoar_core.draw import KeyedDraw
from bezoar_core.errors import BezoarError, BudgetSpent, DataError, RequestFailed
from bezoar_core.interfaces import Ask
from bezoar_core.labels import Answer, Label, add_labels, row_id
from bezoar_core.records import (
    REQUEST_FAILED,
    Completion,
    Drop,
    Item,
    Keep,
    Metrics,
    Request,
    Row,
    Scored,
    Verdict,
)
from bezoar_core.testing import Reply, ScriptedAsk
from bezoar_core.types import DatasetRef, JudgeRef, ModelRef
from bezoar_plugins.filters.judged import Judged, agreement, wilson
from bezoar_plugins.judges.human_proxy import HumanProxy

DATA = DatasetRef("lamini")


def judged(label: str | None = None, name: str = "proxy") -> Judged:
    return Judged(judge=JudgeRef(name, HumanProxy(model=ModelRef("gpt"))), data=DATA, label=label)


async def decide(judge: Judged, rows: Iterable[Row], ask: Ask) -> list[Keep | Drop]:
    return [decision async for decision in judge.decide(rows, ask, KeyedDraw(42))]


def by_answer(replies: dict[str, Reply]) -> ScriptedAsk:
    """Answer by the word that the judged response holds."""

    def answer(request: Request) -> Reply:
        return next(reply for word, reply in replies.items() if f"\n{word}\n" in request.messages[0].content)

    return ScriptedAsk(answer)


REPLIES: dict[str, Reply] = {
    "good": "Status: Accept\nRating: 9\nReason: Right.",
    "bad": "Status: Reject\nRating: 2\nReason: Wrong.",
    "odd": "It is fine, I think.",
    "shy": Completion(text="I would rather not.", finish="refused"),
    "gone": RequestFailed("the server is gone", kind="server"),
}
ROWS = [{"instruction": "Do it.", "response": word, "extra": n} for n, word in enumerate(REPLIES)]


async def test_only_accept_passes_and_every_other_outcome_has_its_reason() -> None:
    decisions = await decide(judged(), ROWS, by_answer(REPLIES))
    (good, *rest) = decisions
    assert good == Keep({**ROWS[0], "proxy_status": "Accept", "proxy_rating": 9, "proxy_reason": "Right."})
    assert [type(one) for one in rest] == [Drop] * 4
    reasons = [one.reason for one in rest if isinstance(one, Drop)]
    assert reasons == ["rejected", "judge_unparsed", "judge_refused", REQUEST_FAILED]
    columns = [(one.row["proxy_status"], one.row["proxy_rating"], one.row["proxy_reason"]) for one in rest]
    assert columns == [("Reject", 2, "Wrong."), ("Unparsed", None, ""), ("Refused", None, ""), ("Failed", None, "")]
    details = [one.detail for one in rest if isinstance(one, Drop)]
    assert details == [
        "",
        "no line with a status: It is fine, I think.",
        "I would rather not.",
        "server: the server is gone",
    ]
    assert [one.row["extra"] for one in decisions] == [0, 1, 2, 3, 4]


async def test_decisions_come_in_row_order_whatever_comes_first() -> None:
    rows = [{**row, "number": n} for n, row in enumerate(ROWS * 30)]
    straight = await decide(judged(), rows, by_answer(REPLIES))
    assert [one.row["number"] for one in straight] == list(range(150))
    for seed in range(3):
        assert await decide(judged(), rows, ScrambledAsk(by_answer(REPLIES), seed)) == straight


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"instruction": "Do it.", "response": "Done."}, ("Do it.", "Done.")),
        ({"instruction": "Do it.", "context": "A stone.", "response": "Done."}, ("Do it.\n\nA stone.", "Done.")),
        ({"instruction": "Do it.", "system": "Be kind.", "response": "Done."}, ("Be kind.\n\nDo it.", "Done.")),
        ({"inputs": "Do it.", "explained_targets": "Done.", "system_message": ""}, ("Do it.", "Done.")),
        (
            {"inputs": "Do it.", "explained_targets": "Done.", "system_message": "Be kind."},
            ("Be kind.\n\nDo it.", "Done."),
        ),
    ],
)
async def test_the_judge_sees_the_row_by_its_shape(row: Row, shown: tuple[str, str]) -> None:
    ask = ScriptedAsk(lambda request: "Status: Accept\nRating: 9")
    await decide(judged(), [row], ask)
    text = ask.requests[0][1].messages[0].content
    for part in shown:
        assert f"]\n{part}\n[end of" in text


@pytest.mark.parametrize(
    ("row", "label", "message"),
    [
        ({"instruction": "Do it."}, None, "lamini:row 2: nothing to judge in this row"),
        ({"chosen": "a", "rejected": "b"}, None, "it needs `instruction` and `response`"),
        ({"instruction": "a", "response": "b", "label": "maybe"}, "label", "lamini:row 2: `label` holds 'maybe'"),
        ({"instruction": "a", "response": "b", "label": ""}, "label", "a label is `accept` or `reject`"),
        ({"instruction": "a", "response": "b"}, "label", "lamini:row 2: row has no column `label`"),
    ],
)
async def test_a_row_that_cannot_be_judged_is_an_error_with_its_number(
    row: Row, label: str | None, message: str
) -> None:
    ask = ScriptedAsk(lambda request: "Status: Accept\nRating: 9")
    fine = {"instruction": "a", "response": "b", "label": "Reject "}
    with pytest.raises(DataError) as error:
        await decide(judged(label), [fine, row], ask)
    assert message in str(error.value)
    assert ask.requests == [], "nothing is asked before every row was looked at"


async def test_a_judge_that_does_not_accept_or_reject_is_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Scorer:
        async def judge(self, item: Item, ask: Ask) -> Verdict:
            return Scored(value=7.0, data={"rating": 7.0}, reply="[[7]]")

    scorer = Judged(judge=JudgeRef("mt", Scorer()), data=DATA)
    with pytest.raises(BezoarError, match="judge `mt` neither accepts nor rejects"):
        await decide(scorer, ROWS, ScriptedAsk(lambda request: ""))


async def test_a_spent_budget_is_not_swallowed() -> None:
    def answer(request: Request) -> Reply:
        raise BudgetSpent("the budget is spent")

    with pytest.raises(BudgetSpent):
        await decide(judged(), ROWS, ScriptedAsk(answer))


async def test_the_summary_counts_every_outcome() -> None:
    decisions = await decide(judged(), ROWS * 2, by_answer(REPLIES))
    figures = summarise(judged(), decisions)
    assert figures == {"rows": 10, "accept": 2, "reject": 2, "unparsed": 2, "refused": 2, "failed": 2}


def summarise(judge: Judged, decisions: Sequence[Keep | Drop]) -> Metrics:
    kept = [one.row for one in decisions if isinstance(one, Keep)]
    return judge.summarise(kept, [one.row for one in decisions if isinstance(one, Drop)])


async def test_the_summary_says_how_far_the_judge_agrees_with_people() -> None:
    labels = ["accept"] * 4 + ["reject"] * 4
    answers = ["good", "good", "good", "bad", "bad", "bad", "good", "odd"]
    rows = [{"instruction": "a", "response": b, "label": c} for b, c in zip(answers, labels, strict=True)]
    figures = summarise(judged("label"), await decide(judged("label"), rows, by_answer(REPLIES)))
    assert figures["labelled"] == 7 and figures["unparsed"] == 1
    assert figures["agreement"] == pytest.approx(5 / 7)
    assert figures["chance"] == pytest.approx(4 / 7 * 4 / 7 + 3 / 7 * 3 / 7)
    assert figures["kappa"] == pytest.approx((5 / 7 - 25 / 49) / (1 - 25 / 49))


def test_kappa_is_that_of_a_worked_example() -> None:
    # Two readers and 50 proposals: both yes 20, both no 15, 5 and 10 otherwise; agreement 0.7, chance 0.5, kappa 0.4.
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    figures = agreement(pairs)
    assert figures["agreement"] == pytest.approx(0.7) and figures["chance"] == pytest.approx(0.5)
    assert figures["kappa"] == pytest.approx(0.4)
    spread = 1.959964 * (0.7 * 0.3 / 50) ** 0.5 / 0.5
    assert figures["kappa_low"] == pytest.approx(0.4 - spread) and figures["kappa_high"] == pytest.approx(0.4 + spread)


def test_a_judge_that_says_the_same_to_all_is_at_chance() -> None:
    figures = agreement([(n % 2 == 0, True) for n in range(40)])
    assert figures["agreement"] == figures["chance"] == 0.5 and figures["kappa"] == 0
    assert figures["kappa_low"] < -0.2 and figures["kappa_high"] > 0.2
    assert "kappa" not in agreement([(True, True)] * 9) and agreement([(True, True)] * 9)["agreement"] == 1
    assert agreement([]) == {"labelled": 0}


def test_the_interval_is_wilsons() -> None:
    assert wilson(0.5, 40) == pytest.approx((0.3520, 0.6480), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_the_forecast_is_a_request_a_row() -> None:
    forecast = judged().forecast(24)
    assert forecast is not None and forecast.requests == (24, 24)
    assert judged().forecast(None) is None


def with_labels(tmp_path: Path, *labels: Label) -> Judged:
    path = tmp_path / "labels.jsonl"
    add_labels(path, labels)
    return replace(judged(), labels=str(path))


def said(number: int, label: Answer, author: str = "ada", note: str = "") -> Label:
    step = judged()
    return Label(row=row_id(step.shown(ROWS[number]) or {}), label=label, author=author, time="now", note=note)


async def test_what_people_say_decides_and_the_judges_columns_stay(tmp_path: Path) -> None:
    labels = (said(0, "reject", note="too short"), said(1, "accept"), said(2, "accept"), said(4, "reject"))
    step = with_labels(tmp_path, *labels)
    good, bad, odd, shy, gone = await decide(step, ROWS, by_answer(REPLIES))
    before = await decide(judged(), ROWS, by_answer(REPLIES))
    for now, then in zip((good, bad, odd, shy, gone), before, strict=True):
        assert {**now.row, **then.row} == now.row and set(now.row) - set(then.row) == {"label", "label_author"}
    assert isinstance(good, Drop) and (good.reason, good.detail) == ("rejected_by_person", "too short")
    assert isinstance(bad, Keep) and isinstance(odd, Keep)
    assert isinstance(shy, Drop) and (shy.reason, shy.row["label"]) == ("judge_refused", None)
    assert isinstance(gone, Drop) and (gone.reason, gone.row["label_author"]) == ("rejected_by_person", "ada")
    figures = summarise(step, [good, bad, odd, shy, gone])
    assert (figures["accept"], figures["reject"], figures["labelled"]) == (1, 1, 2), "the judge's own verdicts"
    assert figures["agreement"] == 0 and figures["overruled"] == 3


async def test_a_row_on_which_people_are_divided_stays_the_judges(tmp_path: Path) -> None:
    step = with_labels(tmp_path, said(0, "reject"), said(0, "accept", "bob"))
    good = (await decide(step, ROWS[:1], by_answer(REPLIES)))[0]
    assert isinstance(good, Keep) and good.row["label"] is None
    assert summarise(step, [good])["labelled"] == 0


async def test_a_label_outlives_other_columns_and_the_shapes_of_a_mix(tmp_path: Path) -> None:
    """A file with rows of several shapes has every column in every row."""
    step = with_labels(tmp_path, said(1, "accept"))
    orca = {"inputs": "Do it.", "explained_targets": "good", "system_message": ""}
    columns = dict.fromkeys([*orca, *ROWS[1], "more"])
    decisions = await decide(step, [{**columns, **ROWS[1], "extra": 7}, {**columns, **orca}], by_answer(REPLIES))
    assert [one.row["label"] for one in decisions] == ["accept", None]
    assert all(isinstance(one, Keep) for one in decisions)


async def test_a_column_that_labels_would_write_over_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lamini:row 1: row has a column `label_author` already"):
        await decide(with_labels(tmp_path), [{**ROWS[0], "label_author": "x"}], by_answer(REPLIES))
    with pytest.raises(ValueError, match="`label` and `labels` exclude one another"):
        replace(judged("label"), labels="labels.jsonl")
