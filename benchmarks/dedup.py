"""What does dropping near-duplicates cost over MinHash itself? `make bench-dedup`.

100,000 texts of 10 to 90 words, a tenth of them earlier ones with a few changes. The contestants take turns in each of
five rounds; the table gives medians. `dedup` reads rows, decides over each and verifies every candidate exactly;
`signatures` are rensa's of the same texts, once with the parting into pairs of words and once without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import median

from near_texts import texts
from rensa import RMinHash
from results import write

from bezoar_core.draw import KeyedDraw
from bezoar_core.records import Keep
from bezoar_core.testing import ScriptedAsk
from bezoar_core.types import DatasetRef
from bezoar_plugins.filters.dedup import Dedup
from bezoar_plugins.near_duplicates import PERMUTATIONS, bigrams

COUNT = 100_000
ROUNDS = 5
BATCH = 10_000


def deduplicated(made: list[str], threshold: float | None) -> int:
    """Return how many rows are kept."""

    async def kept() -> int:
        rows = [{"text": text} for text in made]
        chosen = Dedup(data=DatasetRef("made"), columns=("text",), threshold=threshold)
        ask = ScriptedAsk(lambda request: "")
        return sum([isinstance(one, Keep) async for one in chosen.decide(rows, ask, KeyedDraw(1))])

    return asyncio.run(kept())


def signatures(made: list[str]) -> int:
    """Part the texts into pairs of words and sketch them."""

    def parted() -> Iterator[list[str]]:
        for text in made:
            yield bigrams(text)

    return int(RMinHash.digest_matrix_from_token_sets(parted(), PERMUTATIONS, 42).len())


def measured(run: Callable[[], int]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    count = run()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "rows_left": count}


def alone(made: list[str]) -> dict[str, float]:
    """Sketch texts that are parted beforehand, in batches, so that their parts need not all be held."""
    total = {"wall_s": 0.0, "cpu_s": 0.0, "rows_left": 0.0}
    for start in range(0, len(made), BATCH):
        parts = [bigrams(text) for text in made[start : start + BATCH]]
        found = measured(lambda: int(RMinHash.digest_matrix_from_token_sets(parts, PERMUTATIONS, 42).len()))  # noqa: B023 - called here
        total = {key: total[key] + found[key] for key in total}
    return total


def main() -> None:
    made = texts(COUNT, seed=3, planted=0.1)
    contestants: dict[str, Callable[[], dict[str, float]]] = {
        "dedup": lambda: measured(lambda: deduplicated(made, 0.7)),
        "dedup, exact only": lambda: measured(lambda: deduplicated(made, None)),
        "signatures of texts": lambda: measured(lambda: signatures(made)),
        "signatures of parts": lambda: alone(made),
    }
    rows = [
        {"contestant": name, "round": number, **run()} for number in range(ROUNDS) for name, run in contestants.items()
    ]

    def middle(name: str, figure: str) -> float:
        return median(float(row[figure]) for row in rows if row["contestant"] == name)

    print(f"{COUNT:,} texts, medians of {ROUNDS}\n{'':<22}{'wall s':>8}{'CPU s':>8}{'rows left':>12}")
    for name in contestants:
        wall, cpu, left = (middle(name, figure) for figure in ("wall_s", "cpu_s", "rows_left"))
        print(f"{name:<22}{wall:>8.2f}{cpu:>8.2f}{left:>12,.0f}")
    ratios = {
        "seconds_100000": middle("dedup", "wall_s"),
        "over_signatures_of_texts": middle("dedup", "wall_s") / middle("signatures of texts", "wall_s"),
        "over_signatures_of_parts": middle("dedup", "wall_s") / middle("signatures of parts", "wall_s"),
        "exact_over_near": middle("dedup, exact only", "wall_s") / middle("dedup", "wall_s"),
    }
    print(f"written to {write('dedup', rows, ratios, ['bezoar', 'rensa', 'rapidfuzz'])}")


if __name__ == "__main__":
    main()
