"""The way to a model: ledger, limits, retries and budget behind one `ask`."""

from __future__ import annotations

from bezoar_core.engine.ask import PATIENCE, Engine, Target, Totals
from bezoar_core.engine.budget import Budget
from bezoar_core.engine.prices import Price, find_price, price_of
from bezoar_core.engine.retries import Retries

__all__ = ["PATIENCE", "Budget", "Engine", "Price", "Retries", "Target", "Totals", "find_price", "price_of"]
