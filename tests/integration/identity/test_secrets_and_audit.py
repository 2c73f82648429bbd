"""Provider secrets and the audit log on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from support.identity import ADMIN, make_identity
from tetrad.identity import Identity, IdentityPolicy
from tetrad.identity._store import audit_heads, audit_log, provider_secrets
from tetrad.identity.errors import BadName, LimitReached, ProjectNotFound, SecretNotFound
from tetrad.kernel import TetradError
from tetrad.kit.db import Database
from tetrad.kit.logs import redact
from tetrad.kit.seal import Keyring, SealBroken, new_seal_key

VALUE = "sk-very-secret-1234567890"


@pytest.fixture
def identity(database: Database) -> Identity:
    made = make_identity(database)
    made.projects.create(ADMIN, "default")
    made.projects.create(ADMIN, "other")
    return made


def test_a_secret_comes_back_as_it_was_and_lies_sealed_in_the_database(identity: Identity, database: Database) -> None:
    info = identity.secrets.put(ADMIN, "default", "OPENAI_API_KEY", VALUE)
    assert identity.secrets.reveal("default", "OPENAI_API_KEY") == VALUE
    assert info.version == 1
    assert identity.secrets.put(ADMIN, "default", "OPENAI_API_KEY", "new").version == 2
    assert identity.secrets.reveal("default", "OPENAI_API_KEY") == "new"
    identity.secrets.put(ADMIN, "default", "OPENAI_API_KEY", VALUE)
    with database.read() as connection:
        for table in ("provider_secrets", "audit_log"):
            assert VALUE not in repr(connection.execute(sa.text(f"SELECT * FROM {table}")).fetchall())
    assert VALUE not in repr(identity.secrets.list("default"))


def test_what_was_revealed_is_in_no_log_from_then_on(identity: Identity) -> None:
    identity.secrets.put(ADMIN, "default", "VENDOR", "as-plain-as-words")
    identity.secrets.reveal("default", "VENDOR")
    assert "as-plain-as-words" not in redact("the vendor does not know as-plain-as-words")


@pytest.mark.parametrize("moved", [{"project": "other"}, {"name": "B"}])
def test_a_sealed_value_does_not_open_in_another_place(
    identity: Identity, database: Database, moved: dict[str, str]
) -> None:
    identity.secrets.put(ADMIN, "default", "A", VALUE)
    with database.write() as connection:
        connection.execute(provider_secrets.update().values(**moved))
    place = {"project": "default", "name": "A"} | moved
    with pytest.raises(SealBroken, match="changed, or was sealed for another purpose"):
        identity.secrets.reveal(place["project"], place["name"])


def test_after_a_rotation_of_the_sealing_key_all_secrets_are_resealed(database: Database) -> None:
    old, new = new_seal_key(), new_seal_key()
    before = make_identity(database, keyring=Keyring(old))
    before.projects.create(ADMIN, "default")
    for name in ("A", "B"):
        before.secrets.put(ADMIN, "default", name, VALUE + name)
    during = make_identity(database, keyring=Keyring(new, [old]))
    assert during.secrets.reveal("default", "A") == VALUE + "A"
    assert during.secrets.reseal(ADMIN) == 2
    assert during.secrets.reseal(ADMIN) == 0
    after = make_identity(database, keyring=Keyring(new))
    assert after.secrets.reveal("default", "B") == VALUE + "B"
    with pytest.raises(SealBroken, match="not on the ring"):
        before.secrets.reveal("default", "A")


def test_secrets_of_other_projects_and_absent_ones_are_not_found(identity: Identity) -> None:
    identity.secrets.put(ADMIN, "default", "A", VALUE)
    for refused in (
        lambda: identity.secrets.reveal("other", "A"),
        lambda: identity.secrets.get("other", "A"),
        lambda: identity.secrets.delete(ADMIN, "other", "A"),
        lambda: identity.secrets.delete(ADMIN, "default", "B"),
    ):
        with pytest.raises(SecretNotFound):
            refused()
    with pytest.raises(ProjectNotFound):
        identity.secrets.put(ADMIN, "nowhere", "A", VALUE)
    identity.secrets.delete(ADMIN, "default", "A")
    assert identity.secrets.list("default") == []


@pytest.mark.parametrize("value", ["", "x" * 16_385, "a\x00b"])
def test_values_out_of_bounds_are_refused(identity: Identity, value: str) -> None:
    with pytest.raises(BadName):
        identity.secrets.put(ADMIN, "default", "A", value)


def test_past_the_limit_no_more_secrets_are_kept(database: Database) -> None:
    identity = make_identity(database, policy=replace(IdentityPolicy(), max_secrets=1))
    identity.projects.create(ADMIN, "default")
    identity.secrets.put(ADMIN, "default", "A", VALUE)
    with pytest.raises(LimitReached):
        identity.secrets.put(ADMIN, "default", "B", VALUE)
    identity.secrets.put(ADMIN, "default", "A", "again")


def test_every_change_is_in_the_log_and_the_log_is_intact(identity: Identity) -> None:
    key = identity.keys.create(ADMIN, "default", "k", ["data"]).key
    identity.keys.rotate(ADMIN, "default", key.id)
    identity.keys.revoke(ADMIN, "default", key.id)
    identity.secrets.put(ADMIN, "default", "A", VALUE)
    identity.secrets.delete(ADMIN, "default", "A")
    identity.people.sign_in(identity.people.create_link(ADMIN).token)
    inside = [entry.event.action for entry in identity.audit.list("default")]
    assert inside[::-1] == [
        "project.created", "key.created", "key.rotated", "key.revoked", "secret.set", "secret.deleted",
    ]  # fmt: skip
    outside = [entry.event.action for entry in identity.audit.list(None)]
    assert outside[::-1] == ["sign_in_link.created", "signed_in"]
    assert all(entry.event.actor == ADMIN.id for entry in identity.audit.list("default"))
    for project, count in (("default", 6), (None, 2), ("other", 1)):
        found = identity.audit.check(project)
        assert (found.intact, found.entries) == (True, count)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (audit_log.update().where(audit_log.c.seq == 2).values(actor="key_mallory"), "changed"),
        (audit_log.update().where(audit_log.c.seq == 2).values(at=datetime(2020, 1, 1, tzinfo=UTC)), "changed"),
        (audit_log.update().where(audit_log.c.seq == 2).values(detail={"name": "innocent"}), "changed"),
        (audit_log.delete().where(audit_log.c.seq == 2), "missing"),
        (audit_log.delete().where(audit_log.c.seq == 1), "missing"),
        (audit_log.delete().where(audit_log.c.seq == 4), "noted to end"),
        (audit_heads.update().values(seq=3), "noted to end"),
    ],
)
def test_what_is_changed_behind_our_back_is_found(
    identity: Identity, database: Database, statement: sa.Executable, reason: str
) -> None:
    for number in range(3):
        identity.audit.record(ADMIN, "thing.done", f"thing {number}", "default", number=number)
    assert identity.audit.check("default").intact
    with database.write() as connection:
        connection.execute(statement)
    found = identity.audit.check("default")
    assert not found.intact
    assert reason in found.reason


def test_writers_that_race_make_one_chain(identity: Identity) -> None:
    start, errors = threading.Barrier(6), []

    def write(number: int) -> None:
        start.wait(30)
        try:
            for turn in range(5):
                identity.audit.record(ADMIN, "thing.done", f"{number}/{turn}", "default")
        except TetradError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    found = identity.audit.check("default")
    assert (found.intact, found.entries) == (True, 31)


def test_a_long_chain_is_checked_in_steps(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tetrad.identity._store._CHAIN_STEP", 3)
    for number in range(8):
        identity.audit.record(ADMIN, "thing.done", str(number), "default")
    assert identity.audit.check("default").entries == 9


def test_a_detail_that_is_too_long_is_left_out_and_said_so(identity: Identity) -> None:
    identity.audit.record(ADMIN, "thing.done", "t" * 900, "default", text="x" * 9000)
    entry = identity.audit.list("default")[0]
    assert "left_out" in entry.event.detail
    assert len(entry.event.target) == 300
    assert identity.audit.check("default").intact
