"""How providers answer and what the cache saves, as spans tell it, in the store and through the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from support.spans import SECOND_NS, Kept, a_span, an_exchange
from support.traces_api import FixedKeys, served
from tetrad.kernel import Usage
from tetrad.kit.http import PROBLEM_RESPONSES, guard
from tetrad.processes.control._traffic import traffic_router
from tetrad.traces import Span
from tetrad.traces.errors import BadWindow


@pytest.fixture(scope="module")
def address(kept: Kept) -> Iterator[str]:
    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    app.include_router(traffic_router(kept.traces))
    guard(app, FixedKeys())
    with served(app) as url:
        yield url


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"authorization": "Bearer control-key"}, trust_env=False) as client:
        yield client


def a_call(upstream: str, *, took_s: float = 1.0, **given: Any) -> list[Span]:
    """Return a request of one call that took so long at an upstream, with the call's fields as given."""
    start = given.pop("start_ns", time.time_ns() - 60 * SECOND_NS)
    attributes = {"upstream": upstream, "tetrad.model": f"{upstream}/m1", **given.pop("attributes", {})}
    end = start + SECOND_NS // 100 + int(took_s * SECOND_NS)
    root, call = an_exchange(start_ns=start, end_ns=end, **given)
    return [a_span(**{**_fields(root), "attributes": {}}), a_span(**{**_fields(call), "attributes": attributes})]


def _fields(span: Span) -> dict[str, Any]:
    return {name: getattr(span, name) for name in span.__struct_fields__}


def test_each_upstream_is_told_by_its_own_calls_and_its_newest_failures(kept: Kept, project: str) -> None:
    now = time.time_ns()
    for took_s in (1.0, 2.0, 3.0):
        kept.ship(a_call("acme", took_s=took_s, project=project))
    kept.ship(a_call("local", project=project))
    failed = {"project": project, "status": "error", "usage": None, "cost": None}
    for age_s in range(120, 128):
        kept.ship(
            a_call(
                "acme", start_ns=now - age_s * SECOND_NS, took_s=0.001, error_type="rate_limited", http_status=429,
                status_message=f"slow down, {age_s}", **failed,
            )
        )  # fmt: skip
    kept.ship(a_call("acme", error_type="cancelled", **failed))
    kept.ship(a_call("acme", project=f"{project}-other"))

    found = kept.traces.traffic(project, failures=5)
    assert [each.name for each in found.upstreams] == ["acme", "local"]
    acme, local = found.upstreams
    assert (acme.calls, acme.errors, acme.cancelled) == (12, 8, 1)
    assert acme.latency_p50_ms == pytest.approx(2000), "what failed at once does not make a provider look fast"
    assert [failure.message for failure in acme.failures] == [f"slow down, {age_s}" for age_s in range(120, 125)]
    assert {(failure.model, failure.http_status, failure.error_type) for failure in acme.failures} == {
        ("acme/m1", 429, "rate_limited")
    }
    assert len(acme.series) == 60
    assert (sum(p.calls for p in acme.series), sum(p.errors for p in acme.series)) == (12, 8)
    assert (local.calls, local.errors, local.failures) == (1, 0, ())


def test_an_upstream_whose_calls_all_failed_has_no_latency(kept: Kept, project: str) -> None:
    kept.ship(a_call("acme", project=project, status="error", error_type="timeout", usage=None, cost=None))
    (acme,) = kept.traces.traffic(project).upstreams
    assert (acme.calls, acme.errors, acme.latency_p50_ms, acme.first_token_p95_ms) == (1, 1, None, None)


def test_what_the_cache_answered_is_no_call_of_the_provider(kept: Kept, project: str) -> None:
    kept.ship(a_call("acme", project=project, attributes={"tetrad.cache": "miss"}))
    hit = {"tetrad.cache": "hit", "cache.kind": "exact", "cache.saved_tokens": "17", "cache.saved_ms": "900"}
    kept.ship(a_call("acme", project=project, usage=Usage(), cost="0", attributes=hit))
    (acme,) = kept.traces.traffic(project).upstreams
    assert acme.calls == 1


def test_the_cache_tells_what_it_saved_and_never_takes_unknown_prices_for_nothing(kept: Kept, project: str) -> None:
    def lookup(result: str, app: str, **saved: str) -> None:
        attributes = {"tetrad.cache": result, **{f"cache.{name}": value for name, value in saved.items()}}
        kept.ship(a_call("acme", project=project, app=app, attributes=attributes))

    lookup("miss", "bot")
    lookup("refresh", "bot")
    distant = {"level": "server", "saved_cost": "0.000000000001 USD"}
    lookup("hit", "bot", kind="exact", saved_tokens="17", saved_ms="900", **distant)
    lookup("hit", "bot", kind="similar", level="memory", saved_tokens="3", saved_ms="100", saved_cost="0.25 EUR")
    lookup("hit", "bot", kind="exact", saved_tokens="3", saved_ms="100", saved_cost="1.50 USD")
    lookup("hit", "", kind="exact", saved_tokens="5", saved_ms="10")
    kept.ship(a_call("acme", project=project, app="bot"))  # the cache was not asked

    use = kept.traces.cache_use(project, "1h")
    bot, others = use.apps
    assert (bot.app, bot.hits, bot.similar_hits, bot.shared_hits, bot.misses, bot.refreshes) == ("bot", 3, 1, 1, 1, 1)
    assert (bot.saved_tokens, bot.saved_ms, bot.unpriced_hits) == (23, 1100, 0)
    assert {(cost.amount, cost.currency) for cost in bot.saved} == {("1.500000000001", "USD"), ("0.25", "EUR")}
    assert (others.app, others.hits, others.unpriced_hits, others.saved) == ("", 1, 1, ())
    assert len(use.series) == 60
    assert (sum(p.hits for p in use.series), sum(p.misses for p in use.series)) == (4, 2)


def test_the_same_calls_shipped_twice_count_once(kept: Kept, project: str) -> None:
    calls = a_call("acme", project=project, attributes={"tetrad.cache": "miss"})
    kept.ship(calls)
    kept.ship(calls)
    assert kept.traces.traffic(project).upstreams[0].calls == 1
    assert kept.traces.cache_use(project, "15m").apps[0].misses == 1


def test_a_window_that_is_none_is_refused(kept: Kept, project: str) -> None:
    with pytest.raises(BadWindow):
        kept.traces.traffic(project, "2h")  # type: ignore[arg-type]
    with pytest.raises(BadWindow):
        kept.traces.cache_use(project, "2h")  # type: ignore[arg-type]


def test_the_api_tells_rates_as_shares_of_calls_that_were_not_given_up(api: httpx.Client, kept: Kept) -> None:
    failed = {"status": "error", "usage": None, "cost": None}
    for _ in range(3):
        kept.ship(a_call("acme"))
    kept.ship(a_call("acme", error_type="unavailable", status_message="x" * 2000, **failed))
    kept.ship(a_call("acme", error_type="cancelled", **failed))
    answer = api.get("/api/v1/projects/default/provider-traffic")
    assert answer.status_code == 200, answer.text
    (acme,) = answer.json()["items"]
    assert (acme["name"], acme["error_rate"], acme["calls_per_minute"]) == ("acme", 0.25, round(5 / 15, 3))
    assert [len(failure["message"]) for failure in acme["failures"]] == [500]
    use = api.get("/api/v1/projects/default/cache-use?window=7d").json()
    assert (use["items"], len(use["series"])) == ([], 56)
    assert api.get("/api/v1/projects/default/cache-use?window=2h").status_code == 400
    other = {"authorization": "Bearer other-key"}
    assert api.get("/api/v1/projects/default/provider-traffic", headers=other).status_code == 404
    assert api.get("/api/v1/projects/other/provider-traffic", headers=other).json()["items"] == []
