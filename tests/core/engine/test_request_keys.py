"""Which differences between two requests make two keys."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

import pytest
from core.engine.scripted_client import ScriptedClient
from hypothesis import given, settings
from hypothesis import strategies as st

from bezoar_core.binding import Workshop
from bezoar_core.engine import Price, Target
from bezoar_core.plugins import load
from bezoar_core.records import Message, ModelDir, Request, Sampling
from bezoar_core.sources import Sources
from bezoar_core.spec import ModelSpec, StepSpec
from bezoar_core.types import Json
from bezoar_plugins.clients.anthropic import Anthropic
from bezoar_plugins.clients.echo import Echo, Rule
from bezoar_plugins.clients.openai import OpenAI

T = TypeVar("T")
PLUGINS = load()
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


@dataclass(frozen=True)
class Asked:
    """A model as a registry has it, and a request to it: all that a key may depend on, and what it must not."""

    entry: Mapping[str, Json]
    environ: Mapping[str, str]
    content: str
    request: Request
    operation: Mapping[str, Json]

    @property
    def meaning(self) -> object:
        settings = {key: value for key, value in self.entry.items() if key not in WITHOUT_MEANING}
        settings["base_url"] = str(settings.get("base_url")).rstrip("/")
        return (tuple(sorted(settings.items())), self.content if self.local else "", self.request)

    @property
    def local(self) -> bool:
        return self.entry["client"] == "transformers"

    def key(self) -> bytes:
        return target_of(_items(self.entry), _items(self.environ), self.content, _items(self.operation)).key(
            self.request
        )


WITHOUT_MEANING = {"api_key", "connect_timeout", "read_timeout", "batch_size"}
ENTRIES: Mapping[str, Mapping[str, Sequence[Json]]] = {
    "openai": {
        "model": ["m", "n"],
        "base_url": ["http://a/v1", "http://b/v1"],
        "api": ["chat", "completions"],
        "api_key": ["${KEY}", "none"],
        "read_timeout": [1.0, 600.0],
        "connect_timeout": [1.0, 10.0],
    },
    "anthropic": {
        "model": ["m", "n"],
        "base_url": ["http://a/v1", "http://b"],
        "api_key": ["${KEY}", "none"],
        "read_timeout": [1.0, 600.0],
        "connect_timeout": [1.0, 10.0],
    },
    "transformers": {"dtype": ["float32", "bfloat16"], "max_length": [None, 64], "batch_size": [1, 16]},
}
OPERATION: Mapping[str, Sequence[Json]] = {
    "concurrency": [1, 256],
    "requests_per_minute": [None, 60],
    "price": [None, {"input": 1, "output": 1}],
}
FIELDS: Mapping[str, Sequence[object]] = {
    "stop": [(), ("a",), ("a", "b"), ("b", "a"), ("ab",)],
    "prefill": ["", "a", "b"],
    "format": [None, "hh", "openbezoar"],
    "choices": [(), ("a",), ("a", "b"), ("b", "a")],
    "sample": [0, 1, 2],
}
SAMPLING_FIELDS: Mapping[str, Sequence[object]] = {
    "max_tokens": [1, 512, 513],
    "temperature": [None, 0.0, 0.7, 1.0],
    "top_p": [None, 0.9, 1.0],
    "seed": [None, 0, 1],
}
WORDS = ("a", "b", "ab", "", "a\nb", '"', "é")


class Bench(Workshop):
    """A workshop without weights."""

    def model_dir(self, spec: ModelSpec) -> ModelDir:
        return ModelDir(name=spec.name, path=Path(), format="hh", content=spec.content, base=Path(), adapters=())


def _items(entry: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple((key, tuple(value.items()) if isinstance(value, dict) else value) for key, value in entry.items())


@cache
def target_of(
    entry: tuple[tuple[str, object], ...],
    environ: tuple[tuple[str, str], ...],
    content: str,
    operation: tuple[tuple[str, object], ...],
) -> Target:
    fields = {key: cast(Json, value) for key, value in entry if key != "client"}
    keys = {key: cast(Json, dict(value) if isinstance(value, tuple) else value) for key, value in operation}
    spec = ModelSpec(
        name="m", client=str(dict(entry)["client"]), fields=fields, keys=keys, format="hh", content=content
    )
    return Bench(cast(StepSpec, None), PLUGINS, cast(Sources, None), dict(environ)).target(spec)


def shuffled(draw: random.Random, entry: Mapping[str, Json]) -> Mapping[str, Json]:
    return dict(draw.sample(list(entry.items()), len(entry)))


def some(draw: random.Random) -> Asked:
    client = draw.choice(list(ENTRIES))
    entry = {name: draw.choice(values) for name, values in ENTRIES[client].items()}
    messages = [Message(draw.choice(("user", "assistant")), draw.choice(WORDS)) for _ in range(draw.randint(1, 4))]
    system = [Message("system", draw.choice(WORDS))] if draw.random() < 0.5 else []
    sampling = {name: draw.choice(values) for name, values in SAMPLING_FIELDS.items()}
    return Asked(
        entry={"client": client, **entry},
        environ={"KEY": "sk-one", "LOG_LEVEL": "info"},
        content=draw.choice(("sha-1", "sha-2")),
        request=Request(
            messages=(*system, *messages),
            sampling=Sampling(**sampling),  # type: ignore[arg-type] # values of the fields
            **{name: draw.choice(values) for name, values in FIELDS.items()},  # type: ignore[arg-type] # the same
        ),
        operation={name: draw.choice(values) for name, values in OPERATION.items()},
    )


def another(draw: random.Random, values: Sequence[T], value: T) -> T:
    return draw.choice([other for other in values if other != value])


def with_meaning(draw: random.Random, asked: Asked) -> Asked:
    """Return it with one field changed that can change the reply."""
    request = asked.request
    changeable = [name for name in ENTRIES[str(asked.entry["client"])] if name not in WITHOUT_MEANING]
    name = draw.choice([*changeable, *FIELDS, *SAMPLING_FIELDS, "messages", "system", "order", "content"])
    if name in changeable:
        values = ENTRIES[str(asked.entry["client"])][name]
        return replace(asked, entry={**asked.entry, name: another(draw, values, asked.entry[name])})
    if name in FIELDS:
        value = another(draw, FIELDS[name], getattr(request, name))
        return replace(asked, request=replace(request, **{name: value}))  # type: ignore[arg-type] # one of its fields
    if name in SAMPLING_FIELDS:
        value = another(draw, SAMPLING_FIELDS[name], getattr(request.sampling, name))
        sampling = replace(request.sampling, **{name: value})  # type: ignore[arg-type] # one of its fields
        return replace(asked, request=replace(request, sampling=sampling))
    if name == "content" and asked.local:
        return replace(asked, content=another(draw, ("sha-1", "sha-2"), asked.content))
    turns = list(request.messages)
    if name == "order" and turns != turns[::-1]:
        turns.reverse()
    elif name == "system":
        turns = turns[1:] if turns[0].role == "system" else [Message("system", draw.choice(WORDS)), *turns]
    else:
        place = draw.randrange(len(turns))
        turns[place] = Message(turns[place].role, another(draw, WORDS, turns[place].content))
    return replace(asked, request=replace(request, messages=tuple(turns)))


def without_meaning(draw: random.Random, asked: Asked) -> Asked:
    """Return it with everything changed that cannot change the reply, each with a chance of a half."""
    entry = dict(asked.entry)
    for name in WITHOUT_MEANING & set(entry):
        entry[name] = draw.choice(ENTRIES[str(entry["client"])][name])
    if "base_url" in entry:
        entry["base_url"] = str(entry["base_url"]) + draw.choice(["", "/"])
    return replace(
        asked,
        entry=shuffled(draw, entry) if draw.random() < 0.02 else entry,
        environ={"KEY": draw.choice(["sk-one", "sk-two"]), "LOG_LEVEL": draw.choice(["info", "debug"])},
        content=asked.content if asked.local else draw.choice(("sha-1", "sha-2")),
        operation={name: draw.choice(values) for name, values in OPERATION.items()},
    )


def test_of_100_000_pairs_those_that_differ_in_meaning_share_no_key_and_the_others_do() -> None:
    draw = random.Random(100_000)
    meanings: dict[bytes, object] = {}
    for number in range(100_000):
        asked = some(draw)
        other = (with_meaning if number % 2 else without_meaning)(draw, asked)
        key, its = asked.key(), other.key()
        assert (key == its) == (number % 2 == 0), (asked, other)
        assert meanings.setdefault(key, asked.meaning) == asked.meaning
        assert meanings.setdefault(its, other.meaning) == other.meaning
    assert len(meanings) > 90_000
