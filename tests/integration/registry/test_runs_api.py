"""The API of runs and of a model's aliases, through the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.tetrads import Tetrads, wire
from tetrad.identity import Identity
from tetrad.kernel import Conflict
from tetrad.kit.db import Database
from tetrad.models.routes import router as models_router
from tetrad.registry.routes import router as registry_router
from tetrad.registry.routes import run_router

P = "/api/v1/projects/default"


@dataclass
class Site:
    """A control plane with the routes of runs and models, and a client that may use them."""

    tetrads: Tetrads
    identity: Identity
    app: FastAPI
    http: httpx.AsyncClient


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    tetrads, identity = wire(database), make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, run_router(tetrads.runs), registry_router(tetrads.registry), models_router(tetrads.models))
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    async with caller(app, key) as http:
        yield Site(tetrads, identity, app, http)


async def test_no_route_lets_in_whom_it_must_not(site: Site) -> None:
    assert await holes(site.app, site.identity) == []


async def test_a_run_goes_from_its_start_to_a_comparison(site: Site) -> None:
    asked = {"kind": "finetune", "experiment": "bot", "params": {"lr": 0.5}, "idempotency_key": "one"}
    run = (await site.http.post(f"{P}/runs", json=asked)).json()
    assert (await site.http.post(f"{P}/runs", json=asked)).json()["id"] == run["id"]
    points = [{"metric": "loss", "step": step, "value": 2.0 / (step + 1)} for step in range(100)]
    points.append({"metric": "loss", "step": 100, "value": "NaN"})
    logged = await site.http.post(f"{P}/runs/{run['id']}/metrics", json={"points": points})
    assert (logged.status_code, logged.json()) == (200, {"new": 101})
    assert (await site.http.post(f"{P}/runs/{run['id']}/metrics", json={"points": points})).json() == {"new": 0}
    other = (await site.http.post(f"{P}/runs", json={"experiment": "bot", "params": {"lr": 1}})).json()
    changed = await site.http.patch(f"{P}/runs/{other['id']}", json={"tags": {"by": "ann"}, "name": "second"})
    assert (changed.json()["name"], changed.json()["tags"]) == ("second", {"by": "ann"})
    assert (await site.http.post(f"{P}/runs/{other['id']}/heartbeat")).status_code == 200
    ended = (await site.http.post(f"{P}/runs/{run['id']}/finish", json={"state": "done"})).json()
    assert (ended["state"], ended["metrics"][0]["last"], ended["metrics"][0]["least"]) == ("done", "NaN", 0.02)
    compared = (
        await site.http.get(
            f"{P}/run-comparison", params={"run": [run["id"], other["id"]], "metric": ["loss"], "points": 20}
        )
    ).json()
    assert compared["params"] == [{"name": "lr", "values": [0.5, 1], "differs": True}]
    (series,) = compared["series"]
    assert (series["total"], series["thinned"], series["steps"][0], series["values"][-1]) == (101, True, 0, "NaN")
    assert len(series["steps"]) == len(series["values"]) <= 20
    whole = await site.http.get(f"{P}/runs/{run['id']}/series", params={"metric": "loss"})
    assert len(whole.json()["steps"]) == 101
    first = (await site.http.get(f"{P}/runs", params={"limit": 1})).json()
    assert [each["id"] for each in first["items"]] == [other["id"]]
    rest = (await site.http.get(f"{P}/runs", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert ([each["id"] for each in rest["items"]], rest["next_cursor"]) == ([run["id"]], None)
    experiments = (await site.http.get(f"{P}/experiments")).json()["items"]
    assert experiments == [{"name": "bot", "runs": 2, "running": 1, "newest": other["id"]}]


@pytest.mark.parametrize(
    ("path", "sent", "status", "code"),
    [
        ("runs", {"kind": "guess"}, 400, "invalid_input"),
        ("runs", {"experiment": "Not A Name"}, 400, "bad_name"),
        ("runs", {"inputs": [{"digest": "sha256:" + "0" * 64}]}, 404, "artifact_not_found"),
        ("runs", {"params": {"a": {"b": 1}}}, 400, "invalid_input"),
        ("runs/act_nothing/metrics", {"points": []}, 404, "run_not_found"),
        ("runs/act_nothing/metrics", {"points": [{"metric": "m", "value": "big"}]}, 400, "invalid_input"),
        (
            "runs/act_nothing/metrics",
            {"points": [{"metric": "m", "value": 1, "at": "2026-01-01T00:00:00"}]},
            400,
            "invalid_input",
        ),
        ("runs/act_nothing/finish", {"state": "done"}, 404, "run_not_found"),
    ],
)
async def test_what_is_no_run_is_refused(site: Site, path: str, sent: dict, status: int, code: str) -> None:
    answer = await site.http.post(f"{P}/{path}", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_aliases_move_by_compare_and_swap(site: Site, tmp_path: Path) -> None:
    one = site.tetrads.add_model(tmp_path, "local/m", b"one")
    two = site.tetrads.add_model(tmp_path, "local/m", b"two")
    path, params = f"{P}/model-aliases/best", {"model": "local/m"}
    blind = await site.http.put(path, params=params, json={"version": "1.0.0"})
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_required")
    made = await site.http.put(path, params=params, json={"version": "1.0.0"}, headers={"if-none-match": "*"})
    assert (made.status_code, made.json()["digest"], made.headers["etag"]) == (200, one, f'"{one}"')
    stale = await site.http.put(path, params=params, json={"version": "1.1.0"}, headers={"if-match": f'"{two}"'})
    assert (stale.status_code, stale.json()["code"]) == (409, "ref_moved")
    moved = await site.http.put(path, params=params, json={"version": "1.1.0"}, headers={"if-match": f'"{one}"'})
    assert moved.json()["digest"] == two
    listed = (await site.http.get(f"{P}/model-aliases", params=params)).json()["items"]
    assert [(each["alias"], each["digest"], each["revision"]) for each in listed] == [("best", two, 2)]
    shown = (await site.http.get(f"{P}/models/local/m", params={"version": "best"})).json()
    assert (shown["semver"], shown["aliases"], shown["origin"]["kind"]) == ("1.1.0", ["best"], "import")
    assert (shown["licence_id"], shown["reproduction_cap"], shown["wants_canary"]) == ("Apache-2.0", None, False)
    versions = (await site.http.get(f"{P}/model-versions", params=params)).json()["items"]
    assert [each["semver"] for each in versions] == ["1.1.0", "1.0.0"]
    graph = (await site.http.get(f"{P}/artifacts/{two}/lineage", params={"direction": "both"})).json()
    assert graph["nodes"][0]["names"] == [{"kind": "model", "name": "local/m", "semver": "1.1.0"}]
