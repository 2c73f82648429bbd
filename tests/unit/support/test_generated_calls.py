"""The calls that are made up find an app out that lies about itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from support.generated_calls import wrong_answers


def lying() -> FastAPI:
    app = FastAPI()

    @app.get("/honest")
    def honest() -> dict[str, int]:
        return {"count": 1}

    @app.get("/shape", responses={200: {"model": dict[str, int]}})
    def shape() -> Any:
        return JSONResponse({"count": "one"})

    @app.get("/status")
    def status() -> Any:
        return JSONResponse({}, 418)

    @app.post("/failing/{number}")
    def failing(number: int) -> Any:
        return JSONResponse({}, 500 if number else 503)

    return app


def test_wrong_shapes_unknown_statuses_and_failures_are_found_and_nothing_else() -> None:
    app = lying()
    operations, calls, found = wrong_answers(app, app.openapi(), "key", examples=5, seed=1)
    assert operations == 4
    assert calls >= 4
    assert {path for each in found for path in ("/shape", "/status", "/failing", "/honest") if path in each} == {
        "/shape", "/status", "/failing",
    }  # fmt: skip
