"""What stands for a key while something of it is answered in the background."""

from __future__ import annotations

import pytest

from tetrad.identity import KeyGrant, hash_secret
from tetrad.kernel import SystemClock
from tetrad.processes.control._background import CallGrants
from tetrad.responses import ResponseKeyGone

ADA = KeyGrant("hash-a", "key_ada", "default", ("data",), "full", 5 * 10**18, team="red", models=(("local/*",),))
BOB = KeyGrant("hash-b", "key_bob", "default", ("data",), "full", 0)
WATCHER = KeyGrant("hash-w", "key_watcher", "default", ("control",), "full", 0)


class Office:
    """Open responses, keys that work, and how often the route table was to be made anew."""

    def __init__(self) -> None:
        self.open: set[tuple[str, str]] = set()
        self.working = [ADA, BOB, WATCHER]
        self.changes = 0
        self.grants = CallGrants(
            b"sealing key", lambda: set(self.open), lambda: list(self.working), SystemClock(), self.change
        )

    def change(self) -> None:
        self.changes += 1


def test_gateways_know_a_stand_in_while_something_of_its_key_is_under_way() -> None:
    office = Office()
    assert list(office.grants.grants()) == []
    office.open = {("default", "key_ada")}
    (granted,) = office.grants.grants()
    assert granted.hash == hash_secret(office.grants.secret("default", "key_ada"))
    assert granted.background
    assert (granted.key_id, granted.team, granted.models, granted.expires_ns) == (
        "key_ada", "red", (("local/*",),), 5 * 10**18,
    )  # fmt: skip
    office.open = set()
    assert list(office.grants.grants()) == []


def test_each_key_of_each_project_and_installation_has_a_stand_in_of_its_own() -> None:
    office, other = Office(), Office()
    assert office.grants.secret("default", "key_ada") == other.grants.secret("default", "key_ada")
    assert office.grants.secret("default", "key_ada") != office.grants.secret("default", "key_bob")
    elsewhere = CallGrants(b"another key", set, lambda: [ADA], SystemClock(), office.change)
    assert elsewhere.secret("default", "key_ada") != office.grants.secret("default", "key_ada")


def test_the_route_table_is_made_anew_only_for_a_key_that_gateways_do_not_know() -> None:
    office = Office()
    office.grants.needed("default", "key_ada")
    assert office.changes == 1
    office.open = {("default", "key_ada")}
    assert len(list(office.grants.grants())) == 1
    office.grants.needed("default", "key_ada")
    assert office.changes == 1
    office.grants.needed("default", "key_bob")
    assert office.changes == 2


def test_a_key_that_is_gone_or_may_call_no_models_has_none() -> None:
    office = Office()
    office.open = {("default", "key_ada"), ("default", "key_watcher")}
    office.working = [WATCHER]
    assert list(office.grants.grants()) == []
    for key in ("key_ada", "key_watcher", "key_nobody"):
        with pytest.raises(ResponseKeyGone, match=key):
            office.grants.secret("default", key)


def test_a_key_that_was_just_made_is_known_at_once() -> None:
    office = Office()
    office.working = [ADA]
    office.grants.secret("default", "key_ada")
    office.working = [ADA, BOB]
    assert office.grants.secret("default", "key_bob")
