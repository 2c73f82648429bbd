"""Routers become an app's routes as if they were included, without each route being made twice."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel

from tetrad.kit.http import PROBLEM_RESPONSES, add_routes, render_problems, requires, walk_routes


class Thing(BaseModel):
    """One of them."""

    name: str


def things() -> APIRouter:
    router = APIRouter(prefix="/things/{project}", tags=["things"], dependencies=[requires("control")])

    @router.get("/{name}", operation_id="get_thing", responses={404: {"description": "There is none"}})
    def get_thing(project: str, name: str, size: Annotated[int, Query(le=9)] = 1) -> Thing:
        return Thing(name=f"{project} {name} {size}")

    return router


def plain() -> APIRouter:
    router = APIRouter()

    @router.get("/plain")
    def get_plain(size: Annotated[int, Query(le=9)] = 1) -> Thing:
        return Thing(name=str(size))

    return router


def test_the_document_and_what_routes_state_are_those_of_included_routers() -> None:
    ours, theirs = FastAPI(responses=PROBLEM_RESPONSES), FastAPI(responses=PROBLEM_RESPONSES)
    add_routes(ours, [things(), plain()])
    for router in (things(), plain()):
        theirs.include_router(router)
    assert ours.openapi() == theirs.openapi()
    assert walk_routes(ours) == walk_routes(theirs)


def test_the_document_names_the_shape_of_errors_and_they_have_it() -> None:
    app = FastAPI(responses=PROBLEM_RESPONSES)
    add_routes(app, [plain()])
    render_problems(app)
    for document in (app.openapi(), app.openapi()):
        refused = document["paths"]["/plain"]["get"]["responses"]["default"]["content"]
        assert refused == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        shape = document["components"]["schemas"]["Problem"]
        assert {"Problem", "ProblemDetail", "Thing"} <= document["components"]["schemas"].keys()
    with TestClient(app) as client:
        assert client.get("/plain?size=3").json() == {"name": "3"}
        problem = client.get("/plain?size=10").json()
    assert set(shape["required"]) <= problem.keys() <= shape["properties"].keys()


def test_a_router_that_includes_others_is_refused() -> None:
    outer = APIRouter()
    outer.include_router(plain())
    with pytest.raises(TypeError, match="router that it includes"):
        add_routes(FastAPI(), [outer])
