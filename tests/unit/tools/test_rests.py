"""Servers that let others wait rest, and are asked again by one request at a time."""

from __future__ import annotations

from tetrad.kernel import FixedClock, Overloaded, Unavailable
from tetrad.tools import ServerBroken
from tetrad.tools._rests import FIRST_S, FORGOTTEN_S, LONGEST_S, PROBE_S, Asked, Rests

SLOW = Unavailable("it did not answer within 10 s", code="tool_server_timeout")
LIST, GREET, TOLD = Asked("p", "one", "tools/list"), Asked("p", "one", "initialize"), Asked("p", "one", "")


def resting() -> tuple[Rests, FixedClock]:
    clock = FixedClock()
    rests = Rests(clock)
    rests.failed(LIST, SLOW, 10.0)
    return rests, clock


def test_a_server_that_let_others_wait_is_asked_again_after_a_while_by_one() -> None:
    rests, clock = resting()
    why = rests.why(LIST)
    assert why is not None
    assert (why.code, why.message) == (
        "tool_server_timeout", "it did not answer within 10 s; it is asked again in 5 s",
    )  # fmt: skip
    clock.advance(FIRST_S)
    assert rests.why(LIST) is None
    rests.begin(LIST)
    why = rests.why(LIST)
    assert why is not None
    assert why.message.endswith("it is being asked again")
    rests.back(LIST)
    assert rests.why(LIST) is None
    assert not rests.resting("p", "one")


def test_a_rest_that_nobody_asks_about_is_due_and_forgotten_in_the_end() -> None:
    rests, clock = resting()
    clock.advance(FIRST_S)
    assert [each.state for each in rests.now()] == ["due"]
    clock.advance(FORGOTTEN_S + 1)
    assert list(rests.now()) == []
    assert not rests.resting("p", "one")


def test_each_failure_doubles_the_rest_up_to_five_minutes() -> None:
    rests, clock = resting()
    waited = []
    for _ in range(10):
        pause = 0.0
        while rests.why(LIST) is not None:
            clock.advance(1.0)
            pause += 1.0
        waited.append(pause)
        rests.begin(LIST)
        rests.failed(LIST, ServerBroken("no"), 10.0)
    assert waited == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert waited[-1] == LONGEST_S


def test_what_refuses_at_once_or_refuses_the_client_is_asked_each_time() -> None:
    rests = Rests(FixedClock())
    rests.failed(LIST, SLOW, PROBE_S / 2)
    rests.failed(LIST, Overloaded("too much"), 10.0)
    rests.failed(TOLD, SLOW, 10.0)
    assert rests.why(LIST) is rests.why(TOLD) is None
    assert not rests.resting("p", "one")


def test_what_fails_at_once_when_it_is_asked_again_rests_no_longer() -> None:
    for error in (SLOW, ServerBroken("no"), Overloaded("too much")):
        rests, clock = resting()
        clock.advance(FIRST_S)
        rests.begin(LIST)
        rests.failed(LIST, error, 0.01)
        assert rests.why(LIST) is None, "it let nobody wait"
        assert not rests.resting("p", "one")


def test_those_that_failed_together_have_failed_once() -> None:
    rests, clock = resting()
    for _ in range(20):
        rests.failed(LIST, SLOW, 10.0)
    clock.advance(FIRST_S)
    assert rests.why(LIST) is None


def test_what_a_server_answers_says_nothing_of_what_it_does_not() -> None:
    rests, _ = resting()
    assert rests.why(GREET) is None
    assert rests.resting("p", "one"), "so nobody waits long for its greeting"
    rests.back(GREET)
    assert rests.why(LIST) is not None


def test_a_server_that_answers_gets_its_time_again_for_what_nobody_asked_since_its_rest_was_over() -> None:
    rests, clock = resting()
    clock.advance(FIRST_S + 1)
    rests.back(GREET)
    assert not rests.resting("p", "one")


def test_a_client_that_leaves_lets_the_next_one_ask_and_servers_that_are_gone_are_forgotten() -> None:
    rests, clock = resting()
    clock.advance(FIRST_S)
    rests.begin(LIST)
    rests.left(LIST)
    assert rests.why(LIST) is None
    rests.keep({"p/one"})
    assert rests.resting("p", "one")
    rests.keep({"q/one"})
    assert not rests.resting("p", "one")


def test_what_rests_is_told_with_since_when_until_when_and_why() -> None:
    rests, clock = resting()
    clock.advance(2.0)
    (told,) = rests.now()
    assert (told.project, told.server, told.method, told.state) == ("p", "one", "tools/list", "resting")
    assert (told.failures, told.since_s, told.left_s) == (1, 2.0, 3.0)
    assert (told.code, told.reason) == ("tool_server_timeout", "it did not answer within 10 s")
    clock.advance(FIRST_S)
    assert [(each.state, each.left_s) for each in rests.now()] == [("due", 0.0)]
    rests.begin(LIST)
    assert [each.state for each in rests.now()] == ["probing"]
    rests.failed(LIST, SLOW, 10.0)
    assert [(each.failures, each.since_s, each.left_s) for each in rests.now()] == [(2, 7.0, 2 * FIRST_S)]
    rests.back(LIST)
    assert list(rests.now()) == []
