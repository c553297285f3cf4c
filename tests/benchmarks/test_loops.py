from __future__ import annotations

import random

import pytest

from bezoar_plugins.benchmarks.loops import loops

TEXT = "the judge reads what the model wrote and says how good it is in a number from one to ten"


@pytest.mark.parametrize(
    "text",
    [
        "Sure. " + "I am a model. " * 40,
        "a" * 300,
        "Steps:\n" + "1. Do it.\n2. Do it again, with care.\n" * 12 + "1. Do",
        "It is. " + "A sentence of some length that comes again and again until it is stopped at last. " * 4 + "\n\n",
    ],
)
def test_a_stretch_that_repeats_to_the_end_is_a_loop(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    ["", "No.", "no " * 20, "ha " * 300 + "and that is all.", "\n".join(f"{n}. item" for n in range(100))],
)
def test_what_ends_otherwise_is_none(text: str) -> None:
    assert not loops(text)


def test_prose_is_none() -> None:
    rng = random.Random(3)
    assert not any(loops(" ".join(rng.choices(TEXT.split(), k=200))) for _ in range(200))
