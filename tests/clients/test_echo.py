from __future__ import annotations

from math import exp

import pytest
from pydantic import TypeAdapter

from bezoar_core.interfaces import Client
from bezoar_core.records import Message, Request, Sampling
from bezoar_plugins.clients.echo import Echo, Rule


def asked(text: str, **changes: object) -> Request:
    return Request(messages=(Message("system", "s"), Message("user", text)), **changes)  # type: ignore[arg-type]


def test_it_is_a_client_with_every_feature() -> None:
    assert isinstance(Echo(), Client)
    assert Echo().supports == {"choices", "prefill", "stop", "logprobs", "raw", "temperature", "top_p", "seed"}
    assert not Echo().local


def test_it_is_read_from_a_registry() -> None:
    made = TypeAdapter(Echo).validate_json('{"rules": [{"when": "a", "reply": "b"}], "replies": ["c"]}', strict=True)
    assert made == Echo(rules=(Rule(when="a", reply="b"),), replies=("c",))


async def test_without_a_script_it_says_the_last_message() -> None:
    assert (await Echo().complete(asked("hello"))).text == "hello"


async def test_the_first_rule_that_fits_anywhere_in_the_conversation_answers() -> None:
    echo = Echo(rules=(Rule(when="zzz", reply="1"), Rule(when="hello", reply="2"), Rule(when="s", reply="3")))
    assert (await echo.complete(asked("oh, hello"))).text == "2"
    assert (await echo.complete(asked("other"))).text == "3"


async def test_several_rules_for_one_text_are_alternatives() -> None:
    echo = Echo(rules=tuple(Rule(when="rate", reply=reply) for reply in ("Accept", "Reject")))
    said = [(await echo.complete(asked(f"rate {n}"))).text for n in range(40)]
    assert set(said) == {"Accept", "Reject"}
    assert said == [(await echo.complete(asked(f"rate {n}"))).text for n in range(40)]


@pytest.mark.parametrize(
    "changes",
    [
        {"sample": 1},
        {"prefill": "x"},
        {"format": "hh"},
        {"sampling": Sampling(seed=1)},
        {"sampling": Sampling(temperature=0.1)},
        {"stop": ("@",)},
    ],
)
async def test_replies_differ_between_requests_and_not_between_runs(changes: dict[str, object]) -> None:
    echo = Echo(replies=("id {hash}: {last}",))
    one, two = await echo.complete(asked("q")), await echo.complete(asked("q", **changes))
    assert one.text != two.text
    assert one == await echo.complete(asked("q"))
    assert one.text.startswith("id ") and one.text.endswith(": q") and len(one.text) == len("id 01234567: q")


async def test_what_fills_a_slot_is_not_filled_again() -> None:
    assert (
        await Echo(replies=("{last} {other} {}",)).complete(asked("{hash}{last}"))
    ).text == "{hash}{last} {other} {}"


async def test_stop_prefill_and_length_are_kept() -> None:
    echo = Echo(replies=("<example>one two three</example>\nfour",))
    whole = await echo.complete(asked("q", prefill="<example>", stop=("\n", "</example>")))
    assert (whole.text, whole.finish) == ("one two three", "stop")
    short = await echo.complete(asked("q", prefill="<example>", sampling=Sampling(max_tokens=2)))
    assert (short.text, short.finish) == ("one two", "length")
    assert short.usage.output_tokens == 2 and short.usage.input_tokens == 2


async def test_choices_come_with_scores_that_are_probabilities() -> None:
    choices = ("Accept", "Reject", "Unsure")
    drawn = {(await Echo().complete(asked(f"rate {n}", choices=choices))).text for n in range(60)}
    assert drawn == set(choices)
    reply = await Echo(replies=("Reject",)).complete(asked("rate", choices=choices))
    assert reply.text == "Reject" and reply.finish == "stop"
    assert sum(exp(score) for score in reply.scores) == pytest.approx(1)
    assert max(reply.scores) == reply.scores[1]
