"""Words, n-grams and Jaccard by example; the index against brute force."""

from __future__ import annotations

import subprocess
import sys

import pytest
from near_texts import similarities, texts

from bezoar_plugins.near_duplicates import PERMUTATIONS, Seen, bands, bigrams, grams, jaccard, suspects, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('  Say "Hello",\n\tWORLD! ', ["say", "hello", "world"]),
        ("2 + 2 = 4 (not 5).", ["2", "+", "2", "=", "4", "not", "5"]),
        ("x[0] -= 1", ["x", "0", "-=", "1"]),
        ("STRASSE Straße “quoted”", ["strasse", "strasse", "quoted"]),
        ("?!", []),
        ("", []),
    ],
)
def test_words_are_folded_and_rid_of_the_punctuation_of_prose(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_grams_are_runs_and_short_texts_are_one() -> None:
    assert grams(["a", "b", "c", "d"], 3) == ["a b c", "b c d"]
    assert grams(["a", "b"], 3) == ["a b"] and grams([], 3) == []
    assert bigrams("a b a b") == ["a b", "b a", "a b"] and bigrams("Yes.") == ["yes"]


def test_jaccard_counts_distinct_members() -> None:
    assert jaccard(["a", "a", "b"], ["b", "c"]) == pytest.approx(1 / 3)
    assert jaccard([], []) == jaccard(["a"], []) == 0
    assert jaccard(["a", "b"], ["b", "a", "a"]) == 1


def test_the_nearest_is_the_most_similar_and_the_first_of_equals() -> None:
    seen = Seen(0.5)
    for text in ("one two three four five", "One two three four!", "one two three four"):
        seen.add(text)
    assert len(seen) == 3
    assert seen.nearest("one, two, three, four") == (1, 1.0)
    assert seen.nearest("one two three four five six") == (0, 0.8)
    assert seen.nearest("one seven eight") is None


def test_the_threshold_itself_is_similar() -> None:
    seen = Seen(0.7)
    seen.add("a b c d e f g h i")
    assert seen.nearest("a b c d e f g h x") == (0, pytest.approx(7 / 9))
    ten = [f"w{n}" for n in range(11)]
    seen.add(" ".join(ten))
    assert seen.nearest(" ".join(ten[:8])) == (1, 0.7)
    assert seen.nearest(" ".join(ten[:7])) is None


def test_a_text_without_words_repeats_nothing_and_has_its_number() -> None:
    seen = Seen()
    for text in ("", "?", "yes"):
        assert seen.nearest(text) is None
        seen.add(text)
    assert seen.nearest("") is None and seen.nearest("!") is None
    assert seen.nearest("Yes") == (2, 1.0)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_index_finds_what_brute_force_finds(threshold: float) -> None:
    made = texts(2_000, seed=1)
    near = {(later, earlier): s for later, earlier, s in similarities(made) if s >= threshold}
    best: dict[int, float] = {}
    for (later, _), similarity in near.items():
        best[later] = max(best.get(later, 0), similarity)
    assert len(best) >= 20
    seen = Seen(threshold)
    found = {}
    for number, text in enumerate(made):
        nearest = seen.nearest(text)
        if nearest:
            found[number] = nearest
        seen.add(text)
    for number, (earlier, similarity) in found.items():
        assert near[number, earlier] == similarity, "what is found is right"
    missed = [number for number in best if number not in found or found[number][1] < best[number]]
    assert len(missed) <= 0.01 * len(best)
    flags = suspects(made, threshold)
    assert all(flags[later] and flags[earlier] for later, (earlier, _) in found.items())
    assert threshold < 0.7 or sum(flags) < 0.7 * len(made), "most texts are told apart without being compared"


def test_the_bands_find_a_pair_at_the_threshold() -> None:
    assert bands(0.7) == 32
    for threshold in (0.5, 0.55, 0.7, 0.75, 0.8, 0.9, 0.99):
        rows = PERMUTATIONS // bands(threshold)
        assert 1 - (1 - threshold**rows) ** bands(threshold) >= 0.999


def test_no_texts_have_no_suspects() -> None:
    assert suspects([]) == [] and suspects(["alone"]) == [False]


def test_the_answers_depend_on_no_hash_seed() -> None:
    code = (
        "from near_texts import texts\nfrom bezoar_plugins.near_duplicates import Seen, suspects\n"
        "seen, made = Seen(), texts(300, seed=2)\n"
        "for text in made:\n    print(seen.nearest(text))\n    seen.add(text)\n"
        "print(suspects(made))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(p for p in sys.path if p)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in (1, 2)
    ]
    assert outputs[0] == outputs[1] and b"(" in outputs[0]
