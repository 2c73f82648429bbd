"""Routes are kept per project, and a name means one of them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from tetrad.kernel import FixedClock, TooLarge
from tetrad.kit.db import Database
from tetrad.serving import (
    AnswersState,
    BreakerPolicy,
    Condition,
    Deadlines,
    Fallbacks,
    GatewayHealth,
    HedgePolicy,
    ModelRoute,
    RestState,
    RetryPolicy,
    RouteTarget,
    ServerRest,
    TargetHealth,
    check_route,
)
from tetrad.serving._route_directory import FRESH_S, RouteDirectory, RouteHealth
from tetrad.serving._store import SqlRouteStore
from tetrad.serving.errors import BadRoute, RouteNotFound

ROUTE = ModelRoute(
    name="smart",
    project="default",
    targets=(
        RouteTarget("local/m", when=Condition(sensitivities=("secret",)), max_in_flight=4),
        RouteTarget("acme/big", weight=3, priority=1),
    ),
    strategy="weighted",
    affinity="session",
    aliases=("gpt-9",),
    fallbacks=Fallbacks(context_window=(RouteTarget("acme/long"),)),
    deadlines=Deadlines(total_s=30),
)


@pytest.fixture
def directory(database: Database) -> RouteDirectory:
    return RouteDirectory(SqlRouteStore(database, FixedClock()))


def test_what_was_put_is_what_is_read_and_every_change_is_told(database: Database) -> None:
    told: list[None] = []
    directory = RouteDirectory(SqlRouteStore(database, FixedClock()), on_change=lambda: told.append(None))
    directory.put(ROUTE)
    directory.put(ROUTE)
    assert directory.get("default", "smart") == ROUTE
    assert directory.all() == directory.all("default") == [ROUTE]
    directory.drop("default", "smart")
    assert directory.all() == []
    assert len(told) == 3


def test_a_route_is_its_projects_alone(directory: RouteDirectory) -> None:
    directory.put(ROUTE)
    assert directory.all("other") == []
    with pytest.raises(RouteNotFound):
        directory.get("other", "smart")
    with pytest.raises(RouteNotFound):
        directory.drop("other", "smart")
    directory.put(msgspec.structs.replace(ROUTE, project="other", strategy="cost"))
    assert directory.get("default", "smart").strategy == "weighted"


@pytest.mark.parametrize("names", [("gpt-9", ()), ("other", ("smart",)), ("other", ("gpt-9",))])
def test_no_two_routes_of_a_project_share_a_name(directory: RouteDirectory, names: tuple) -> None:
    directory.put(ROUTE)
    with pytest.raises(BadRoute) as refusal:
        directory.put(msgspec.structs.replace(ROUTE, name=names[0], aliases=names[1]))
    assert refusal.value.status == 409


def test_a_project_has_a_bounded_number_of_routes(database: Database) -> None:
    store = SqlRouteStore(database, FixedClock())
    store.put(ROUTE, most=1)
    store.put(ROUTE, most=1)
    with pytest.raises(BadRoute, match="has 1 routes"):
        store.put(msgspec.structs.replace(ROUTE, name="more", aliases=()), most=1)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Smart"},
        {"name": "a/b"},
        {"name": "health"},
        {"aliases": ("app:x",)},
        {"aliases": ("smart",)},
        {"aliases": tuple(f"a{number}" for number in range(17))},
        {"targets": ()},
        {"targets": (RouteTarget("a"), RouteTarget("a"))},
        {"targets": tuple(RouteTarget(f"m{number}") for number in range(33))},
        {"targets": (RouteTarget("app:bot"),)},
        {"targets": (RouteTarget("a", weight=-1),)},
        {"targets": (RouteTarget("a", max_in_flight=-1),)},
        {"targets": (RouteTarget("a", when=Condition(regions=("e u",))),)},
        {"fallbacks": Fallbacks(error=(RouteTarget("release:x"),))},
        {"retry": RetryPolicy(retries=9)},
        {"retry": RetryPolicy(first_pause_s=9, longest_pause_s=1)},
        {"deadlines": Deadlines(total_s=float("nan"))},
        {"hedge": HedgePolicy(budget_percent=3)},
        {"breaker": BreakerPolicy(ratio=0)},
        {"max_attempts": 9},
    ],
)
def test_what_cannot_be_a_route_is_refused(change: dict) -> None:
    with pytest.raises(BadRoute):
        check_route(msgspec.structs.replace(ROUTE, **change))


def _told(state: str = "closed", *, project: str = "default", **changes: object) -> TargetHealth:
    told = TargetHealth(f"{project}/smart", "acme/big", state, 2, False, 0.5, {"ok": 3})
    return msgspec.structs.replace(told, **changes)


GATES = {"acme": {"limit": 7.5, "in_flight": 7, "waiting": 5, "refused": 1}}


def test_what_gateways_tell_is_added_up_per_project_and_forgotten_when_they_are_silent() -> None:
    clock = FixedClock()
    health = RouteHealth(clock)
    health.note("w1", GatewayHealth((_told(), _told(project="other")), {"acme": {"ready": 2, "retired": 0}}))
    health.note("w2", GatewayHealth((_told("open", first_token_s=2.0, counts={"timeout": 5}),), {"acme": {"ready": 1}}))
    health.note(
        "w2", GatewayHealth((_told("open", first_token_s=2.0, counts={"timeout": 6}),), {"acme": {"ready": 1}}, GATES)
    )
    (found,) = health.of("default")
    assert (found.route, found.workers, found.open, found.in_flight, found.first_token_s) == ("smart", 2, 1, 4, 2.0)
    assert found.outcomes == {"ok": 3, "timeout": 6}
    acme = health.provider("acme")
    assert (acme.workers, acme.keys_ready, acme.waiting, acme.limit) == (2, 1, 5, 7.5)
    assert health.provider("nobody").workers == 0
    assert health.of("nobody") == []
    clock.advance(FRESH_S + 1)
    assert health.of("default") == []


def test_the_worst_that_a_gateway_tells_of_shared_answers_is_shown_until_it_is_silent() -> None:
    clock = FixedClock()
    health = RouteHealth(clock)
    assert health.answers().state == "none"
    for worker, told in enumerate((AnswersState("up"), AnswersState("down", "away"), AnswersState("untried"))):
        health.note(f"w{worker}", GatewayHealth(answers=told))
    assert (health.answers().state, health.answers().why, health.answers().workers) == ("down", "away", 3)
    health.note("w1", GatewayHealth(answers=AnswersState("up")))
    assert (health.answers().state, health.answers().why) == ("up", "")
    clock.advance(FRESH_S + 1)
    assert health.answers().state == "none"


def _rest(state: RestState = "resting", **changes: object) -> ServerRest:
    told = ServerRest("default", "files", "tools/list", state, 1, 4.0, 6.0, "tool_server_timeout", "it did not answer")
    return msgspec.structs.replace(told, **changes)


def test_servers_that_rest_are_told_by_name_as_the_worker_sees_them_that_will_know_first() -> None:
    clock = FixedClock()
    health = RouteHealth(clock)
    health.note("w1", GatewayHealth(rests=(_rest(), _rest(server="other"), _rest(project="elsewhere"))))
    begun = clock.now() - timedelta(seconds=4)
    clock.advance(1.0)
    health.note("w2", GatewayHealth(rests=(_rest(failures=3, since_s=1.0, left_s=2.0, reason="the worst"),)))
    found = health.rests("default")
    assert list(found) == ["files", "other"]
    (files,) = found["files"]
    assert (files.method, files.state, files.workers, files.failures) == ("tools/list", "resting", 2, 3)
    assert (files.since, files.next_probe_at) == (begun, clock.now() + timedelta(seconds=2))
    assert files.reason == "the worst"
    clock.advance(2.0)
    (files,) = health.rests("default")["files"]
    assert (files.state, files.next_probe_at) == ("due", None), "its time is over, and no request came since"
    health.note("w1", GatewayHealth(rests=(_rest("probing"),)))
    assert health.rests("default")["files"][0].state == "probing"
    health.note("w1", GatewayHealth())
    assert health.rests("default")["files"][0].workers == 1
    clock.advance(FRESH_S)
    assert health.rests("default") == {}


def test_a_worker_whose_times_cannot_be_breaks_no_answer() -> None:
    health = RouteHealth(FixedClock())
    health.note("w", GatewayHealth(rests=(_rest(since_s=1e300, left_s=-1e300),)))
    assert health.rests("default")["files"][0].state == "due"


@pytest.mark.parametrize("report", [GatewayHealth((_told(),) * 20_001), GatewayHealth(rests=(_rest(),) * 20_001)])
def test_a_report_that_is_too_large_is_refused(report: GatewayHealth) -> None:
    with pytest.raises(TooLarge):
        RouteHealth(FixedClock()).note("w", report)
