from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bezoar_core.engine import Budget
from bezoar_core.errors import BudgetSpent

ADDER = """
import sys
from pathlib import Path
from bezoar_core.engine import Budget

budget = Budget(Path(sys.argv[1]))
for _ in range(2000):
    budget.add(0.001)
"""


def test_nothing_is_spent_at_first_and_nothing_is_checked_without_a_limit(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "run" / "spent")
    assert budget.spent == 0
    budget.add(1e9)
    budget.check()
    assert budget.spent == 1e9
    budget.close()


def test_the_sum_is_shared_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "spent"
    one, two = Budget(path, usd=1.0), Budget(path, usd=2.0)
    one.add(0.75)
    two.add(0.5)
    assert one.spent == two.spent == Budget(path).spent == 1.25
    two.check()
    with pytest.raises(BudgetSpent, match=r"the budget of \$1.00 is spent \(\$1.25\)\n  tip: run again with a larger"):
        one.check()


def test_processes_add_without_losing_anything(tmp_path: Path) -> None:
    path = tmp_path / "spent"
    adders = [subprocess.Popen([sys.executable, "-c", ADDER, str(path)]) for _ in range(3)]
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    assert Budget(path).spent == pytest.approx(6.0)
