"""API keys on both databases: issued, recognised, rotated with grace, revoked, compiled for gateways."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from support.identity import ADMIN, make_identity
from tetrad.identity import Identity, IdentityPolicy, hash_secret
from tetrad.identity._model import KEY_SORTS, KeySearch, KeySort
from tetrad.identity._store import api_key_secrets, api_keys
from tetrad.identity.errors import BadKeyRequest, KeyEnded, KeyNotFound, KeyRefused, LimitReached, ProjectNotFound
from tetrad.kernel import FixedClock
from tetrad.kit.db import Database


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def identity(database: Database, clock: FixedClock) -> Identity:
    made = make_identity(database, clock=clock)
    made.projects.create(ADMIN, "default")
    return made


def test_a_key_is_recognised_by_its_secret_and_by_nothing_else(identity: Identity) -> None:
    issued = identity.keys.create(ADMIN, "default", "support bot", ["data", "pin"], content="redacted")
    found = identity.keys.recognise(issued.secret)
    assert (found.id, found.scopes, found.project, found.content) == (
        issued.key.id,
        ("data", "pin"),
        "default",
        "redacted",
    )
    for wrong in (issued.secret[:-1], issued.secret.swapcase(), "", issued.key.id, hash_secret(issued.secret)):
        with pytest.raises(KeyRefused):
            identity.keys.recognise(wrong)


def test_the_secret_is_nowhere_in_the_database(identity: Identity, database: Database) -> None:
    issued = identity.keys.create(ADMIN, "default", "support bot", ["data"])
    random_part = issued.secret.split("_")[2]
    with database.read() as connection:
        for table in ("api_keys", "api_key_secrets", "audit_log"):
            rows = connection.execute(sa.text(f"SELECT * FROM {table}")).fetchall()
            assert rows
            assert random_part not in repr(rows)


def test_an_expired_key_is_refused_from_that_moment_on(identity: Identity, clock: FixedClock) -> None:
    issued = identity.keys.create(ADMIN, "default", "k", ["data"], expires_at=clock.now() + timedelta(hours=1))
    clock.advance(3599)
    assert identity.keys.recognise(issued.secret).id == issued.key.id
    clock.advance(1)
    with pytest.raises(KeyRefused):
        identity.keys.recognise(issued.secret)
    assert identity.key_entries() == ()
    with pytest.raises(KeyEnded):
        identity.keys.rotate(ADMIN, "default", issued.key.id)


def test_after_a_rotation_both_secrets_work_until_the_grace_ends(identity: Identity, clock: FixedClock) -> None:
    old = identity.keys.create(ADMIN, "default", "k", ["data"])
    clock.advance(1)
    new = identity.keys.rotate(ADMIN, "default", old.key.id, grace=timedelta(hours=1))
    assert new.key.id == old.key.id
    assert new.secret != old.secret
    for secret in (old.secret, new.secret):
        assert identity.keys.recognise(secret).id == old.key.id
    entries = {entry.hash: entry for entry in identity.key_entries()}
    ends = clock.now() + timedelta(hours=1)
    assert entries[hash_secret(old.secret)].expires_ns == int(ends.timestamp()) * 10**9
    assert entries[hash_secret(new.secret)].expires_ns == 0
    clock.advance(3600)
    with pytest.raises(KeyRefused):
        identity.keys.recognise(old.secret)
    assert identity.keys.recognise(new.secret).id == old.key.id
    assert {entry.hash for entry in identity.key_entries()} == {hash_secret(new.secret)}


def test_a_second_rotation_does_not_lengthen_the_grace_of_the_first(identity: Identity, clock: FixedClock) -> None:
    first = identity.keys.create(ADMIN, "default", "k", ["data"])
    identity.keys.rotate(ADMIN, "default", first.key.id, grace=timedelta(minutes=1))
    identity.keys.rotate(ADMIN, "default", first.key.id, grace=timedelta(hours=9))
    clock.advance(61)
    with pytest.raises(KeyRefused):
        identity.keys.recognise(first.secret)


def test_a_rotation_without_grace_ends_the_old_secret_now(identity: Identity) -> None:
    old = identity.keys.create(ADMIN, "default", "k", ["data"])
    new = identity.keys.rotate(ADMIN, "default", old.key.id, grace=timedelta(0))
    with pytest.raises(KeyRefused):
        identity.keys.recognise(old.secret)
    assert identity.keys.recognise(new.secret).id == old.key.id


def test_rotating_without_end_is_refused(identity: Identity) -> None:
    key = identity.keys.create(ADMIN, "default", "k", ["data"]).key
    for _ in range(4):
        identity.keys.rotate(ADMIN, "default", key.id)
    with pytest.raises(BadKeyRequest, match="work already"):
        identity.keys.rotate(ADMIN, "default", key.id)
    identity.keys.rotate(ADMIN, "default", key.id, grace=timedelta(0))


def test_a_revoked_key_is_refused_at_once_with_all_its_secrets(identity: Identity) -> None:
    old = identity.keys.create(ADMIN, "default", "k", ["data"])
    new = identity.keys.rotate(ADMIN, "default", old.key.id)
    identity.keys.revoke(ADMIN, "default", old.key.id)
    for secret in (old.secret, new.secret):
        with pytest.raises(KeyRefused):
            identity.keys.recognise(secret)
    assert identity.key_entries() == ()
    assert identity.keys.revoke(ADMIN, "default", old.key.id).revoked_at is not None


def test_keys_of_another_project_cannot_be_touched(identity: Identity) -> None:
    identity.projects.create(ADMIN, "other")
    key = identity.keys.create(ADMIN, "default", "k", ["data"]).key
    for project in ("other", None):
        with pytest.raises(KeyNotFound):
            identity.keys.revoke(ADMIN, project, key.id)
        with pytest.raises(KeyNotFound):
            identity.keys.rotate(ADMIN, project, key.id)
    assert identity.keys.list("other") == []


def test_a_key_needs_a_project_that_exists(identity: Identity) -> None:
    with pytest.raises(ProjectNotFound):
        identity.keys.create(ADMIN, "nowhere", "k", ["data"])


def test_past_the_limit_no_more_keys_are_made(database: Database) -> None:
    identity = make_identity(database, policy=replace(IdentityPolicy(), max_keys=2))
    identity.projects.create(ADMIN, "default")
    first = identity.keys.create(ADMIN, "default", "1", ["data"]).key
    identity.keys.create(ADMIN, "default", "2", ["data"])
    with pytest.raises(LimitReached):
        identity.keys.create(ADMIN, "default", "3", ["data"])
    identity.keys.revoke(ADMIN, "default", first.id)
    identity.keys.create(ADMIN, "default", "3", ["data"])


def test_keys_are_listed_newest_first_in_pages(identity: Identity) -> None:
    made = [identity.keys.create(ADMIN, "default", str(n), ["data"]).key.id for n in range(5)]
    first = identity.keys.list("default", limit=3)
    second = identity.keys.list("default", before=first[-1].id, limit=3)
    assert [key.id for key in (*first, *second)] == made[::-1]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", KEY_SORTS)
def test_pages_of_every_order_hold_each_key_once_also_where_many_are_equal(
    identity: Identity, clock: FixedClock, sort: KeySort, descending: bool
) -> None:
    made = []
    for n in range(12):
        ends = None if n % 3 == 0 else clock.now() + timedelta(days=n % 3)
        made.append(identity.keys.create(ADMIN, "default", f"Key {n % 2}", ["data"], expires_at=ends).key.id)
        if n % 4 == 0:
            clock.advance(1)
    identity.keys.note_use({key: clock.now() + timedelta(seconds=n % 2) for n, key in enumerate(made[:5])})
    search, seen = KeySearch(sort=sort, descending=descending), []
    after = None
    while page := identity.keys.find("default", search, after=after, limit=5):
        seen += page
        after = search.place(page[-1])
    assert sorted(key.id for key in seen) == sorted(made)
    assert [search.place(key) for key in seen] == sorted((search.place(key) for key in seen), reverse=descending)


def test_keys_are_found_by_a_part_of_their_name_their_ending_and_their_state(
    identity: Identity, clock: FixedClock
) -> None:
    identity.projects.create(ADMIN, "other")
    bot = identity.keys.create(ADMIN, "default", "Support bot", ["data"]).key
    gone = identity.keys.create(ADMIN, "default", "support intern", ["data"]).key
    short = identity.keys.create(ADMIN, "default", "100%", ["data"], expires_at=clock.now() + timedelta(minutes=1)).key
    identity.keys.create(ADMIN, "other", "support", ["data"])
    identity.keys.revoke(ADMIN, "default", gone.id)
    clock.advance(61)

    def found(**search: Any) -> set[str]:
        return {key.id for key in identity.keys.find("default", KeySearch(**search))}

    assert found(contains="SUPPORT") == {bot.id, gone.id}
    assert found(contains="%") == {short.id}, "a name is searched for as it is written"
    assert found(contains=bot.ending) == {bot.id}
    assert found(contains=bot.id) == {bot.id}, "as it stands in a trace"
    assert found(contains=bot.id[:-1]) >= {bot.id}, "an id is found by its beginning"
    assert found(contains="key_") >= {bot.id, gone.id}
    assert found(contains=bot.id[4:]) == set(), "not by its middle"
    assert found(ids=(bot.id, gone.id, "key_nobody")) == {bot.id, gone.id}
    assert found(ids=(bot.id, gone.id), state="revoked") == {gone.id}
    assert found(state="active") == {bot.id}
    assert found(state="expired") == {short.id}
    assert found(state="revoked", contains="support") == {gone.id}
    assert found(contains="nothing") == set()


def test_listeners_hear_of_every_change_after_it_is_durable(identity: Identity) -> None:
    seen: list[int] = []
    identity.on_change(lambda: seen.append(len(identity.key_entries())))
    key = identity.keys.create(ADMIN, "default", "k", ["data"]).key
    identity.keys.rotate(ADMIN, "default", key.id)
    identity.keys.revoke(ADMIN, "default", key.id)
    assert seen == [1, 2, 0]


def test_a_listener_that_fails_does_not_undo_the_change(identity: Identity, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("compiler down")

    identity.on_change(fails)
    issued = identity.keys.create(ADMIN, "default", "k", ["data"])
    assert identity.keys.recognise(issued.secret).id == issued.key.id
    assert "a listener to changes of keys failed" in caplog.text


def test_last_use_is_written_down_now_and_then(identity: Identity, clock: FixedClock) -> None:
    issued = identity.keys.create(ADMIN, "default", "k", ["data"])
    identity.keys.recognise(issued.secret)
    assert identity.keys.list("default")[0].last_used_at is None
    clock.advance(61)
    identity.keys.recognise(issued.secret)
    assert identity.keys.list("default")[0].last_used_at == clock.now()
    used_at = clock.now()
    clock.advance(1)
    identity.keys.note_use({issued.key.id: used_at - timedelta(days=1)})
    assert identity.keys.list("default")[0].last_used_at == used_at, "an older report must not turn it back"
    identity.keys.recognise(issued.secret)
    identity.close()
    assert identity.keys.list("default")[0].last_used_at == clock.now()


def test_of_rotations_that_race_each_secret_stays_known(identity: Identity) -> None:
    key = identity.keys.create(ADMIN, "default", "k", ["data"]).key
    start, issued = threading.Barrier(4), []

    def rotate() -> None:
        start.wait(30)
        issued.append(identity.keys.rotate(ADMIN, "default", key.id).secret)

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(issued) == 4
    assert all(identity.keys.recognise(secret).id == key.id for secret in issued)
    assert identity.audit.check("default").intact


def test_a_key_without_row_cannot_keep_a_secret(database: Database, identity: Identity) -> None:
    identity.keys.create(ADMIN, "default", "k", ["data"])
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(api_keys.delete())
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(api_key_secrets)).scalar_one() == 1
