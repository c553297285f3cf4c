from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bezoar_core.records import Message
from bezoar_plugins.stages.hh import Pair, Unusable, pair, transcript

EXAMPLES = Path(__file__).parents[2] / "examples"

OPENING = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: How are you?\n\nAssistant:"


def test_a_pair_is_split_at_the_last_answer() -> None:
    assert pair(f"{OPENING} Well, thanks.", f"{OPENING} None of your business.") == Pair(
        (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "How are you?")),
        "Well, thanks.",
        "None of your business.",
    )


def test_a_colon_or_a_name_inside_a_turn_is_no_turn() -> None:
    text = "\n\nHuman: Who said\nHuman: this?\n\nAssistant: Nobody. Assistant: is a mark, Human: too."
    assert transcript(text) == (
        Message("user", "Who said\nHuman: this?"),
        Message("assistant", "Nobody. Assistant: is a mark, Human: too."),
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Hello there", "\n\nHuman: a\n\nAssistant: b", "not_a_transcript"),
        ("", "\n\nHuman: a\n\nAssistant: b", "not_a_transcript"),
        ("\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nAssistant: b\n\nAssistant: c", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "\n\nHuman: a\n\nAssistant: b", "no_answer"),
        ("\n\nHuman:\n\nAssistant: b", "\n\nHuman:\n\nAssistant: c", "empty_turn"),
        ("\n\nHuman: a\n\nAssistant: ", "\n\nHuman: a\n\nAssistant: b", "empty_answer"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant:\n", "empty_answer"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: A\n\nAssistant: c", "different_prompts"),
        (f"{OPENING} b", "\n\nHuman: Hi\n\nAssistant: c", "different_prompts"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "same_answers"),
    ],
)
def test_what_cannot_be_trained_on_is_set_aside_with_its_reason(chosen: str, rejected: str, reason: str) -> None:
    found = pair(chosen, rejected)
    assert isinstance(found, Unusable)
    assert found.reason == reason


def test_the_detail_says_which_of_the_two_and_which_turn() -> None:
    found = pair("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nHuman: c\n\nAssistant: b")
    assert found == Unusable("turns_do_not_alternate", "rejected: turn 2 is `Human:`, not `Assistant:`")


def test_our_own_seeds_are_pairs_but_for_the_broken_ones() -> None:
    rows = [json.loads(line) for line in (EXAMPLES / "hh.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [pair(row["chosen"], row["rejected"]) for row in rows]
    reasons = Counter(one.reason for one in found if isinstance(one, Unusable))
    assert sum(reasons.values()) == 2, reasons
    assert sum(isinstance(one, Pair) and len(one.prompt) > 1 for one in found) >= 6
