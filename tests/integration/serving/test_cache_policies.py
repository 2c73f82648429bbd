"""Cache policies are kept per project and app, and what was cleared never comes back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tetrad.kernel import FixedClock, NotFound
from tetrad.kit.db import Database
from tetrad.serving import CachePolicy
from tetrad.serving._cache_policies import OTHER_CALLS, BadCachePolicy, CachePolicies
from tetrad.serving._store import SqlCachePolicyStore

ALWAYS = CachePolicy(use="always", ttl_s=60, tools=True, shared_by="user", semantic="cold", threshold=0.99)


def only_bot(_project: str, app: str) -> None:
    if app != "bot":
        raise NotFound(f"there is no app {app!r}")


@pytest.fixture
def told() -> list[None]:
    return []


@pytest.fixture
def policies(database: Database, told: list[None]) -> CachePolicies:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    store = SqlCachePolicyStore(database, clock)
    return CachePolicies(store, clock, on_change=lambda: told.append(None), refuse_unknown_app=only_bot)


def test_what_was_put_is_what_route_tables_get_and_every_change_is_told(
    policies: CachePolicies, told: list[None]
) -> None:
    assert policies.put("p", "bot", ALWAYS) == ALWAYS
    policies.put("p", OTHER_CALLS, CachePolicy(use="never"))
    assert policies.all() == {"p/bot": ALWAYS, "p/": CachePolicy(use="never")}
    assert policies.of_project("p") == {OTHER_CALLS: CachePolicy(use="never"), "bot": ALWAYS}
    assert policies.of_project("q") == {OTHER_CALLS: CachePolicy()}
    assert len(told) == 2


def test_clearing_makes_another_generation_that_a_change_keeps(policies: CachePolicies) -> None:
    policies.put("p", "bot", ALWAYS)
    assert policies.clear("p", "bot") == "bot"
    first = policies.all()["p/bot"].generation
    assert policies.clear("p", "bot") == "bot"
    second = policies.all()["p/bot"].generation
    assert second > first > 0
    policies.put("p", "bot", CachePolicy(ttl_s=5))
    assert policies.all()["p/bot"] == CachePolicy(ttl_s=5, generation=second)


def test_clearing_an_app_without_a_policy_clears_what_it_is_cached_under(policies: CachePolicies) -> None:
    assert policies.clear("p", "bot") == OTHER_CALLS
    assert policies.all()["p/"].generation > 0


@pytest.mark.parametrize("app", ["bot", OTHER_CALLS])
def test_what_was_cached_before_a_policy_was_dropped_stays_unreachable(policies: CachePolicies, app: str) -> None:
    policies.put("p", app, ALWAYS)
    before = policies.of_project("p")[OTHER_CALLS].generation
    policies.drop("p", app)
    assert "bot" not in policies.of_project("p")
    assert policies.of_project("p")[OTHER_CALLS].generation > before
    assert policies.of_project("p")[OTHER_CALLS].use == "asked"


@pytest.mark.parametrize(
    "bad", [CachePolicy(ttl_s=0), CachePolicy(ttl_s=3_000_000), CachePolicy(threshold=0.5), CachePolicy(threshold=1.1)]
)
def test_what_cannot_be_is_refused(policies: CachePolicies, bad: CachePolicy) -> None:
    with pytest.raises(BadCachePolicy):
        policies.put("p", "bot", bad)


def test_an_app_that_is_not_there_has_no_policy(policies: CachePolicies) -> None:
    for act in (policies.clear, policies.drop):
        with pytest.raises(NotFound):
            act("p", "bto")
    with pytest.raises(NotFound):
        policies.put("p", "bto", ALWAYS)
