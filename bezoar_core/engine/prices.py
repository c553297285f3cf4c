"""What a reply costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bezoar_core.interfaces import Client
from bezoar_core.types import Json

_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars for a million tokens. `tiers` (input tokens, input, output): above so many, all tokens cost that."""

    input: float
    output: float
    tiers: tuple[tuple[int, float, float], ...] = ()

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """Return what one request costs."""
        rates = (self.input, self.output)
        for start, *tier in self.tiers:
            if input_tokens > start:
                rates = (tier[0], tier[1])
        return (input_tokens * rates[0] + output_tokens * rates[1]) / _MILLION


FREE = Price(input=0.0, output=0.0)


def price_of(client: Client, given: Mapping[str, Json] | None = None) -> Price | None:
    """Return what a client's replies cost: nothing where it is local or has a class variable `free = True`."""
    if given is None and (client.local or getattr(client, "free", False)):
        return FREE
    return find_price(client.identity(), given)


def find_price(identity: Mapping[str, Json], given: Mapping[str, Json] | None = None) -> Price | None:
    """Return the price the registry gives, else the published one of `model` at `base_url`; None where it is unknown.

    Published prices come with genai-prices and are those of today. What a provider takes off for cached prompts is not
    counted, so that the figure is never too low.
    """
    if given is not None:
        return Price(input=_number(given["input"]), output=_number(given["output"]))
    model, url = identity.get("model"), identity.get("base_url")
    if not isinstance(model, str) or not isinstance(url, str):
        return None
    return _published(model, url)


def _published(model: str, url: str) -> Price | None:
    from datetime import UTC, datetime

    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import TieredPrices

    try:
        _, found = get_snapshot().find_provider_model(model, None, None, url)
    except LookupError:
        return None
    now = found.get_prices(datetime.now(UTC))
    if now.input_mtok is None or now.output_mtok is None:
        return None
    parts = [
        (float(rate.base), {tier.start: float(tier.price) for tier in rate.tiers})
        if isinstance(rate, TieredPrices)
        else (float(rate), {})
        for rate in (now.input_mtok, now.output_mtok)
    ]
    starts = sorted({start for _, tiers in parts for start in tiers})
    return Price(
        input=parts[0][0],
        output=parts[1][0],
        tiers=tuple(
            (start, parts[0][1].get(start, parts[0][0]), parts[1][1].get(start, parts[1][0])) for start in starts
        ),
    )


def _number(value: Json) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"a price is a number, not {value!r}")
