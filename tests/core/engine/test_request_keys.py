"""Which differences between two requests make two keys."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from core.engine.scripted_client import ScriptedClient
from hypothesis import given, settings
from hypothesis import strategies as st

from bezoar_core.engine import Price, Target
from bezoar_core.records import Message, Request, Sampling
from bezoar_plugins.clients.anthropic import Anthropic
from bezoar_plugins.clients.echo import Echo, Rule
from bezoar_plugins.clients.openai import OpenAI

SAMPLING = Sampling(max_tokens=100, temperature=0.5, top_p=0.9, seed=1)
REQUEST = Request(
    messages=(Message("system", "be brief"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")),
    sampling=SAMPLING,
    stop=("x", "y"),
    prefill="p",
    format="hh",
    choices=("A", "B"),
    sample=1,
)
TARGET = Target(name="m", client=ScriptedClient(), identity={"model": "m", "content": "sha", "base_url": "u"})

CHANGES = {
    "system": replace(REQUEST, messages=(Message("system", "be long"), *REQUEST.messages[1:])),
    "no system": replace(REQUEST, messages=REQUEST.messages[1:]),
    "role": replace(REQUEST, messages=(Message("user", "be brief"), *REQUEST.messages[1:])),
    "order": replace(REQUEST, messages=(REQUEST.messages[0], *REQUEST.messages[:0:-1])),
    "joined turns": replace(REQUEST, messages=(*REQUEST.messages[:-1], Message("user", "c "))),
    "max_tokens": replace(REQUEST, sampling=replace(SAMPLING, max_tokens=101)),
    "temperature": replace(REQUEST, sampling=replace(SAMPLING, temperature=0.0)),
    "no temperature": replace(REQUEST, sampling=replace(SAMPLING, temperature=None)),
    "top_p": replace(REQUEST, sampling=replace(SAMPLING, top_p=0.91)),
    "no top_p": replace(REQUEST, sampling=replace(SAMPLING, top_p=None)),
    "seed": replace(REQUEST, sampling=replace(SAMPLING, seed=0)),
    "no seed": replace(REQUEST, sampling=replace(SAMPLING, seed=None)),
    "stop": replace(REQUEST, stop=("x",)),
    "stop order": replace(REQUEST, stop=("y", "x")),
    "one stop of two": replace(REQUEST, stop=("xy",)),
    "prefill": replace(REQUEST, prefill=""),
    "format": replace(REQUEST, format="openbezoar"),
    "no format": replace(REQUEST, format=None),
    "choices": replace(REQUEST, choices=("A", "B", "C")),
    "choices order": replace(REQUEST, choices=("B", "A")),
    "sample": replace(REQUEST, sample=2),
}


def test_every_field_of_a_request_is_among_the_changes() -> None:
    named = {field.name for field in fields(Request)} | {field.name for field in fields(Sampling)}
    assert named - {"messages", "sampling"} <= set(CHANGES)


def test_every_field_with_a_meaning_makes_another_key() -> None:
    keys = [TARGET.key(request) for request in (REQUEST, *CHANGES.values())]
    assert len(set(keys)) == len(CHANGES) + 1
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize(
    "identity",
    [
        {"model": "n", "content": "sha", "base_url": "u"},
        {"model": "m", "content": "other", "base_url": "u"},
        {"model": "m", "content": "sha", "base_url": "v"},
        {"model": "m", "content": "sha"},
    ],
)
def test_every_part_of_the_identity_makes_another_key(identity: dict[str, str]) -> None:
    assert replace(TARGET, identity=identity).key(REQUEST) != TARGET.key(REQUEST)


def test_what_has_no_meaning_makes_no_other_key() -> None:
    same = replace(
        TARGET,
        name="another name",
        identity={"base_url": "u", "content": "sha", "model": "m"},
        concurrency=1,
        requests_per_minute=3,
        tokens_per_minute=7,
        price=Price(input=1, output=1),
    )
    assert same.key(REQUEST) == TARGET.key(REQUEST)
    whole = replace(REQUEST, sampling=replace(SAMPLING, temperature=1))
    assert TARGET.key(whole) == TARGET.key(replace(REQUEST, sampling=replace(SAMPLING, temperature=1.0)))


def test_keys_stay_what_they_were() -> None:
    """A ledger outlives the program: were this to change, everything would be paid again."""
    plain = Request(messages=(Message("user", "hello"),))
    assert TARGET.key(plain).hex() == "1a9cd31c76afd1a6b528a3c4b921d5bbf910f36fda9d23c444addc81f1b65b4e"
    assert TARGET.key(REQUEST).hex() == "7c46be1baaee9230fbe403ebabc1774fab720bfd8363cd2c9a189f6ce5f22423"


def test_openai_settings_with_a_meaning() -> None:
    client = OpenAI(model="m", base_url="http://a/v1", api_key="secret-key")
    for changes in ({"model": "n"}, {"base_url": "http://b/v1"}, {"api": "completions"}):
        assert replace(client, **changes).identity() != client.identity()
    for changes in (
        {"api_key": "other"},
        {"connect_timeout": 1.0},
        {"read_timeout": 1.0},
        {"base_url": "http://a/v1/"},
    ):
        assert replace(client, **changes).identity() == client.identity()
    assert "secret-key" not in str(client.identity())


def test_anthropic_settings_with_a_meaning() -> None:
    client = Anthropic(model="m", api_key="secret-key")
    for changes in ({"model": "n"}, {"base_url": "http://b"}):
        assert replace(client, **changes).identity() != client.identity()
    for changes in ({"api_key": "other"}, {"connect_timeout": 1.0}, {"read_timeout": 1.0}):
        assert replace(client, **changes).identity() == client.identity()
    assert "secret-key" not in str(client.identity())


def test_an_echo_is_its_script() -> None:
    assert Echo(replies=("a",)).identity() != Echo(replies=("b",)).identity()
    assert Echo(rules=(Rule(when="a", reply="b"),)).identity() != Echo(rules=(Rule(when="a", reply="c"),)).identity()


texts = st.text(max_size=5)
requests = st.builds(
    Request,
    messages=st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=3).map(
        tuple
    ),
    sampling=st.builds(
        Sampling,
        max_tokens=st.integers(1, 3),
        temperature=st.none() | st.sampled_from([0.0, 0.5]),
        top_p=st.none() | st.sampled_from([0.5, 1.0]),
        seed=st.none() | st.integers(0, 2),
    ),
    stop=st.lists(texts.filter(bool), max_size=2).map(tuple),
    prefill=texts,
    format=st.none() | st.sampled_from(["hh", "openbezoar"]),
    choices=st.lists(texts.filter(bool), max_size=2).map(tuple),
    sample=st.integers(0, 2),
)


@settings(max_examples=500, deadline=None)
@given(requests, requests)
def test_two_requests_share_a_key_only_if_they_are_equal(one: Request, two: Request) -> None:
    assert (TARGET.key(one) == TARGET.key(two)) == (one == two)
