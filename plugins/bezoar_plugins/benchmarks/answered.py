"""How many questions a model answered at all: the figure where no judge rates the answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bezoar_core.records import Sample, Score
from bezoar_core.types import Json
from bezoar_plugins.benchmarks.ratings import rating_score

METRIC = "answered"


def answered(text: str) -> float:
    """Return 1 for an answer with text, 0 for an empty one."""
    return float(bool(text.strip()))


def answered_score(
    model: str, metric: str, samples: Sequence[Sample], rng: random.Random, part: Mapping[str, Json]
) -> Score:
    """Return the share of the answers received that hold any text; those that never came are counted as failed."""
    ungraded = [replace(s, data={k: v for k, v in s.data.items() if k != "doubtful_reference"}) for s in samples]
    score = rating_score(model, metric, ungraded, rng, part)
    return replace(score, data={key: value for key, value in score.data.items() if key not in ("worst", "best")})
