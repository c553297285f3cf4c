from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bezoar_core.engine import Budget

PAYER = """
import sys
from pathlib import Path
from bezoar_core.engine import Budget

budget = Budget(Path(sys.argv[1]), Path(sys.argv[2]))
for _ in range(2000):
    assert budget.reserve(0.002)
    budget.pay(0.001)
    budget.release(0.002)
"""


def test_nothing_is_spent_at_first_and_nothing_is_refused_without_a_limit(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "spent", tmp_path / "run" / "reserved")
    assert budget.spent == 0
    assert budget.reserve(1e9)
    budget.pay(1e9)
    assert budget.reserve(1e9)
    assert budget.spent == 1e9
    budget.close()


def test_what_is_spent_and_what_is_set_aside_is_shared_and_no_more_fits(tmp_path: Path) -> None:
    one, two = (Budget(tmp_path / "spent", tmp_path / "reserved", usd=1.0) for _ in range(2))
    one.pay(0.5)
    assert two.spent == 0.5
    assert one.reserve(0.25) and two.reserve(0.25)
    assert not one.reserve(0.01)
    two.release(0.25)
    assert one.reserve(0.25)
    assert two.spent == 0.5


def test_what_was_set_aside_ends_with_the_run_and_what_was_spent_does_not(tmp_path: Path) -> None:
    killed = Budget(tmp_path / "spent", tmp_path / "1" / "reserved", usd=1.0)
    killed.pay(0.4)
    assert killed.reserve(0.6)
    again = Budget(tmp_path / "spent", tmp_path / "2" / "reserved", usd=1.0)
    assert not again.reserve(0.7) and again.reserve(0.6)
    assert str(again.exceeded(0.7)) == (
        "the budget of $1.00 is spent: $0.40 so far, and the next request may cost $0.7000\n"
        "  tip: run again with a larger `--budget`: every reply received so far is kept and not paid again"
    )


def test_processes_pay_without_losing_anything(tmp_path: Path) -> None:
    paths = [str(tmp_path / "spent"), str(tmp_path / "reserved")]
    payers = [subprocess.Popen([sys.executable, "-c", PAYER, *paths]) for _ in range(3)]
    assert [payer.wait() for payer in payers] == [0, 0, 0]
    budget = Budget(Path(paths[0]), Path(paths[1]), usd=7.0)
    assert budget.spent == pytest.approx(6.0)
    assert budget.reserve(0.9999)
