from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezoar_core.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße 你好 שלום 👩‍🚀", "Grüße 你好 שלום 👩‍🚀"),
        ("a\tb\nc\r\nd", "a\tb\nc\nd"),
        ("a\rb\x1b[2J\x00", "a[U+000D]b[U+001B][2J[U+0000]"),
        ("evil\u202egpj.exe\u2066x\u2069", "evil[U+202E]gpj.exe[U+2066]x[U+2069]"),
        ("a\u200bb\ufeffc\u2028d", "a[U+200B]b[U+FEFF]c[U+2028]d"),
        ("\ud800", "[U+D800]"),
        ("hidden\U000e0041", "hidden[U+E0041]"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(max_size=60))
def test_cleaned_text_can_be_written_and_holds_no_control(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert visible(shown) == shown
