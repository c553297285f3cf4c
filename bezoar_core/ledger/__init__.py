"""Every reply ever paid for, kept on disk before anything is made of it.

Append-only segments of JSON lines are the truth (`segment`); a SQLite file finds a key in them and can be rebuilt from
them at any time (`index`). What is wrong with a line (`damage`), whether all is well (`verification`), a copy to read
elsewhere (`export`) and a smaller ledger (`compaction`) come from the segments alone.
"""

from __future__ import annotations

from bezoar_core.ledger.ledger import Ledger
from bezoar_core.ledger.stats import Record

__all__ = ["Ledger", "Record"]
