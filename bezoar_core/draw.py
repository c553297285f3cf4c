"""Keyed random generators: a draw depends on its key, never on the order of the draws."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyedDraw:
    """The `Draw` of a step: its generators are seeded with sha256 over the step's seed and the key."""

    seed: int

    def __call__(self, *key: str | int) -> random.Random:
        """Return the generator of `key`."""
        digest = hashlib.sha256(json.dumps([self.seed, *key]).encode()).digest()
        return random.Random(int.from_bytes(digest[:8], "big"))
