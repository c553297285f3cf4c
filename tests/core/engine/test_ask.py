from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from core.engine.scripted_client import EVERYTHING, ScriptedClient
from core.engine.virtual_time import run

from bezoar_core.engine import Budget, Engine, Price, Retries, Target, Totals
from bezoar_core.errors import BezoarError, BudgetSpent, RequestFailed, StepFailed, Transient
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.stats import count
from bezoar_core.records import Completion, Message, Sampling, Usage
from bezoar_core.types import ModelRef

MODEL = ModelRef("teacher")


def said(text: str) -> list[Message]:
    return [Message("user", text)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger") as ledger:
        yield ledger


def target(client: ScriptedClient, **changes: object) -> Target:
    settings: dict[str, object] = {"name": "teacher", "client": client, "identity": client.identity(), "format": "hh"}
    return Target(**(settings | {"price": Price(input=1.0, output=2.0)} | changes))  # type: ignore[arg-type]


def engine(ledger: Ledger, client: ScriptedClient, **changes: object) -> Engine:
    own = {name: changes.pop(name) for name in ("spend", "retries") if name in changes}
    return Engine(ledger=ledger, targets={"teacher": target(client, **changes)}, **own)  # type: ignore[arg-type]


async def test_a_reply_is_in_the_ledger_before_it_is_used_and_is_replayed_equal(ledger: Ledger) -> None:
    reply = Completion(
        text='ü "x"\n\0',
        finish="length",
        usage=Usage(input_tokens=7, output_tokens=None),
        model="m-1",
        scores=(-0.1, float("-inf"), -1 / 3),
        raw={"id": "1", "choices": [{"text": "x", "logprobs": None}]},
    )
    client = ScriptedClient(script=[reply])
    first = engine(ledger, client)
    assert await first(MODEL, said("hello")) == reply
    assert count(ledger.folder).replies == 1
    with Ledger(ledger.folder) as elsewhere:
        again = engine(elsewhere, ScriptedClient(script=[AssertionError("asked twice")]))
        assert await again(MODEL, said("hello")) == reply
    assert len(client.requests) == 1
    assert (again.totals.requests, again.totals.replayed, again.totals.usd) == (1, 1, 0.0)
    assert again.totals.replayed_usd == first.totals.usd


async def test_a_reply_that_cannot_be_kept_is_not_used(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(key: bytes, record: object) -> None:
        raise BezoarError("the ledger cannot be written: No space left on device")

    monkeypatch.setattr(ledger, "put", full)
    with pytest.raises(BezoarError, match="cannot be written"):
        await engine(ledger, ScriptedClient())(MODEL, said("hello"))


async def test_the_format_of_the_model_is_filled_in_unless_the_asker_names_one(ledger: Ledger) -> None:
    client = ScriptedClient()
    ask = engine(ledger, client)
    await ask(MODEL, said("a"))
    await ask(MODEL, said("a"), format="openbezoar")
    assert [request.format for request in client.requests] == ["hh", "openbezoar"]


async def test_a_client_that_renders_nothing_is_given_no_format(ledger: Ledger) -> None:
    client = ScriptedClient(supports=EVERYTHING - {"raw"})
    ask = engine(ledger, client)
    await ask(MODEL, said("a"))
    assert client.requests[0].format is None
    with pytest.raises(RequestFailed, match="the client of model `teacher` has no `raw`"):
        await ask(MODEL, said("a"), format="openbezoar")


async def test_sampling_the_client_lacks_becomes_the_providers_default(ledger: Ledger) -> None:
    client = ScriptedClient(supports=frozenset({"seed"}))
    sampling = Sampling(max_tokens=9, temperature=0.0, top_p=0.5, seed=3)
    ask = engine(ledger, client)
    await ask(MODEL, said("a"), sampling=sampling)
    await ask(MODEL, said("a"), sampling=Sampling(max_tokens=9, temperature=0.9, seed=3))
    assert [r.sampling for r in client.requests] == [Sampling(max_tokens=9, seed=3)]
    assert ask.totals.replayed == 1


async def test_choices_the_client_lacks_are_left_to_the_reader(ledger: Ledger) -> None:
    client = ScriptedClient(supports=frozenset())
    await engine(ledger, client)(MODEL, said("a"), choices=["Accept", "Reject"])
    assert client.requests[0].choices == ()


@pytest.mark.parametrize("feature", ["stop", "prefill"])
async def test_what_the_client_lacks_otherwise_is_refused(ledger: Ledger, feature: str) -> None:
    client = ScriptedClient(supports=frozenset())
    with pytest.raises(RequestFailed, match=f"has no `{feature}`") as caught:
        await engine(ledger, client)(MODEL, said("a"), **{feature: "x"})
    assert caught.value.kind == "unsupported" and client.requests == []


async def test_an_unknown_model_is_named(ledger: Ledger) -> None:
    with pytest.raises(BezoarError, match=r"no model `teachr` to ask\n.*did you mean `teacher`"):
        await engine(ledger, ScriptedClient())(ModelRef("teachr"), said("a"))


def test_identical_requests_under_way_are_joined(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=1)
    ask = engine(ledger, client)

    async def main() -> list[Completion]:
        return await asyncio.gather(*(ask(MODEL, said(f"q{i % 3}")) for i in range(30)))

    replies = run(main())
    assert [reply.text for reply in replies] == [f"reply to q{i % 3}" for i in range(30)]
    assert len(client.requests) == 3
    assert (ask.totals.requests, ask.totals.replayed, ask.totals.in_flight) == (3, 0, 0)


def test_a_joined_request_shares_the_failure(ledger: Ledger) -> None:
    client = ScriptedClient(script=[RequestFailed("no", kind="context")], seconds=1)
    ask = engine(ledger, client)

    async def main() -> list[object]:
        return await asyncio.gather(*(ask(MODEL, said("q")) for _ in range(3)), return_exceptions=True)

    assert [getattr(error, "kind", None) for error in run(main())] == ["context"] * 3
    assert len(client.requests) == 1
    assert (ask.totals.requests, ask.totals.failed) == (1, 1)


def test_when_the_first_asker_goes_away_a_joined_one_gets_its_reply(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=1)
    ask = engine(ledger, client)

    async def main() -> str:
        first = asyncio.create_task(ask(MODEL, said("q")))
        second = asyncio.create_task(ask(MODEL, said("q")))
        third = asyncio.create_task(ask(MODEL, said("q")))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(0.1)
        third.cancel()
        return (await second).text

    assert run(main()) == "reply to q"
    assert len(client.requests) == 1
    assert client.under_way == 0 and ask.totals.in_flight == 0


def test_the_reply_to_a_request_that_has_left_is_kept_though_its_asker_went_away(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=1)
    ask = engine(ledger, client, concurrency=2)

    async def main() -> None:
        askers = [asyncio.create_task(ask(MODEL, said(f"q{i}"))) for i in range(5)]
        await asyncio.sleep(0.5)
        for asker in askers:
            asker.cancel()
        await asyncio.sleep(0)
        await ask.aclose()

    run(main())
    assert len(client.requests) == 2  # the other three had not left
    assert count(ledger.folder).models[0].replies == 2
    assert ask.totals.requests == 2 and client.closed
    again = engine(ledger, client)
    assert run(again(MODEL, said("q0"))).text == "reply to q0"
    assert again.totals.replayed == 1


def test_nobody_waiting_it_is_not_tried_again(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=1, script=[Transient("busy", kind="server")])
    ask = engine(ledger, client)

    async def main() -> None:
        asker = asyncio.create_task(ask(MODEL, said("q")))
        await asyncio.sleep(0.5)
        asker.cancel()
        await asyncio.sleep(0)
        await ask.aclose()

    run(main())
    assert len(client.requests) == 1


def test_closing_does_not_wait_for_ever(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=1e6)
    ask = engine(ledger, client)

    async def main() -> float:
        asker = asyncio.create_task(ask(MODEL, said("q")))
        await asyncio.sleep(0.5)
        asker.cancel()
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await ask.aclose()
        return asyncio.get_running_loop().time() - began

    assert run(main()) == pytest.approx(60)
    assert client.under_way == 0 and client.closed


def test_what_may_heal_is_tried_again(ledger: Ledger) -> None:
    trouble = [Transient("status 500", kind="server"), Transient("reset", kind="connection")]
    client = ScriptedClient(script=[*trouble, "at last"])
    ask = engine(ledger, client)
    assert run(_ask(ask, "q")).text == "at last"
    assert (ask.totals.retries, ask.totals.requests, ask.totals.failed) == (2, 1, 0)


def test_tries_are_bounded_and_the_cause_is_named(ledger: Ledger) -> None:
    client = ScriptedClient(script=[Transient("status 500: oops", kind="server")] * 99)
    ask = engine(ledger, client, retries=Retries(tries={"server": 4}))
    with pytest.raises(RequestFailed, match=r"model `teacher`: status 500: oops \(4 attempts\)") as caught:
        run(_ask(ask, "q"))
    assert caught.value.kind == "server"
    assert len(client.requests) == 4
    assert (ask.totals.failed, ask.totals.retries) == (1, 3)
    assert count(ledger.folder).replies == 0


async def test_what_cannot_heal_fails_at_once(ledger: Ledger) -> None:
    client = ScriptedClient(script=[RequestFailed("too long", kind="context")])
    ask = engine(ledger, client)
    with pytest.raises(RequestFailed, match="model `teacher`: too long"):
        await ask(MODEL, said("q"))
    assert len(client.requests) == 1
    assert (await ask(MODEL, said("q"))).text == "reply to q"  # a failure is not kept


@pytest.mark.parametrize("kind", ["auth", "model", "quota"])
async def test_what_every_request_would_meet_ends_the_step(ledger: Ledger, kind: str) -> None:
    client = ScriptedClient(script=[RequestFailed("status 401: no", kind=kind, tip="check `api_key`")])
    with pytest.raises(StepFailed, match=r"model `teacher`: status 401: no\n  tip: check `api_key`"):
        await engine(ledger, client)(MODEL, said("q"))


def test_a_wait_beyond_patience_ends_the_step(ledger: Ledger) -> None:
    client = ScriptedClient(script=[Transient("status 429", kind="rate_limit", retry_after=7200)])
    with pytest.raises(StepFailed, match="asks to wait 7,200 seconds"):
        run(_ask(engine(ledger, client), "q"))


GONE = Transient("h:1 cannot be reached: Connection refused", kind="unreachable")


def test_a_server_that_never_answered_ends_the_step_after_four_calls(ledger: Ledger) -> None:
    client = ScriptedClient(script=[GONE] * 99)
    with pytest.raises(StepFailed, match=r"model `teacher`: h:1 cannot be reached: Connection refused \(4 attempts\)"):
        run(_ask(engine(ledger, client), "q"))
    assert len(client.requests) == 4


@pytest.mark.parametrize("before", ["a reply", RequestFailed("too long", kind="context")])
def test_a_server_that_answered_once_is_called_longer(ledger: Ledger, before: str | RequestFailed) -> None:
    client = ScriptedClient(script=[before, *[GONE] * 6, "back again"])
    ask = engine(ledger, client)

    async def main() -> str:
        with contextlib.suppress(RequestFailed):
            await _ask(ask, "first")
        return (await _ask(ask, "second")).text

    assert run(main()) == "back again"


async def test_a_bug_in_a_client_is_not_hidden(ledger: Ledger) -> None:
    ask = engine(ledger, ScriptedClient(script=[ZeroDivisionError()]))
    with pytest.raises(ZeroDivisionError):
        await ask(MODEL, said("q"))
    assert (await ask(MODEL, said("q"))).text == "reply to q"


async def test_no_more_than_concurrency_are_under_way(ledger: Ledger) -> None:
    client = ScriptedClient(seconds=0.001)
    ask = engine(ledger, client, concurrency=5)
    await asyncio.gather(*(ask(MODEL, said(str(i))) for i in range(40)))
    assert client.most_under_way == 5


async def test_the_budget_is_never_exceeded_and_nearly_used_up(ledger: Ledger, tmp_path: Path) -> None:
    client = ScriptedClient(seconds=0.001)
    budget = Budget(tmp_path / "spent", tmp_path / "run" / "reserved", usd=1200e-6)  # one may cost 1024e-6
    ask = engine(ledger, client, spend=budget, concurrency=64)
    outcomes = await asyncio.gather(*(ask(MODEL, said(str(i))) for i in range(100)), return_exceptions=True)
    replies = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
    assert {type(outcome) for outcome in outcomes} == {Completion, BudgetSpent}
    assert len(replies) == 9  # 20e-6 each: after the ninth, 1024e-6 more no longer fit
    assert budget.spent == pytest.approx(len(replies) * 20e-6)
    assert ask.totals.usd == pytest.approx(budget.spent)
    assert ask.totals.requests == len(replies) and ask.totals.failed == 0
    larger = engine(ledger, client, spend=Budget(tmp_path / "spent", tmp_path / "again" / "reserved", usd=1.0))
    assert all([await larger(MODEL, said(str(i))) for i in range(100)])
    assert larger.totals.replayed == len(replies)


async def test_replays_cost_nothing_and_need_no_budget(ledger: Ledger, tmp_path: Path) -> None:
    await engine(ledger, ScriptedClient())(MODEL, said("q"))
    broke = engine(ledger, ScriptedClient(), spend=Budget(tmp_path / "spent", tmp_path / "reserved", usd=0.0))
    assert (await broke(MODEL, said("q"))).text == "reply to q"
    with pytest.raises(BudgetSpent, match=r"the budget of \$0.00 is spent"):
        await broke(MODEL, said("another"))


def test_a_budget_refuses_to_start_where_a_price_is_unknown(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(BezoarError, match=r"no price is known for model `teacher`\n  tip: give it `price:"):
        engine(ledger, ScriptedClient(), price=None, spend=Budget(tmp_path / "spent", tmp_path / "reserved", usd=5.0))


async def test_an_unknown_price_is_unknown_and_not_nothing(ledger: Ledger, tmp_path: Path) -> None:
    ask = engine(ledger, ScriptedClient(), price=None, spend=Budget(tmp_path / "spent", tmp_path / "reserved"))
    await ask(MODEL, said("q"))
    assert ask.totals.usd is None
    assert count(ledger.folder).models[0].usd is None


async def test_a_reply_without_token_counts_is_charged_by_a_high_guess(ledger: Ledger) -> None:
    ask = engine(ledger, ScriptedClient(script=[Completion(text="x")]))
    await ask(MODEL, said("q" * 300), sampling=Sampling(max_tokens=1000))
    assert ask.totals.usd == pytest.approx((100 * 1.0 + 1000 * 2.0) / 1e6)


async def test_totals(ledger: Ledger) -> None:
    ask = engine(ledger, ScriptedClient())
    for text in "aab":
        await ask(MODEL, said(text))
    ((first, last),) = ask.totals.came.values()
    assert 0 < first <= last and set(ask.totals.came) == {MODEL.name}
    assert ask.totals == Totals(
        came=ask.totals.came,
        requests=3,
        replayed=1,
        input_tokens=30,
        output_tokens=15,
        usd=pytest.approx(40e-6),
        replayed_usd=pytest.approx(20e-6),
    )


async def test_closing_closes_the_clients(ledger: Ledger) -> None:
    client = ScriptedClient()
    await engine(ledger, client).aclose()
    assert client.closed


async def _ask(ask: Engine, text: str) -> Completion:
    return await ask(MODEL, said(text))
