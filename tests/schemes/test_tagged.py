"""Tags in a reply, seeds, flaws: the small rules that the schemes share."""

from __future__ import annotations

import pytest

from bezoar_core.prompts import Prompt
from bezoar_core.records import Completion, FinishReason
from bezoar_plugins.schemes.dolly import dolly_text, token_count
from bezoar_plugins.schemes.features import features
from bezoar_plugins.schemes.flaws import contains, gist, gist_hash, leaks, reply_flaw, seed_flaw, text_flaw
from bezoar_plugins.schemes.stop_words import is_contentless
from bezoar_plugins.schemes.tagged import Tagged, tagged

OPEN, CLOSE = "<example>", "</example>"


@pytest.mark.parametrize(
    ("text", "finish", "prefill", "stop", "expected"),
    [
        ("<example>a</example>", "stop", "", (), [("a", None)]),
        ("Sure!\n<example>a</example> and\n<example> b </example>.", "stop", "", (), [("a", None), ("b", None)]),
        ("1. <example>1. a</example>\n2. <example>22) b</example>", "stop", "", (), [("a", None), ("b", None)]),
        ("a</example>\n<example>b</example>", "stop", OPEN, (), [("a", None), ("b", None)]),
        ("a", "stop", OPEN, (CLOSE, "\n"), [("a", None)]),
        ("a", "stop", OPEN, (), [("a", "unclosed_tag")]),
        ("a", "length", OPEN, (CLOSE,), [("a", "truncated")]),
        ("<example>a<example>b</example>", "stop", "", (), [("a", "unclosed_tag"), ("b", None)]),
        ("<example>a<example>b", "stop", "", (CLOSE,), [("a", "unclosed_tag"), ("b", None)]),
        ("<example>a</example><example>b", "length", "", (), [("a", None), ("b", "truncated")]),
        ("a</example> and so on, at length", "length", OPEN, (), [("a", None)]),
        ("", "stop", OPEN, (CLOSE,), [("", None)]),
        ("no tag at all </example>", "stop", "", (), []),
    ],
)
def test_texts_between_tags(
    text: str, finish: FinishReason, prefill: str, stop: tuple[str, ...], expected: list[tuple[str, str | None]]
) -> None:
    found = tagged(Completion(text=text, finish=finish), "example", prefill=prefill, stop=stop)
    assert found == [Tagged(*pair) for pair in expected]


def test_a_context_follows_after_a_blank_line() -> None:
    assert dolly_text({"instruction": " What is it? ", "context": " A stone. "}) == "What is it?\n\nA stone."
    assert dolly_text({"instruction": "What is it?", "context": " "}) == "What is it?"
    assert dolly_text({"instruction": "What is it?"}) == "What is it?"
    assert dolly_text({"instruction": "", "context": "A stone."}) == ""
    assert dolly_text({"instruction": 7, "context": None}) == ""


def test_seeds_are_empty_or_too_long_or_fit() -> None:
    assert seed_flaw("", 10) == "empty_seed"
    assert seed_flaw("a b c d", 4) is None and seed_flaw("a, b", 4) is None
    assert seed_flaw("a b c d e", 4) == "seed_too_long"
    assert token_count("\u65e5" * 8) == 6 and token_count("Well, no!") == 4


def test_texts_have_one_flaw_or_none() -> None:
    assert text_flaw("", markers=(), least=0, most=5) == "empty"
    assert text_flaw("Rewritten Prompt: x", markers=("rewritten prompt",), least=0, most=5) == "marker"
    assert text_flaw("one two", markers=(), least=3, most=5) == "too_short"
    assert text_flaw("1 2 3 4 5 6", markers=(), least=3, most=5) == "too_long"
    assert text_flaw("one two, three!", markers=(), least=3, most=3) is None


def test_replies_have_one_flaw_or_none() -> None:
    assert reply_flaw(Completion(text="I won't", finish="refused"), keep_truncated=True) == "refused"
    assert reply_flaw(Completion(text="", finish="filtered"), keep_truncated=True) == "filtered"
    assert reply_flaw(Completion(text="a", finish="length"), keep_truncated=False) == "truncated"
    assert reply_flaw(Completion(text="a", finish="length"), keep_truncated=True) is None
    assert reply_flaw(Completion(text=" \n"), keep_truncated=False) == "empty_response"
    assert reply_flaw(Completion(text="a"), keep_truncated=False) is None


def test_texts_are_compared_by_their_words() -> None:
    assert gist("  What IS it? ") == gist("what is it") == "what is it"
    assert gist("?!") == "?!"
    assert gist_hash("  What IS it? ") == gist_hash("what is it") != gist_hash("what it is")
    assert gist_hash("what is it") == 7677075733594816571, "the same in every process"
    assert contains("Say: what is it?", "What is it") and not contains("what isn", "what is")
    assert not contains("what is it", "")


def test_five_words_of_a_template_are_a_leak_and_what_fills_a_slot_is_none() -> None:
    prompt = Prompt("bezoar_plugins.schemes", "prompts/lamini/similar.txt")
    assert leaks("Now, write one: Examples of instructions that people give!", prompt)
    assert not leaks("Examples of instructions that help.", prompt)
    assert not leaks("Name the largest lake of each continent and its depth.", prompt)


def test_stop_words_alone_say_nothing() -> None:
    assert is_contentless("Well, it is what it is... and so on!")
    assert is_contentless("?!")
    assert not is_contentless("It is Oslo.")


def test_features_are_needed_only_where_they_are_used() -> None:
    assert features("", ()) == frozenset()
    assert features("<example>", ()) == {"prefill"}
    assert features("", (), ("\n",)) == {"stop"}
    assert features("x", ("y",)) == {"prefill", "stop"}
