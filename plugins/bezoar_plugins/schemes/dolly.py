"""Dolly rows as seeds: their text and its length."""

from __future__ import annotations

import math
import re

from bezoar_core.records import Row

_PIECE = re.compile(r"\w+|[^\w\s]")


def cell(row: Row, column: str) -> str:
    """Return the stripped text in `column`: empty where there is none, or something other than text."""
    value = row.get(column)
    return value.strip() if isinstance(value, str) else ""


def dolly_text(row: Row) -> str:
    """Return the row's instruction, followed after a blank line by its context where it has both."""
    instruction, context = cell(row, "instruction"), cell(row, "context")
    return f"{instruction}\n\n{context}" if instruction and context else instruction


def token_count(text: str) -> int:
    """Return about how many tokens `text` has, without a tokenizer.

    The larger of two counts: words and punctuation marks, and UTF-8 bytes divided by four. Against SmolLM2's tokenizer
    this is 0.7 to 1.5 times the truth for nine English texts of ten (160 questions and 60 answers of MT-Bench).
    """
    return max(len(_PIECE.findall(text)), math.ceil(len(text.encode()) / 4))
