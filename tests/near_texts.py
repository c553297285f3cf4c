"""Texts with planted near-duplicates around a threshold, and every similar pair of them by brute force."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def texts(count: int, seed: int, planted: float = 0.3, size: tuple[int, int] = (10, 90)) -> list[str]:
    """Return texts of words that come as often as words do; the share `planted` repeats an earlier one with changes.

    A change is a word replaced, dropped or put in; there are as many as leave some 40 to 100 % of the bigrams shared.
    """
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(20_000)]
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(vocabulary))))
    made: list[str] = []
    for _ in range(count):
        if made and draw.random() < planted:
            tokens = made[draw.randrange(len(made))].split()
            for _ in range(draw.randint(0, max(1, len(tokens) // 6))):
                place = draw.randrange(len(tokens))
                tokens[place : place + draw.randint(0, 1)] = draw.choices(vocabulary, k=draw.randint(0, 1))
                tokens = tokens or ["word"]
        else:
            tokens = draw.choices(vocabulary, cum_weights=weights, k=draw.randint(*size))
        made.append(" ".join(tokens))
    return made


def similarities(made: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Yield every pair that shares a bigram as (later, earlier, Jaccard); the texts hold words and spaces alone.

    Written apart from the code under test: counts shared pairs through an index of which texts have a pair of words.
    """
    holders: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for number, text in enumerate(made):
        tokens = text.split()
        pairs = set(pairwise(tokens)) or {(token, "") for token in tokens}
        shared: Counter[int] = Counter()
        for pair in pairs:
            shared.update(holders[pair])
            holders[pair].append(number)
        sizes.append(len(pairs))
        for earlier, both in shared.items():
            yield number, earlier, both / (sizes[earlier] + len(pairs) - both)
