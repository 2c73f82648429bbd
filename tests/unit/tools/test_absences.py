"""What is said of MCP servers that answers for all have to do without: changes, and not each request."""

from __future__ import annotations

import logging

import pytest

from tetrad.kernel import FixedClock, Overloaded, TetradError, Unavailable
from tetrad.tools import Absences, ServerBroken, SessionUnknown
from tetrad.tools._absences import AGAIN_S, QUIET_S

DOWN = Unavailable("it is down", code="upstream_unreachable")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_it_is_said_when_it_changes_and_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tetrad.tools._absences")
    clock = FixedClock()
    absences = Absences(clock)
    for _ in range(100):
        absences.gone("p", "one", DOWN)
    assert told(caplog) == [("WARNING", "the MCP server 'one' of 'p' is left out of answers for all: it is down")]
    clock.advance(AGAIN_S)
    absences.gone("p", "one", DOWN)
    assert len(told(caplog)) == 2
    clock.advance(QUIET_S)
    absences.gone("p", "one", ServerBroken("it answers nonsense"))
    assert told(caplog)[2][1].endswith("it answers nonsense")
    clock.advance(QUIET_S)
    for _ in range(100):
        absences.back("p", "one")
    assert told(caplog)[3:] == [("INFO", "the MCP server 'one' of 'p' takes part in answers for all again")]


def test_one_that_comes_and_goes_is_said_at_most_as_often_as_it_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tetrad.tools._absences")
    clock = FixedClock()
    absences = Absences(clock)
    for _ in range(1000):
        absences.gone("p", "one", DOWN)
        absences.back("p", "one")
        clock.advance(0.01)
    assert len(told(caplog)) <= 10 / QUIET_S + 1
    assert list(absences.now()) == [("p", "one", False)]
    assert list(absences.counts()) == [("p", "one", "upstream_unreachable", 1000)]


@pytest.mark.parametrize(
    "error", [SessionUnknown("old"), Overloaded("too many", code="rate_limit_exceeded"), TetradError("no", status=400)]
)
def test_what_a_client_brought_about_says_nothing_of_the_server(
    caplog: pytest.LogCaptureFixture, error: TetradError
) -> None:
    absences = Absences(FixedClock())
    absences.gone("p", "one", error)
    assert told(caplog) == []
    assert list(absences.now()) == []
    assert [count for *_, count in absences.counts()] == [1]


def test_servers_that_are_no_more_are_forgotten_and_counts_are_bounded() -> None:
    absences = Absences(FixedClock())
    for number in range(2000):
        absences.gone("p", f"s{number}", DOWN)
    absences.keep({"p/s1": object()})
    assert list(absences.now()) == [("p", "s1", True)]
    counts = list(absences.counts())
    assert len(counts) <= 601
    assert sum(count for *_, count in counts) == 2000
