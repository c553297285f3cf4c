"""ROUGE-L against the package rouge-score, and the pool against every pair."""

from __future__ import annotations

import random

from near_texts import texts
from rouge_score.rouge_scorer import RougeScorer

from bezoar_plugins.filters.rouge import Pool

ODD = [
    "",
    " ?!",
    "Yes.",
    "yes",
    "It's 3.14 \u2014 na\u00efve caf\u00e9",
    "IT S 3 14",
    "\u4f60\u597d",
    "a a a b",
    "b a a a",
]


def test_the_figure_is_that_of_rouge_score() -> None:
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pool = Pool(0.7)
    made = [*ODD, *texts(300, seed=5, planted=0.6, size=(1, 60))]
    draw = random.Random(1)
    pairs = [(left, right) for left in ODD for right in ODD]
    pairs += [(draw.choice(made), draw.choice(made)) for _ in range(2_000)]
    pairs += [(one, other) for one in made[9:60] for other in made[9:60]]
    theirs = [scorer.score(left, right)["rougeL"].fmeasure for left, right in pairs]
    ours = [pool.similarity(left, right) for left, right in pairs]
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1e-12
    assert sum(0 < figure < 1 for figure in ours) > 2_000


def test_the_pool_finds_the_most_similar_of_all_and_the_first_of_equals() -> None:
    made = texts(300, seed=6, planted=0.5)
    pool = Pool(0.7)
    hits = 0
    for number, text in enumerate(made):
        figures = [pool.similarity(text, earlier) for earlier in made[:number]]
        best = max(figures, default=0.0)
        assert pool.nearest(text) == ((figures.index(best), best) if best >= 0.7 else None)
        hits += best >= 0.7
        pool.add(text)
    assert hits > 50


def test_the_threshold_itself_is_similar_and_no_tokens_are_not() -> None:
    pool = Pool(0.7)
    pool.add("?")
    pool.add("a b c d e f g h i j")
    assert pool.nearest("a b c d e f g x y z") == (1, 0.7)
    assert pool.nearest("a b c d e f w x y z") is None
    assert pool.nearest("!") is None


def test_more_tokens_than_there_are_code_points_below_the_surrogates() -> None:
    pool = Pool(0.7)
    pool.add(" ".join(f"w{n}" for n in range(60_000)))
    assert pool.nearest(" ".join(f"w{n}" for n in range(1, 60_001))) == (0, 2 * 59_999 / 120_000)
