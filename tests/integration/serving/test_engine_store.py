"""Engines on both databases, and their routes."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from support.identity import ADMIN, INTERNAL_TOKEN, caller, make_app, make_identity
from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.serving import EngineEndpoint, EngineReport, EngineSpec, ModelEntry, Price, RouteTable
from tetrad.serving._engine_directory import EngineDirectory
from tetrad.serving._store import SqlEngineStore
from tetrad.serving.routes import router

SPEC = EngineSpec(
    name="one", kind="llama_cpp", model="sha256:" + "1" * 64, served_name="local/one", flags={"batch": "64"}
)


def test_specs_and_reports_survive_a_restart_of_control(database: Database) -> None:
    clock = FixedClock()
    directory = EngineDirectory(SqlEngineStore(database), clock)
    directory.want(SPEC)
    directory.want(msgspec.structs.replace(SPEC, name="two", served_name="local/two"))
    directory.note(
        EngineReport(
            name="one",
            spec_digest=SPEC.digest,
            state="ready",
            endpoint=EngineEndpoint("http://127.0.0.1:1/v1", "hush"),
            served=("local/one",),
        )
    )
    clock.advance(timedelta(seconds=1))
    store = SqlEngineStore(database)
    first, second = store.all()
    assert (first.spec, second.spec.name) == (SPEC, "two")
    assert first.report is not None
    assert first.report.state == "ready"
    assert first.report.endpoint is None
    assert first.reported_at == clock.now() - timedelta(seconds=1)
    assert second.report is None
    assert store.drop("two") is True
    assert store.drop("two") is False
    assert EngineDirectory(SqlEngineStore(database), clock).desired() == [SPEC]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_routes_say_what_runs_and_hand_no_secret_out(database: Database) -> None:
    identity = make_identity(database)
    directory = EngineDirectory(SqlEngineStore(database), FixedClock())
    app = make_app(identity, router(directory))
    identity.projects.create(ADMIN, "default", "Default")
    key = identity.keys.create(ADMIN, "default", "admin", ["control"]).secret
    async with caller(app) as http:
        as_worker = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
        as_user = {"authorization": f"Bearer {key}"}
        directory.want(SPEC)
        wishes = (await http.get("/internal/v1/engines", headers=as_worker)).json()
        assert msgspec.convert(wishes["engines"], list[EngineSpec]) == [SPEC]
        report = EngineReport(
            name="one",
            spec_digest=SPEC.digest,
            state="ready",
            endpoint=EngineEndpoint("http://127.0.0.1:1/v1", "hush-hush"),
            served=("local/one",),
        )
        body = msgspec.to_builtins(report)
        assert (await http.put("/internal/v1/engines/one", json=body, headers=as_worker)).status_code == 204
        assert (await http.put("/internal/v1/engines/ghost", json=body, headers=as_worker)).status_code == 404
        odd = await http.put("/internal/v1/engines/one", json={"state": "flying"}, headers=as_worker)
        assert odd.status_code == 400
        assert (await http.put("/internal/v1/engines/one", json=body, headers=as_user)).status_code == 403
        listed = await http.get("/api/v1/engines", headers=as_user)
        assert listed.json()["items"][0]["state"] == "ready"
        models = await http.get("/api/v1/models", headers=as_user)
        assert [model["name"] for model in models.json()["items"]] == ["local/one"]
        assert "hush-hush" not in listed.text + models.text


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_project_is_told_its_own_price_of_an_engines_model_and_no_other_is(database: Database) -> None:
    identity = make_identity(database)
    engine = ModelEntry("local/one", "one", "local/one", price=Price("0", "0"))
    bought = ModelEntry("acme/m", "acme", "m", price=Price("5", "6"), project="default")
    made = RouteTable(
        version=1, made_ns=1, models={"local/one": engine, "acme/m": bought},
        prices={"default/local/one": Price("0.02", "0.05", currency="EUR"), "default/acme/m": Price("9", "9")},
    )  # fmt: skip
    owners = {"acme": "default"}
    app = make_app(identity, router(EngineDirectory(SqlEngineStore(database), FixedClock()), lambda: made, owners.get))
    for name in ("default", "other"):
        identity.projects.create(ADMIN, name, name)
    keys = {name: identity.keys.create(ADMIN, name, "k", ["control"]).secret for name in ("default", "other")}

    async with caller(app) as http:

        async def told(key: str, path: str) -> dict[str, tuple[str, str, str]]:
            answer = await http.get(path, headers={"authorization": f"Bearer {keys[key]}"})
            assert answer.status_code == 200, answer.text
            prices = {model["name"]: model["price"] for model in answer.json()["items"]}
            return {name: (price["input"], price["output"], price["currency"]) for name, price in prices.items()}

        own, free, form = ("0.02", "0.05", "EUR"), ("0", "0", "USD"), ("5", "6", "USD")
        assert await told("default", "/api/v1/models?project=default") == {"local/one": own, "acme/m": form}
        assert await told("default", "/api/v1/models") == {"local/one": free, "acme/m": form}
        assert await told("other", "/api/v1/models?project=other") == {"local/one": free}
        assert await told("other", "/api/v1/models?project=default") == {"local/one": free}, "nobody else's business"
