"""Bindings on both databases: put, compared, rolled back, governed, read for the route table."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from support.bindings import FakeInstalled, document, make_bindings
from support.evidence import ADA, BEA, CAT, Gated, wire_gated
from support.tetrads import ALICE, BOB, Tetrads, wire
from tetrad.bindings import (
    BadBinding,
    BindingNotFound,
    Bindings,
    NeverBound,
    NothingToRollBack,
    TooManyBindings,
    read_binding,
)
from tetrad.bindings import _service as service
from tetrad.kernel import Conflict, InvalidInput
from tetrad.kit.db import Database
from tetrad.registry import ArtifactConflict, GateRefused, RefMoved

P = "default"


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


@pytest.fixture
def bindings(tetrads: Tetrads) -> Bindings:
    return make_bindings(tetrads.registry)


def put(bindings: Bindings, doc: Any, env: str = "production", app: str = "", **given: Any) -> str:
    """Put what is there now out of the way, as a command does."""
    try:
        before = bindings.own(P, env, app).ref.digest
    except BindingNotFound:
        return bindings.put(P, env, doc, app=app, actor=ALICE, create=True, **given).bound.ref.digest
    return bindings.put(P, env, doc, app=app, actor=ALICE, expected=before, **given).bound.ref.digest


def test_a_binding_is_an_artifact_a_version_and_a_ref(tetrads: Tetrads, bindings: Bindings) -> None:
    done = bindings.put(P, "production", document("us"), actor=ALICE, create=True, reason="go", expected_outcome="up")
    assert done.moved
    assert tetrads.registry.artifact(P, done.bound.ref.digest).kind == "binding"
    version = tetrads.registry.version(P, "binding", "production")
    assert (version.semver, version.reason, version.expected_outcome) == ("1.0.0", "go", "up")
    assert tetrads.registry.ref(P, "bindings/production").digest == done.bound.ref.digest
    again = bindings.put(P, "production", document("us"), actor=BOB, expected=done.bound.ref.digest)
    assert not again.moved
    assert again.bound.ref.revision == done.bound.ref.revision
    put(bindings, document("eu"))
    assert bindings.current(P, "production").kept.version.semver == "1.1.0"  # type: ignore[union-attr]
    assert tetrads.registry.verify_log(P).sound


def test_of_two_who_put_at_once_exactly_one_wins(bindings: Bindings) -> None:
    first = put(bindings, document("us"))
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def change(number: int) -> None:
        barrier.wait()
        try:
            bindings.put(P, "production", document("us", max_concurrency=number), actor=ALICE, expected=first)
            outcomes.append("won")
        except RefMoved:
            outcomes.append("lost")

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
    with pytest.raises(Conflict, match="points now"):
        bindings.put(P, "production", document("us"), actor=ALICE)
    with pytest.raises(RefMoved):
        bindings.put(P, "production", document("us"), actor=ALICE, create=True)


@pytest.mark.parametrize(
    ("doc", "path"),
    [
        (document("nobody"), ("providers", "llm", "provider")),
        (document("us", models={"gpt": "gpt-9"}), ("providers", "llm", "models", "gpt")),
        (document("us", secret="NOBODYS"), ("providers", "llm", "secret")),
        ({"providers": {"llm": {"engine": "none"}}}, ("providers", "llm", "engine")),
        ({"tools": {"t": {"url": "https://x.example", "secret": "NOBODYS"}}}, ("tools", "t", "secret")),
        ({"inherit": True}, ("inherit",)),
    ],
)
def test_what_does_not_resolve_is_refused_and_nothing_is_kept(
    tetrads: Tetrads, bindings: Bindings, doc: Any, path: tuple[str, ...]
) -> None:
    with pytest.raises(BadBinding) as caught:
        bindings.put(P, "production", doc, actor=ALICE, create=True)
    assert caught.value.problems[0].path == path
    assert tetrads.registry.names(P, "binding") == []
    assert tetrads.registry.refs(P, "bindings/") == []


def test_what_is_unwise_is_a_warning(bindings: Bindings) -> None:
    doc = {"tools": {"t": {"url": "http://169.254.169.254/latest"}}, "indexes": {"i": {"index": "handbook"}}}
    done = bindings.put(P, "production", doc, actor=ALICE, create=True)
    assert [(each.severity, each.path) for each in done.warnings] == [
        ("warning", ("indexes", "i", "index")), ("warning", ("tools", "t", "url")),
    ]  # fmt: skip


def test_a_project_sees_its_own_bindings_only(tetrads: Tetrads, bindings: Bindings) -> None:
    digest = put(bindings, document("us"))
    assert len(bindings.set_of("other")) == 0
    assert bindings.all("other") == []
    for ask in (
        lambda: bindings.find("other", digest),
        lambda: bindings.find("other", "production"),
        lambda: bindings.current("other", "production"),
        lambda: bindings.history("other", "production"),
        lambda: bindings.roll_back("other", "production", actor=ALICE),
    ):
        with pytest.raises(BindingNotFound):
            ask()


def test_an_app_has_its_own_until_it_follows_again(bindings: Bindings) -> None:
    common = put(bindings, document("us"))
    own = put(bindings, document("eu"), app="bot")
    assert bindings.current(P, "production", "bot").ref.digest == own
    assert bindings.current(P, "production", "cat").ref.digest == common
    put(bindings, {"inherit": True}, app="bot")
    assert bindings.current(P, "production", "bot").ref.digest == common
    assert bindings.set_of(P).effective("production", "bot").digest == common  # type: ignore[union-attr]
    assert bindings.own(P, "production", "bot").kept.binding.inherit  # type: ignore[union-attr]
    bindings.roll_back(P, "production", app="bot", actor=ALICE)
    assert bindings.set_of(P).effective("production", "bot").digest == own  # type: ignore[union-attr]


def test_a_rollback_goes_back_step_by_step_and_never_forward(bindings: Bindings) -> None:
    one, two, three = (put(bindings, document("us", max_concurrency=n)) for n in (1, 2, 3))
    done = bindings.roll_back(P, "production", actor=BOB, reason="too many")
    assert (done.old, done.new, done.reason) == (three, two, "rollback: too many")
    assert bindings.roll_back(P, "production", actor=BOB).new == one
    with pytest.raises(NothingToRollBack):
        bindings.roll_back(P, "production", actor=BOB)
    assert bindings.roll_back(P, "production", actor=BOB, to="production@1.2.0").new == three
    with pytest.raises(NothingToRollBack, match="already"):
        bindings.roll_back(P, "production", actor=BOB, to=three)
    put(bindings, document("eu"), env="staging")
    with pytest.raises(NeverBound):
        bindings.roll_back(P, "production", actor=BOB, to="staging")
    with pytest.raises(RefMoved):
        bindings.roll_back(P, "production", actor=BOB, to=one, expected=two)
    moves = bindings.history(P, "production")
    assert [version.semver for _, version in moves if version] == ["1.2.0", "1.0.0", "1.1.0", "1.2.0", "1.1.0", "1.0.0"]
    page = bindings.history(P, "production", limit=2, before=moves[1][0].seq)
    assert [entry.seq for entry, _ in page] == [moves[2][0].seq, moves[3][0].seq]


def test_bindings_are_named_by_place_version_and_digest(tetrads: Tetrads, bindings: Bindings) -> None:
    one = put(bindings, document("us"))
    two = put(bindings, document("eu", max_concurrency=4))
    own = put(bindings, document("eu"), app="bot")
    found = [bindings.find(P, text).digest for text in ("production", "production@1.0.0", two, "production/bot@1.0.0")]
    assert found == [two, one, two, own]
    _, _, changes = bindings.diff(P, "production@1.0.0", "production")
    assert [change.field for change in changes] == ["endpoint", "max_concurrency"]
    for unknown in ("staging", "production@9.0.0", "sha256:" + "0" * 64, "production/nobody"):
        with pytest.raises(BindingNotFound):
            bindings.find(P, unknown)
    with pytest.raises(InvalidInput):
        bindings.find(P, "production@latest")
    release = tetrads.registry.put_document(P, "prompt", {"x": 1}, actor=ALICE).digest
    with pytest.raises(BindingNotFound, match="is a prompt"):
        bindings.find(P, release)


def test_there_is_a_limit_on_how_many(bindings: Bindings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_BINDINGS", 2)
    put(bindings, document("us"), env="a")
    put(bindings, document("us"), env="b")
    with pytest.raises(TooManyBindings):
        put(bindings, document("us"), env="c")
    put(bindings, document("eu"), env="b")


def test_the_set_of_a_project_is_read_in_pages(bindings: Bindings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PAGE", 2)
    for env in ("a", "b", "c", "d", "e"):
        put(bindings, document("us"), env=env)
    assert {bound.ref for bound in bindings.set_of(P)} == {f"bindings/{env}" for env in "abcde"}


def test_a_ref_that_points_to_no_binding_binds_nothing(tetrads: Tetrads, bindings: Bindings) -> None:
    other = tetrads.registry.put_document(P, "release", {"app": "bindings"}, actor=ALICE).digest
    tetrads.registry.move_ref(P, "bindings/production", other, expected=None, actor=ALICE)
    assert len(bindings.set_of(P)) == 0
    assert bindings.current(P, "production").problem


def test_a_binding_of_a_later_kind_is_named_as_broken(tetrads: Tetrads, bindings: Bindings) -> None:
    later = tetrads.registry.put_document(P, "binding", {"schema": "tetrad.binding/9"}, actor=ALICE).digest
    tetrads.registry.move_ref(P, "bindings/production", later, expected=None, actor=ALICE)
    bound = bindings.set_of(P).effective("production", "bot")
    assert bound is not None
    assert bound.binding is None
    assert "tetrad.binding/1" in bound.problem
    assert bindings.all(P)[0].kept is None


def test_the_bytes_of_a_binding_are_no_other_kind(tetrads: Tetrads, bindings: Bindings) -> None:
    tetrads.registry.put_document(P, "prompt", {"schema": "tetrad.binding/1"}, actor=ALICE)
    with pytest.raises(ArtifactConflict):
        bindings.put(P, "production", {}, actor=ALICE, create=True)


def test_check_says_what_has_gone_since(tetrads: Tetrads) -> None:
    installed = FakeInstalled()
    bindings = make_bindings(tetrads.registry, installed)
    put(bindings, document("eu", secret="EU_KEY"))
    kept = bindings.current(P, "production").kept
    assert kept is not None
    assert bindings.check(P, kept.binding) == []
    installed.secrets.clear()
    del installed.providers["eu"]
    assert [each.path[-1] for each in bindings.check(P, kept.binding)] == ["provider", "secret"]


def test_a_registered_mcp_server_is_looked_for_when_it_is_bound(tetrads: Tetrads) -> None:
    installed = FakeInstalled(mcp_servers={"files-eu": "", "broken": "its secret is gone"})
    bindings = make_bindings(tetrads.registry, installed)

    def problems(**entry: Any) -> list[tuple[tuple[str, ...], str, str]]:
        binding = read_binding({"mcp_servers": {"files": entry}})
        return [(each.path, each.severity, each.message) for each in bindings.check(P, binding)]

    assert problems(server="files-eu") == []
    ((path, severity, said),) = problems(server="nowhere")
    assert (path, severity) == (("mcp_servers", "files", "server"), "error")
    assert "no MCP server 'nowhere'; `tetrad mcp list` shows them" in said
    ((_, severity, said),) = problems(server="broken")
    assert (severity, "its secret is gone" in said) == ("warning", True)
    ((path, severity, said),) = problems(url="https://mcp.example.com/files")
    assert (path, severity) == (("mcp_servers", "files", "url"), "warning")
    assert "tetrad mcp add" in said
    with pytest.raises(BadBinding, match="no MCP server 'nowhere'"):
        put(bindings, {"mcp_servers": {"files": {"server": "nowhere"}}})
    assert bindings.all(P) == []
    assert put(bindings, {"mcp_servers": {"files": {"url": "https://mcp.example.com/files"}}})


# -- gates ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gated(database: Database) -> Gated:
    return wire_gated(database)


def govern(gated: Gated, pattern: str = "*/production", **policy: Any) -> None:
    gated.policies.set(P, pattern, {"schema": "tetrad.gate/1", **policy}, actor=CAT)


def approved(gated: Gated, digest: str, who: Any) -> None:
    gated.evidence.approve(P, digest, actor=who)


def test_a_gate_of_suites_asks_an_approval_of_a_binding(gated: Gated) -> None:
    bindings = make_bindings(gated.tetrads.registry)
    govern(gated, suites=[{"suite": "smoke"}])
    with pytest.raises(GateRefused, match="0 of 1 approvals"):
        bindings.put(P, "production", document("us"), actor=ADA, create=True)
    assert gated.tetrads.registry.find_ref(P, "bindings/production") is None
    digest = gated.tetrads.registry.version(P, "binding", "production").digest
    approved(gated, digest, ADA)
    with pytest.raises(GateRefused, match="own authors"):
        bindings.put(P, "production", document("us"), actor=ADA, create=True)
    approved(gated, digest, BEA)
    done = bindings.put(P, "production", document("us"), actor=ADA, create=True)
    assert done.bound.ref.governed
    bindings.put(P, "staging", document("us"), actor=ADA, create=True)


def test_a_release_is_still_asked_for_its_suites(gated: Gated) -> None:
    release = gated.release()
    govern(gated, suites=[{"suite": "smoke"}])
    with pytest.raises(GateRefused, match="no result of the suite"):
        gated.tetrads.registry.move_ref(P, "bot/production", release, expected=None, actor=ADA)


def test_owners_of_bindings_are_asked(gated: Gated) -> None:
    bindings = make_bindings(gated.tetrads.registry)
    govern(gated, approvals={"owners": [{"part": "binding", "any_of": ["scope:admin"]}]})
    with pytest.raises(GateRefused, match="scope:admin"):
        bindings.put(P, "production", document("us"), actor=ADA, create=True)
    digest = gated.tetrads.registry.version(P, "binding", "production").digest
    approved(gated, digest, BEA)
    with pytest.raises(GateRefused, match="scope:admin"):
        bindings.put(P, "production", document("us"), actor=ADA, create=True)
    approved(gated, digest, CAT)
    bindings.put(P, "production", document("us"), actor=ADA, create=True)


def test_what_an_app_has_of_its_own_does_not_pass_by_the_gate(gated: Gated) -> None:
    bindings = make_bindings(gated.tetrads.registry)
    bindings.put(P, "production", document("eu"), app="cat", actor=ADA, create=True)
    govern(gated, "bindings/production", approvals={"minimum": 1})
    with pytest.raises(GateRefused):
        bindings.put(P, "production", document("us"), app="bot", actor=ADA, create=True)
    with pytest.raises(GateRefused):
        bindings.put(P, "production", document("us"), actor=ADA, create=True)
    bindings.put(P, "staging", document("us"), app="bot", actor=ADA, create=True)
    assert [bound.ref.governed for bound in bindings.all(P)] == [True, False]
    (check,) = gated.policies.check(P, "bindings/production/bot", bindings.find(P, "staging/bot").digest, actor=ADA)
    assert not check.passed


def test_a_verdict_that_stands_lets_a_binding_go_back(gated: Gated) -> None:
    bindings = make_bindings(gated.tetrads.registry)
    govern(gated, approvals={"minimum": 1})
    for provider in ("us", "eu"):
        before = gated.tetrads.registry.find_ref(P, "bindings/production")
        given: dict[str, Any] = {"expected": before.digest} if before else {"create": True}
        with pytest.raises(GateRefused):
            bindings.put(P, "production", document(provider), actor=ADA, **given)
        approved(gated, gated.tetrads.registry.version(P, "binding", "production").digest, BEA)
        bindings.put(P, "production", document(provider), actor=ADA, **given)
    assert bindings.roll_back(P, "production", actor=ADA).new == bindings.find(P, "production@1.0.0").digest
