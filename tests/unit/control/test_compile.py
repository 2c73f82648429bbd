"""A route table is put together from what the slices know; what is broken is left out and named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from tetrad.changes import Candidate
from tetrad.identity import KeyGrant
from tetrad.kernel import Digest, NotFound
from tetrad.models import ModelPrice, PriceTier
from tetrad.processes.control._compile import Sources, compile_table
from tetrad.releases import App, AppRefs, Message, ResolvedRelease, ResolvedVariable
from tetrad.serving import ModelEntry, ProviderModel, ProviderSpec, Upstream

GOOD, GONE = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ProviderSpec(
    name="acme", project="p", base_url="https://acme.example/v1/", models=(ProviderModel("big"),), secret="acme-key"
)


def resolved(project: str, digest: Digest) -> ResolvedRelease:
    if digest == GONE:
        raise NotFound("the prompt of the release was erased")
    return ResolvedRelease(
        digest=digest,
        project=project,
        app="bot",
        model="local/m",
        model_digest=GOOD,
        model_kind="weights",
        messages=(Message("system", "Be {{tone}}."),),
        variables=(
            ResolvedVariable("tone", required=False, default="kind"),
            ResolvedVariable("name", required=True),
        ),
        params={"temperature": 0.2},
        code_digest="sha256:" + "3" * 64,
    )


def table(**changes: Any) -> tuple[Any, list[str]]:
    found: dict[str, Any] = {
        "grants": lambda: [
            KeyGrant("h1", "key_1", "p", ("data",), "full", 0),
            KeyGrant("h2", "key_2", "", ("admin",), "full", 0),
        ],
        "upstreams": lambda: {"engine": Upstream(name="engine", base_url="http://127.0.0.1:1/v1")},
        "models": lambda: {"local/m": ModelEntry(name="local/m", upstream="engine", upstream_model="local/m")},
        "providers": lambda: [SPEC],
        "secret": lambda project, name: f"{project}:{name}",
        "price": lambda *_: None,
        "apps": lambda: [AppRefs(App("p", "bot", "", "production", NOW, "me"), {"production": GOOD})],
        "history": lambda _project, _app: [GOOD],
        "resolve": resolved,
        "candidates": list,
        "resolve_candidate": lambda candidate: resolved(candidate.project, candidate.digest),
    }
    sources = Sources(**{**found, **changes})
    return compile_table(sources, version=7, made_ns=8), sources.problems


def test_everything_a_gateway_needs_is_there() -> None:
    made, problems = table()
    assert problems == []
    assert made.version == 7
    assert set(made.keys) == {"h1"}, "keys of all projects call no models"
    assert made.upstreams["acme"].secret == "p:acme-key"
    assert made.upstreams["acme"].base_url == "https://acme.example/v1"
    assert made.models["acme/big"].project == "p"
    assert made.models["local/m"].project == ""
    assert made.apps["p/bot"].refs == {"production": GOOD}
    release = made.releases[f"p/{GOOD}"]
    assert [bytes(variable.default) for variable in release.variables] == [b'"kind"', b""]
    assert bytes(release.params["temperature"]) == b"0.2"


def test_one_broken_release_takes_nothing_else_with_it() -> None:
    made, problems = table(
        apps=lambda: [AppRefs(App("p", "bot", "", "production", NOW, "me"), {"production": GOOD, "old": GONE})]
    )
    assert set(made.releases) == {f"p/{GOOD}"}
    assert made.apps["p/bot"].refs["old"] == GONE
    assert len(problems) == 1
    assert "erased" in problems[0]
    assert GONE in problems[0]


def test_candidates_of_change_requests_are_there_to_be_tried() -> None:
    draft = Digest("sha256:" + "4" * 64)
    made, problems = table(candidates=lambda: [Candidate("p", 3, draft, True), Candidate("p", 4, GONE)])
    assert set(made.releases) == {f"p/{GOOD}", f"p/{draft}"}
    assert draft not in made.apps["p/bot"].refs.values()
    assert problems == ["the candidate of change request #4 of project 'p': the prompt of the release was erased"]


def test_a_provider_whose_secret_is_gone_is_left_out_and_named() -> None:
    def secret(_project: str, _name: str) -> str:
        raise NotFound("there is no secret 'acme-key'")

    made, problems = table(secret=secret)
    assert "acme" not in made.upstreams
    assert "acme/big" not in made.models
    assert "local/m" in made.models
    assert "acme-key" in problems[0]


def test_two_projects_with_the_same_release_keep_their_own_routes() -> None:
    apps = [AppRefs(App(project, "bot", "", "production", NOW, "me"), {"production": GOOD}) for project in ("p", "q")]
    made, _ = table(apps=lambda: apps)
    assert made.releases[f"p/{GOOD}"].project == "p"
    assert made.releases[f"q/{GOOD}"].project == "q"


def test_a_price_with_tiers_holds_up_to_the_first_tier_only() -> None:
    price = ModelPrice("3", "15", tiers=(PriceTier(200_000, "6", "22.5", None, None),), source="list")
    made, _ = table(price=lambda *_: price)
    assert made.models["acme/big"].price.max_input_tokens == 200_000


def test_a_bug_is_not_swallowed() -> None:
    def broken(_project: str, _digest: Digest) -> ResolvedRelease:
        raise msgspec.ValidationError("a fault of ours")

    try:
        table(resolve=broken)
    except msgspec.ValidationError:
        return
    raise AssertionError("faults of ours must surface")
