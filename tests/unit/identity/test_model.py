"""The pure rules of identity."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tetrad.identity._model import (
    ApiKey,
    Membership,
    Person,
    Role,
    check_email,
    check_project_name,
    check_scopes,
    check_secret_name,
    check_title,
    key_kind,
    mint_secret,
    person_principal,
    scopes_granted,
    secret_is_well_formed,
)
from tetrad.identity.errors import BadKeyRequest, BadName

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA = Person("usr_1", "ada@example.com", "Ada", NOW)


def test_a_secret_has_the_documented_form() -> None:
    secret = mint_secret("data")
    assert len(secret) == len("tetrad_data_") + 43 + 6
    assert secret.startswith("tetrad_data_")
    assert secret_is_well_formed(secret)
    assert mint_secret("data") != secret


def test_the_kind_in_a_secret_is_its_strongest_scope() -> None:
    assert key_kind(["data", "admin", "control"]) == "admin"
    assert key_kind(["pin", "data"]) == "data"


@pytest.mark.parametrize(
    ("scopes", "project", "kept"),
    [
        (["data"], "default", ("data",)),
        (["pin", "data", "data"], "default", ("data", "pin")),
        (["admin"], None, ("admin",)),
        (["admin", "control"], "default", ("control", "admin")),
    ],
)
def test_scopes_that_fit_together_are_kept_in_order(
    scopes: list[str], project: str | None, kept: tuple[str, ...]
) -> None:
    assert check_scopes(scopes, project) == kept


@pytest.mark.parametrize(
    ("scopes", "project"),
    [
        ([], "default"),
        (["root"], "default"),
        (["internal"], "default"),
        (["review"], "default"),
        (["pin"], "default"),
        (["data"], None),
        (["control"], None),
        (["admin", "data"], None),
    ],
)
def test_scopes_that_do_not_fit_are_refused_with_a_hint(scopes: list[str], project: str | None) -> None:
    with pytest.raises(BadKeyRequest) as refusal:
        check_scopes(scopes, project)
    assert refusal.value.hint


def test_admins_operate_too_but_call_no_models() -> None:
    assert scopes_granted(["admin"]) == {"admin", "control", "review"}
    assert scopes_granted(["data"]) == {"data"}


def test_the_stronger_of_two_roles_counts() -> None:
    held = [Membership(None, "viewer"), Membership("default", "editor")]
    inside, elsewhere = person_principal(ADA, held, "default"), person_principal(ADA, held, "other")
    assert not inside.read_only
    assert elsewhere.read_only
    assert (inside.projects, elsewhere.projects) == (frozenset({"default"}), None)


@pytest.mark.parametrize(
    ("everywhere", "inside", "whole"),
    [("viewer", "admin", False), ("editor", "admin", False), ("admin", "viewer", True), ("admin", "admin", True)],
)
def test_an_admin_of_one_project_is_none_of_all_of_them(everywhere: Role, inside: Role, whole: bool) -> None:
    held = [Membership(None, everywhere), Membership("default", inside)]
    actor = person_principal(ADA, held, "default")
    assert "admin" in actor.scopes
    assert (actor.projects is None) == whole
    assert person_principal(ADA, held, None).projects is None, "what they see outside of projects stays"
    assert person_principal(ADA, held, "other").projects is None


def test_who_has_no_role_may_do_nothing() -> None:
    nobody = person_principal(ADA, [], None)
    assert nobody.scopes == frozenset()
    assert nobody.projects == frozenset()
    assert person_principal(ADA, [Membership("other", "admin")], "default").scopes == frozenset()


@pytest.mark.parametrize("name", ["a", "support-bot", "0", "a" * 63])
def test_project_names_that_fit(name: str) -> None:
    assert check_project_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a b", "a" * 64, "ü", "a\n", "*", "../x"])
def test_project_names_that_do_not_fit(name: str) -> None:
    with pytest.raises(BadName):
        check_project_name(name)


@pytest.mark.parametrize("text", ["", "   ", "x" * 101, "a\nb", "a\x1b[31m"])
def test_titles_that_do_not_fit(text: str) -> None:
    with pytest.raises(BadName):
        check_title(text, "a key")


@pytest.mark.parametrize("text", ["", "ada", "@x", "a@", "a b@c", "a@b@c", "a@" + "b" * 260])
def test_addresses_that_do_not_fit(text: str) -> None:
    with pytest.raises(BadName):
        check_email(text)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A/B", "A" * 129, "_A"])
def test_secret_names_that_do_not_fit(name: str) -> None:
    with pytest.raises(BadName):
        check_secret_name(name)


def test_a_key_becomes_the_actor_with_its_scopes_and_project() -> None:
    key = ApiKey("key_1", "default", "k", ("control",), NOW, "me", read_only=True)
    actor = key.principal()
    assert actor.read_only
    assert actor.may_enter("default")
    assert not actor.may_enter("other")
