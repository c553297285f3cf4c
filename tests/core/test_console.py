from __future__ import annotations

import io

import pytest
from rich.console import Console

from bezoar_core.console import table

COLUMNS = ("step", "state", "why", "tokens")
ROWS = [
    ("sft-lamini", "waiting", "after `lamini-kept` and 1 more", "1,581 to 18,493,440"),
    ("lm-eval@hh-sft", "run", "not [made] yet", "unknown"),
]


def shown(width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(COLUMNS, ROWS, width, fold="why"))
    return out.getvalue()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_nothing_is_cut_off_however_narrow(width: int) -> None:
    out = shown(width)
    assert max(map(len, out.splitlines())) <= width
    characters = sorted("".join("".join(row) for row in (COLUMNS, *ROWS)).replace(" ", ""))
    assert sorted("".join(out.split())) == characters


@pytest.mark.parametrize("width", [60, 80])
def test_names_and_numbers_are_broken_between_words_alone(width: int) -> None:
    words = shown(width).split()
    assert {"sft-lamini", "lm-eval@hh-sft", "waiting", "1,581", "18,493,440", "[made]"} <= set(words)


def test_a_wide_table_has_a_line_a_row() -> None:
    assert len(shown(100).splitlines()) == 1 + len(ROWS)
