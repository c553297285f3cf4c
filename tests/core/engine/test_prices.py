from __future__ import annotations

import subprocess
import sys

import pytest
from core.engine.scripted_client import ScriptedClient

from bezoar_core.engine import Price, Target, find_price, price_of
from bezoar_plugins.clients.anthropic import Anthropic
from bezoar_plugins.clients.echo import Echo
from bezoar_plugins.clients.openai import OpenAI


def test_a_request_is_priced_by_the_million_tokens() -> None:
    assert Price(input=3.0, output=15.0).usd(1000, 200) == pytest.approx(0.006)


def test_a_long_prompt_is_priced_by_its_tier() -> None:
    price = Price(input=3.0, output=15.0, tiers=((200_000, 6.0, 22.5),))
    assert price.usd(200_000, 0) == pytest.approx(0.6)
    assert price.usd(200_001, 1000) == pytest.approx(200_001 * 6e-6 + 1000 * 22.5e-6)


def test_published_prices_are_known_by_address_and_model() -> None:
    assert price_of(OpenAI(model="gpt-4-0613")) == Price(input=30.0, output=60.0)
    claude = price_of(Anthropic(model="claude-sonnet-4-5", api_key="k"))
    assert claude == Price(input=3.0, output=15.0, tiers=((200_000, 6.0, 22.5),))


def test_the_same_model_elsewhere_has_another_price_which_is_unknown() -> None:
    assert price_of(OpenAI(model="gpt-4-0613", base_url="http://127.0.0.1:8000/v1")) is None
    assert price_of(OpenAI(model="no-such-model")) is None
    assert find_price({"model": "gpt-4-0613"}) is None


def test_the_registrys_price_comes_first() -> None:
    assert price_of(OpenAI(model="gpt-4-0613"), {"input": 1, "output": 2.5}) == Price(input=1.0, output=2.5)
    assert price_of(Echo(), {"input": 1, "output": 2}) == Price(input=1.0, output=2.0)


def test_what_runs_here_costs_nothing() -> None:
    class Local(ScriptedClient):
        local = True

    assert price_of(Local()) == price_of(Echo()) == Price(input=0.0, output=0.0)
    assert price_of(ScriptedClient()) is None


def test_a_target_is_made_of_the_keys_of_a_model() -> None:
    client = OpenAI(model="m", base_url="http://a/v1")
    keys = {"client": "openai", "concurrency": 7, "requests_per_minute": 9, "tokens_per_minute": None, "format": None}
    made = Target.of(
        name="x", client=client, identity={"a": 1}, format=None, keys=keys | {"price": {"input": 1, "output": 2}}
    )
    assert (made.concurrency, made.requests_per_minute, made.tokens_per_minute) == (7, 9, None)
    assert made.price == Price(input=1.0, output=2.0)
    assert Target.of(name="x", client=client, identity={}, format=None, keys={}).concurrency == 256


def test_the_price_list_is_read_only_when_a_price_is_looked_up() -> None:
    code = "import sys, bezoar_core.engine; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
