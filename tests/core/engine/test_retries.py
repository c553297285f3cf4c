from __future__ import annotations

import pytest

from bezoar_core.engine.retries import TRIES, Retries
from bezoar_core.errors import RequestFailed, StepFailed, Transient

KEY = b"k" * 32


def test_delays_double_up_to_the_most_with_jitter_below() -> None:
    rules = Retries(tries={"server": 99}, first=1.0, most=8.0)
    for failures, most in enumerate([1, 2, 4, 8, 8, 8], start=1):
        earlier = ["server"] * (failures - 1)
        delays = {rules.delay(Transient("x", kind="server"), earlier, bytes([n]) * 32) for n in range(50)}
        assert most / 2 <= min(delays) < max(delays) <= most
        assert len(delays) == 50


def test_the_same_request_waits_the_same_every_time() -> None:
    trouble = Transient("x", kind="server")
    assert Retries().delay(trouble, ["server"], KEY) == Retries().delay(trouble, ["server"], KEY)


def test_the_server_says_how_long() -> None:
    rules = Retries()
    assert 20 <= rules.delay(Transient("x", kind="rate_limit", retry_after=20), [], KEY) <= 22
    assert rules.delay(Transient("x", kind="rate_limit", retry_after=0), [], KEY) == 0


def test_a_server_that_asks_for_hours_ends_the_step() -> None:
    with pytest.raises(StepFailed, match=r"slow down: the server asks to wait 3,600 seconds\n  tip: run again then"):
        Retries().delay(Transient("slow down", kind="rate_limit", retry_after=3600), [], KEY)


def test_a_server_that_was_never_there_ends_the_step_within_seconds() -> None:
    rules, trouble = Retries(), Transient("h:1 cannot be reached: Connection refused", kind="unreachable")
    earlier: list[str] = []
    waited = 0.0
    with pytest.raises(
        StepFailed, match=r"Connection refused \(4 attempts\)\n  tip: check `base_url`, and that a server"
    ):
        while True:
            waited += rules.delay(trouble, earlier, KEY, reached=False)
            earlier.append(trouble.kind)
    assert 1.5 < waited < 4


def test_a_server_that_was_there_once_is_waited_for() -> None:
    trouble = Transient("h:1 cannot be reached: Connection refused", kind="unreachable")
    waits = [Retries().delay(trouble, ["unreachable"] * count, KEY, reached=True) for count in range(7)]
    assert sum(waits) > 30
    with pytest.raises(RequestFailed):
        Retries().delay(trouble, ["unreachable"] * 7, KEY, reached=True)


@pytest.mark.parametrize("kind", [*TRIES, "another"])
def test_attempts_are_bounded_by_kind(kind: str) -> None:
    rules = Retries()
    most = TRIES.get(kind, 5)
    for failures in range(most - 1):
        assert rules.delay(Transient("x", kind=kind), [kind] * failures, KEY) > 0
    with pytest.raises(RequestFailed, match=rf"x \({most + 1} attempts\)") as caught:
        rules.delay(Transient("x", kind=kind), [kind] * (most - 1) + ["of another kind"], KEY)
    assert caught.value.kind == kind
