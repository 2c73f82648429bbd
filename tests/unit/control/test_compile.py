"""A route table is put together from what the slices know; what is broken is left out and named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tetrad.bindings import BadBinding, BindingSet, Bound, read_binding, ref_of
from tetrad.changes import Candidate
from tetrad.identity import KeyGrant
from tetrad.kernel import Digest, NotFound
from tetrad.models import ModelPrice, PriceTier
from tetrad.processes.control._compile import Sources, compile_table
from tetrad.releases import App, AppRefs, Message, ResolvedRelease, ResolvedStep, ResolvedVariable
from tetrad.serving import (
    BindingTarget,
    BoundToolServer,
    ModelEntry,
    ModelRoute,
    Price,
    ProviderModel,
    ProviderSpec,
    RouteTarget,
    Tier,
    ToolServerRoute,
    Upstream,
    decode_route_table,
    encode_route_table,
)

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


def test_the_tiers_of_a_price_reach_the_gateways() -> None:
    price = ModelPrice("3", "15", tiers=(PriceTier(200_000, "6", "22.5", None, None),), source="list")
    made, _ = table(price=lambda *_: price)
    assert made.models["acme/big"].price == Price("3", "15", tiers=(Tier(200_000, "6", "22.5"),))


def test_an_hour_in_anthropics_cache_costs_twice_the_input_and_elsewhere_nobody_knows() -> None:
    price = ModelPrice("3.5", "15", cache_write="3.75", source="list")
    spec = msgspec.structs.replace(SPEC, adapter="anthropic", system="anthropic", translation="strict")
    made, _ = table(price=lambda *_: price, providers=lambda: [spec])
    assert made.models["acme/big"].price.cache_write_1h == "7.0"
    assert (made.upstreams["acme"].adapter, made.upstreams["acme"].translation) == ("anthropic", "strict")
    made, _ = table(price=lambda *_: price)
    assert made.models["acme/big"].price.cache_write_1h is None


def bound(app: str = "", env: str = "production", **document: Any) -> Bound:
    ref = ref_of(env, app)
    binding = read_binding(document)
    return Bound(ref, binding.digest, binding)


def bind(*found: Bound, **changes: Any) -> tuple[Any, list[str]]:
    return table(bindings=lambda _project: BindingSet({each.ref: each for each in found}), **changes)


def test_without_a_binding_names_mean_themselves() -> None:
    made, problems = bind()
    assert (made.bindings, made.apps["p/bot"].bindings, problems) == ({}, {}, [])


def test_a_releases_model_is_resolved_per_environment_when_the_table_is_made() -> None:
    production = bound(providers={"local": {"provider": "acme", "models": {"m": "big"}, "max_concurrency": 3}})
    staging = bound(env="staging", providers={"local": {"engine": "engine"}})
    refs = {"production": GOOD, "staging": GOOD, "preview": GOOD}
    apps = [AppRefs(App("p", "bot", "", "production", NOW, "me"), refs)]
    made, problems = bind(production, staging, apps=lambda: apps)
    assert problems == []
    assert made.apps["p/bot"].bindings == {"production": "bindings/production", "staging": "bindings/staging"}
    route = made.bindings["p/bindings/production"]
    assert (route.ref, route.digest) == ("bindings/production", production.digest)
    assert route.targets == {
        "local/m": BindingTarget("acme/big", max_concurrency=3, capacity="p/bindings/production:local")
    }
    assert made.bindings["p/bindings/staging"].targets["local/m"].model == "local/m"


def test_the_models_of_a_chains_steps_are_bound_as_well() -> None:
    def chained(project: str, digest: Digest) -> ResolvedRelease:
        steps = tuple(
            ResolvedStep(name, {}, model, name, "1.0.0", "mustache", (), (), examples=(Message("user", name),))
            for name, model in (("look", "local/small"), ("say", "local/m"))
        )
        return msgspec.structs.replace(resolved(project, digest), steps=steps)

    models = {"m": "big", "small": "big"}
    made, _ = bind(bound(providers={"local": {"provider": "acme", "models": models}}), resolve=chained)
    targets = made.bindings["p/bindings/production"].targets
    assert {name: target.model for name, target in targets.items()} == {
        "local/m": "acme/big",
        "local/small": "acme/big",
    }
    look, say = made.releases[f"p/{GOOD}"].steps
    assert (look.model, say.model) == ("local/small", "local/m")
    assert [each.text for each in look.examples] == ["look"]


def test_the_key_of_a_batch_and_what_else_a_model_charges_for_reach_the_gateways() -> None:
    price = ModelPrice("3", "15", units={"second": "0.0001"}, source="list")
    grant = KeyGrant("h3", "key_1", "p", ("data",), "full", 0, batch="batch_1")
    made, _ = table(price=lambda *_: price, grants=lambda: [grant])
    assert made.models["acme/big"].price.units == {"second": "0.0001"}
    assert (made.keys["h3"].id, made.keys["h3"].batch) == ("key_1", "batch_1")
    assert decode_route_table(encode_route_table(made)) == made


def test_the_binding_of_the_default_ref_is_there_for_pins_even_without_the_ref() -> None:
    made, _ = bind(bound(providers={"local": {"engine": "engine"}}), apps=lambda: [
        AppRefs(App("p", "bot", "", "production", NOW, "me"), {}),
    ])  # fmt: skip
    assert made.apps["p/bot"].bindings == {"production": "bindings/production"}
    assert made.bindings["p/bindings/production"].targets["local/m"].model == "local/m"


def test_an_app_uses_what_it_has_of_its_own() -> None:
    own = bound("bot", providers={"local": {"engine": "engine"}})
    made, _ = bind(bound(providers={"local": {"provider": "acme", "models": {"m": "big"}}}), own)
    assert made.apps["p/bot"].bindings["production"] == "bindings/production/bot"
    assert set(made.bindings) == {"p/bindings/production/bot"}, "what nobody uses is not sent to gateways"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"provider": "gone"}, "'gone' is gone"),
        ({"provider": "acme"}, "no model 'm'"),
        ({"engine": "gone"}, "no engine 'gone'"),
        ({"engine": "acme"}, "no engine 'acme'"),
        ({"engine": "engine", "models": {"m": "local/other"}}, "no 'local/other'"),
        ({"engine": "two"}, "several models"),
        ({"provider": "others", "models": {"m": "x"}}, "'others' is gone"),
        ({"provider": "acme", "models": {"m": "big"}, "secret": "LOST"}, "no secret"),
    ],
)
def test_a_binding_to_what_is_gone_breaks_its_ref_and_nothing_else(entry: dict[str, Any], why: str) -> None:
    def secret(project: str, name: str) -> str:
        if name == "LOST":
            raise NotFound("there is no secret 'LOST'")
        return f"{project}:{name}"

    def models() -> dict[str, ModelEntry]:
        names = {"local/m": "engine", "local/a": "two", "local/b": "two"}
        return {name: ModelEntry(name=name, upstream=up, upstream_model=name) for name, up in names.items()}

    others = msgspec.structs.replace(SPEC, name="others", project="q", models=(ProviderModel("x"),), secret="")
    refs = {"production": GOOD, "staging": GOOD}
    apps = [AppRefs(App("p", "bot", "", "staging", NOW, "me"), refs)]
    made, problems = bind(
        bound(providers={"local": entry}), apps=lambda: apps, secret=secret, models=models,
        providers=lambda: [SPEC, others],
    )  # fmt: skip
    assert why in made.bindings["p/bindings/production"].targets["local/m"].problem
    assert len(problems) == 1
    assert problems[0].startswith("bot/production of 'p': its binding 'bindings/production' is broken: ")
    assert made.apps["p/bot"].bindings == {"production": "bindings/production"}
    assert "acme/big" in made.models


@pytest.mark.parametrize(
    "more", [{"base_url": "https://evil.example"}, {"url": "https://evil.example"}, {"auth": "none"}, {"options": {}}]
)
def test_a_binding_says_nothing_of_where_a_provider_is_or_how_it_is_logged_in_to(more: dict[str, Any]) -> None:
    with pytest.raises(BadBinding):
        read_binding({"providers": {"local": {"provider": "acme", **more}}})


def test_a_binding_sends_a_machines_credential_nowhere_else() -> None:
    machine = msgspec.structs.replace(
        SPEC, adapter="bedrock", auth="aws-machine", secret="", models=(ProviderModel("m"),)
    )
    theirs = msgspec.structs.replace(machine, name="theirs", project="q", base_url="https://evil.example")
    alone, _ = table(providers=lambda: (machine, theirs))
    for providers in (
        {"local": {"provider": "acme"}, "acme": {"provider": "theirs"}},
        {"local": {"provider": "theirs"}, "acme": {"engine": "engine"}},
    ):
        made, _ = bind(bound(providers=providers), providers=lambda: (machine, theirs))
        assert made.upstreams == alone.upstreams
        named = [target.model for binding in made.bindings.values() for target in binding.targets.values()]
        assert not any(name.startswith("theirs/") for name in named)


def test_an_mcp_server_is_bound_by_what_an_app_calls_it() -> None:
    document = {
        "mcp_servers": {
            "files": {"server": "files-eu"},
            "wiki": {"server": "gone"},
            "far": {"url": "https://x.example"},
        }
    }
    servers = [ToolServerRoute(name="files-eu", project="p"), ToolServerRoute(name="gone", project="other")]
    made, problems = bind(bound(**document), tool_servers=lambda: servers)
    found = made.bindings["p/bindings/production"].tool_servers
    assert found["files"] == BoundToolServer("files-eu")
    assert (found["wiki"].server, found["far"].server) == ("", "")
    assert "'gone', which is gone" in found["wiki"].problem
    assert "registered servers only" in found["far"].problem
    assert problems == ["the binding 'bindings/production' of 'p' is broken: MCP server wiki: " + found["wiki"].problem]
    assert decode_route_table(encode_route_table(made)).bindings == made.bindings


def test_a_binding_that_cannot_be_read_is_named_and_closes_its_ref() -> None:
    made, problems = bind(Bound("bindings/production", GOOD, None, "it is of a later kind"))
    assert made.bindings["p/bindings/production"].problem == "it is of a later kind"
    assert "later kind" in problems[0]


def test_a_secret_of_a_binding_goes_into_the_table_only() -> None:
    entry = {"provider": "acme", "models": {"m": "big"}, "secret": "OTHER_KEY"}
    made, problems = bind(bound(providers={"local": entry}))
    assert made.bindings["p/bindings/production"].targets["local/m"].secret == "p:OTHER_KEY"
    assert problems == []


def test_a_bug_is_not_swallowed() -> None:
    def broken(_project: str, _digest: Digest) -> ResolvedRelease:
        raise msgspec.ValidationError("a fault of ours")

    try:
        table(resolve=broken)
    except msgspec.ValidationError:
        return
    raise AssertionError("faults of ours must surface")


def test_a_provider_keeps_the_keys_that_are_there() -> None:
    def secret(_project: str, name: str) -> str:
        if name == "gone":
            raise NotFound("the secret is gone")
        return f"value of {name}"

    spec = msgspec.structs.replace(SPEC, secret="one", secrets=("two", "gone", "three"), max_concurrency=7)
    made, problems = table(providers=lambda: [spec], secret=secret)
    upstream = made.upstreams["acme"]
    assert (upstream.secret, upstream.secrets) == ("value of one", ("value of two", "value of three"))
    assert upstream.max_concurrency == 7
    assert any("gone" in problem for problem in problems)


def test_routes_are_in_the_table_and_a_model_that_is_not_there_is_told() -> None:
    targets = (RouteTarget("acme/big"), RouteTarget("acme/none"), RouteTarget("local/m"))
    routes = [
        ModelRoute(name="smart", project="p", targets=targets),
        ModelRoute(name="foreign", project="q", targets=(RouteTarget("acme/big"),)),
    ]
    made, problems = table(routes=lambda: routes)
    assert made.routes == {"p/smart": routes[0], "q/foreign": routes[1]}
    assert decode_route_table(encode_route_table(made)).routes == made.routes
    assert [problem for problem in problems if "route" in problem] == [
        "route 'smart' of 'p' names the model 'acme/none', which is not there",
        "route 'foreign' of 'q' names the model 'acme/big', which is not there",
    ]


def test_an_engine_costs_a_project_what_that_says_else_what_is_said_for_all_else_nothing() -> None:
    made, _ = table()
    assert made.models["local/m"].price == Price("0", "0"), "nobody sends a bill"
    made, _ = table(price=lambda project, *_: None if project else ModelPrice("2", "3"))
    assert made.models["local/m"].price == Price("2", "3")
    own = {("p", "local/m"): ModelPrice("0.5", "1", currency="EUR"), ("p", "local/gone"): ModelPrice("9", "9")}
    made, problems = table(own_prices=lambda: own)
    assert made.models["local/m"].price == Price("0", "0"), "another project pays nothing"
    assert made.prices == {"p/local/m": Price("0.5", "1", currency="EUR")}
    assert problems == []
