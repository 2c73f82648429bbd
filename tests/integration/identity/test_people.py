"""Sign-in on both databases: links work once, sessions end when they must, roles count at once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from support.identity import ADMIN, make_identity
from tetrad.identity import Identity
from tetrad.identity.errors import BadName, LinkUsed, PersonNotFound, ProjectNotFound, SessionEnded
from tetrad.kernel import FixedClock, Forbidden, Principal, TetradError
from tetrad.kit.db import Database, DatabaseUnavailable
from tetrad.kit.http import Credential


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def identity(database: Database, clock: FixedClock) -> Identity:
    made = make_identity(database, clock=clock)
    made.projects.create(ADMIN, "default")
    made.projects.create(ADMIN, "other")
    return made


def signed_in(identity: Identity, cookie: str) -> Principal:
    return identity.authenticate(Credential("session", cookie))


def test_a_link_signs_the_local_admin_in_once(identity: Identity) -> None:
    link = identity.people.create_link(ADMIN)
    assert link.url == f"http://127.0.0.1:8401/login#token={link.token}"
    arrived = identity.people.sign_in(link.token)
    actor = signed_in(identity, arrived.token)
    assert (actor.kind, actor.projects, actor.read_only) == ("person", None, False)
    assert {"admin", "control"} <= actor.scopes
    with pytest.raises(LinkUsed):
        identity.people.sign_in(link.token)


def test_the_same_person_comes_back_as_the_same_person(identity: Identity) -> None:
    people = {identity.people.sign_in(identity.people.create_link(ADMIN).token).person.id for _ in range(3)}
    assert len(people) == 1


def test_of_callers_that_race_for_one_link_exactly_one_wins(identity: Identity) -> None:
    token = identity.people.create_link(ADMIN).token
    start, won, lost = threading.Barrier(6), [], []

    def use() -> None:
        start.wait(30)
        try:
            won.append(identity.people.sign_in(token))
        except LinkUsed:
            lost.append(1)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(won), len(lost)) == (1, 5)


def test_two_first_links_of_one_person_that_race_make_one_person(identity: Identity) -> None:
    tokens = [identity.people.create_link(ADMIN, email="ada@example.com", role="editor").token for _ in range(4)]
    start, people, errors = threading.Barrier(4), [], []

    def use(token: str) -> None:
        start.wait(30)
        try:
            people.append(identity.people.sign_in(token).person.id)
        except TetradError as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(people) == 4
    assert len(set(people)) == 1


def test_a_link_expires(identity: Identity, clock: FixedClock) -> None:
    link = identity.people.create_link(ADMIN)
    clock.advance(600)
    with pytest.raises(LinkUsed):
        identity.people.sign_in(link.token)


def test_what_is_no_token_is_refused_in_the_same_words(identity: Identity, clock: FixedClock) -> None:
    used = identity.people.create_link(ADMIN)
    identity.people.sign_in(used.token)
    messages = set()
    for token in ("", "x", used.token, used.token[:-1] + "?", "tetrad_link_" + "A" * 49):
        with pytest.raises(LinkUsed) as refusal:
            identity.people.sign_in(token)
        messages.add(refusal.value.message)
    assert len(messages) == 1


def test_a_session_slides_while_it_is_used_and_ends_when_it_is_not(identity: Identity, clock: FixedClock) -> None:
    cookie = identity.people.sign_in(identity.people.create_link(ADMIN).token).token
    for _ in range(5):
        clock.advance(timedelta(hours=11))
        signed_in(identity, cookie)
    clock.advance(timedelta(hours=12))
    with pytest.raises(SessionEnded):
        signed_in(identity, cookie)


def test_a_session_ends_in_any_case(identity: Identity, clock: FixedClock) -> None:
    cookie = identity.people.sign_in(identity.people.create_link(ADMIN).token).token
    for _ in range(16):
        clock.advance(timedelta(hours=10))
        signed_in(identity, cookie)
    clock.advance(timedelta(hours=8))
    with pytest.raises(SessionEnded):
        signed_in(identity, cookie)


def test_signing_out_ends_the_session_and_only_this_one(identity: Identity) -> None:
    first, second = (identity.people.sign_in(identity.people.create_link(ADMIN).token).token for _ in range(2))
    identity.people.sign_out(first)
    identity.people.sign_out(first)
    with pytest.raises(SessionEnded):
        signed_in(identity, first)
    assert signed_in(identity, second).kind == "person"


def test_a_session_token_is_no_key_and_a_key_is_no_session(identity: Identity) -> None:
    cookie = identity.people.sign_in(identity.people.create_link(ADMIN).token).token
    key = identity.keys.create(ADMIN, "default", "k", ["control"]).secret
    for kind, secret in (("bearer", cookie), ("session", key)):
        with pytest.raises(Exception, match=r"does not work|not signed in"):
            identity.authenticate(Credential(kind, secret))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("role", "scopes", "read_only"),
    [
        ("viewer", {"control"}, True),
        ("reviewer", {"control", "review"}, True),
        ("editor", {"control", "review"}, False),
        ("admin", {"control", "review", "admin"}, False),
    ],
)
def test_a_role_in_a_project_counts_there_and_nowhere_else(
    identity: Identity, role: str, scopes: set[str], read_only: bool
) -> None:
    link = identity.people.create_link(ADMIN, email="Ada@Example.com", role=role, project="default")  # type: ignore[arg-type]
    arrived = identity.people.sign_in(link.token)
    assert arrived.person.email == "ada@example.com"
    outside = signed_in(identity, arrived.token)
    assert (outside.scopes, outside.read_only, outside.projects) == ({"control"}, True, {"default"})
    inside = identity.in_project(outside, "default")
    assert (inside.scopes, inside.read_only) == (scopes, read_only)
    with pytest.raises(ProjectNotFound) as closed:
        identity.in_project(outside, "other")
    with pytest.raises(ProjectNotFound) as absent:
        identity.in_project(outside, "otter")
    assert closed.value.message.replace("other", "otter") == absent.value.message
    assert [project.name for project in identity.projects.of(outside)] == ["default"]


def test_a_new_person_needs_a_role(identity: Identity) -> None:
    with pytest.raises(BadName, match="needs a role"):
        identity.people.create_link(ADMIN, email="ada@example.com")
    with pytest.raises(BadName, match="no e-mail address"):
        identity.people.create_link(ADMIN, email="not an address", role="viewer")
    with pytest.raises(ProjectNotFound):
        identity.people.create_link(ADMIN, email="ada@example.com", role="viewer", project="nowhere")


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(identity: Identity) -> None:
    link = identity.people.create_link(ADMIN, email="ada@example.com", role="editor", project="default")
    cookie = identity.people.sign_in(link.token).token
    assert [(person.email, role) for person, role in identity.people.members("default")] == [
        ("ada@example.com", "editor")
    ]
    identity.people.set_role(ADMIN, "ada@example.com", "viewer", "default")
    assert identity.in_project(signed_in(identity, cookie), "default").read_only
    identity.people.set_role(ADMIN, "ada@example.com", None, "default")
    with pytest.raises(SessionEnded, match="no project"):
        signed_in(identity, cookie)
    with pytest.raises(PersonNotFound):
        identity.people.set_role(ADMIN, "ada@example.com", None, "default")
    with pytest.raises(PersonNotFound):
        identity.people.set_role(ADMIN, "bob@example.com", "viewer", "default")


def test_nobody_changes_their_own_role(identity: Identity) -> None:
    arrived = identity.people.sign_in(identity.people.create_link(ADMIN).token)
    actor = signed_in(identity, arrived.token)
    with pytest.raises(Forbidden):
        identity.people.set_role(actor, arrived.person.email, None, None)


def test_a_session_holds_even_when_its_use_cannot_be_written_down(
    identity: Identity, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = identity.people.sign_in(identity.people.create_link(ADMIN).token).token

    def full(*_: object) -> None:
        raise DatabaseUnavailable("disk full", hint="free some")

    monkeypatch.setattr("tetrad.identity._store.SqlRows.touch_session", full)
    clock.advance(120)
    assert signed_in(identity, cookie).kind == "person"
    assert "could not be noted" in caplog.text
