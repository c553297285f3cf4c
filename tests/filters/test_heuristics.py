"""Each rule on both sides of its limit, what is said of it, and which comes first."""

from __future__ import annotations

from typing import Any

import pytest
from filter_runs import decisions, drops

from bezoar_core.records import Keep
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters.boilerplate import BOILERPLATE, phrase_in
from bezoar_plugins.filters.heuristics import Heuristics, letters, repeated, unfinished


def heuristics(**rules: Any) -> Heuristics:  # noqa: ANN401 - whatever fields there are
    return Heuristics(**{"data": DatasetRef("made"), "columns": ("text",), **rules})


@pytest.mark.parametrize(
    ("rules", "fine", "bad", "reason", "detail"),
    [
        (
            {"min_words": 3},
            "One two three",
            "One, two!",
            "too_few_words",
            "`text` has 2 words, and `min_words` is 3",
        ),
        ({"min_words": 1}, "x", " ?! ", "too_few_words", "`text` has 0 words, and `min_words` is 1"),
        ({"max_words": 2}, "One two", "a b c", "too_many_words", "`text` has 3 words, and `max_words` is 2"),
        ({"min_letters": 0.5}, "ab 12", "ab 123", "few_letters", "`text` has 0.400 letters, and `min_letters` is 0.5"),
        (
            {"max_repeated_lines": 0.25},
            "a\nb\n\nc\n a ",
            "a\nb\n\n a",
            "repeated_lines",
            "`text` repeats 0.333 of its lines, and `max_repeated_lines` is 0.25",
        ),
        (
            {"max_repeated_trigrams": 0.2},
            "a b c d a b c",
            "a b c a b c",
            "repeated_trigrams",
            "`text` repeats 0.250 of its trigrams, and `max_repeated_trigrams` is 0.2",
        ),
        (
            {"no_boilerplate": True},
            "An AI said so.",
            "Well, as an AI Language Model, I know.",
            "boilerplate",
            "`text` says `as an AI`",
        ),
        ({"finished": True}, "It ends here", "It ends here,", "unfinished", "`text` ends with `,`"),
        ({"forbidden": ("Click Here",)}, "click, there", "CLICK 'here'!", "forbidden", "`text` says `Click Here`"),
    ],
)
async def test_a_rule_holds_at_its_limit_and_not_beyond(
    rules: dict[str, Any], fine: str, bad: str, reason: str, detail: str
) -> None:
    assert await drops(heuristics(**rules), [{"text": fine}, {"text": bad}]) == [None, (reason, detail)]


async def test_the_first_rule_of_the_first_column_is_the_reason_and_rows_are_not_changed() -> None:
    rows = [
        {"instruction": "Say as an AI,", "response": "x"},
        {"instruction": "Say it well", "response": "as an AI,"},
        {"instruction": "Say it well", "response": "It is well said", "n": 3},
    ]
    chosen = heuristics(columns=(), min_words=3, no_boilerplate=True, finished=True)
    assert [one and one[0] for one in await drops(chosen, rows)] == ["boilerplate", "boilerplate", None]
    found = await decisions(chosen, rows)
    assert [one.row for one in found] == rows and found[2] == Keep(rows[2])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "every rule is off: give one, such as `min_words: 3`"),
        ({"min_words": 3, "max_words": 2}, "no text has at least 3 and at most 2 words"),
        ({"forbidden": ("fine", "?!")}, "`forbidden` has '\\?!', which holds no word"),
    ],
)
def test_rules_that_make_no_sense_are_misuse(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heuristics(**rules)


@pytest.mark.parametrize("rules", [{"min_letters": 0.0}, {"max_repeated_lines": 0.0}, {"finished": True}])
def test_a_limit_of_zero_is_a_rule(rules: dict[str, Any]) -> None:
    heuristics(**rules)


def test_shares() -> None:
    assert letters("ab 1 é") == 0.75 and letters(" ") == 0
    assert repeated([]) == 0 and repeated(["a", "a", "a", "b"]) == 0.5


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Fine.", None),
        ("", None),
        ("no full stop", None),
        ("- one\n- two\n", None),
        ("such as:\n", "with `:`"),
        ("we think (", "with `(`"),
        ("stones and ", "with `and`"),
        ("The", "with `the`"),
        ("band", None),
        ("```py\nx = 1\n```", None),
        ("```py\nx = 1\n", "in a code fence"),
    ],
)
def test_an_end_in_the_middle(text: str, end: str | None) -> None:
    assert unfinished(text) == end


def test_phrases_are_found_by_whole_words() -> None:
    assert phrase_in("I'm sorry, but I can\u2019t do it", BOILERPLATE) == "I'm sorry, but I can't"
    assert phrase_in("has an aim", ("as an AI", "s an a")) is None
    assert len({tuple(phrase.split()) for phrase in BOILERPLATE}) == len(BOILERPLATE)
