"""Build the whole control plane in a fresh home and try every route; a process of its own, since chDB opens once."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from pathlib import Path

from support.identity import ADMIN, caller
from support.malformed import failures
from support.routes import guarded_routes, holes
from tetrad import __version__
from tetrad.kit.home import Home
from tetrad.kit.http import walk_routes
from tetrad.processes._settings import product_settings
from tetrad.processes.control._app import build_app
from tetrad.processes.control._compose import build_services


async def _malformed(home: Home) -> dict[str, object]:
    home.prepare(__version__)
    services = build_services(product_settings(home=str(home.root)), home)
    identity = services.identity
    identity.first_start(home.keys)
    app = build_app(services)
    document = app.openapi()
    key = (home.keys / "admin.key").read_text("utf-8").strip()
    # a stream does not end on its own
    document["paths"] = {path: each for path, each in document["paths"].items() if "stream" not in path}
    async with caller(app) as http:
        count, found = await failures(http, document, key, each=1)
    return {"count": count, "failures": found}


async def _cursors(home: Home) -> dict[str, object]:
    from support.forged_cursors import wrong_answers

    home.prepare(__version__)
    services = build_services(product_settings(home=str(home.root)), home)
    services.identity.first_start(home.keys)
    app = build_app(services)
    key = (home.keys / "admin.key").read_text("utf-8").strip()
    async with caller(app) as http:
        return await wrong_answers(http, app.openapi(), key)


def _generated(home: Home, examples: int, seed: int, most: int) -> dict[str, object]:
    from support.generated_calls import wrong_answers

    home.prepare(__version__)
    services = build_services(product_settings(home=str(home.root)), home)
    services.identity.first_start(home.keys)
    app = build_app(services)
    document = app.openapi()
    key = (home.keys / "admin.key").read_text("utf-8").strip()
    document["paths"] = {path: each for path, each in document["paths"].items() if "stream" not in path}
    operations, calls, found = wrong_answers(app, document, key, examples=examples, seed=seed, most=most)
    return {"operations": operations, "calls": calls, "failures": found}


async def _walk(home: Home) -> dict[str, object]:
    home.prepare(__version__)
    services = build_services(product_settings(home=str(home.root)), home)
    identity = services.identity
    identity.first_start(home.keys)
    identity.projects.create(ADMIN, "other")
    app = build_app(services)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # FastAPI warns of operations that stand twice
        document = app.openapi()
    routes = walk_routes(app)
    return {
        "holes": await holes(app, identity),
        "public": sorted(f"{route.method} {route.path}" for route in routes if route.scope is None),
        "guarded": [f"{route.method} {route.path}" for route, _ in guarded_routes(app)],
        "operation_ids": [
            operation["operationId"] for path in document["paths"].values() for operation in path.values()
        ],
        "schemas": sorted(document["components"]["schemas"]),
    }


if __name__ == "__main__":
    place = Home(Path(sys.argv[1]))
    if "--generated" in sys.argv:
        examples, seed, most = map(int, sys.argv[3:6])
        told = _generated(place, examples, seed, most)
    else:
        walks = {"--malformed": _malformed, "--cursors": _cursors}
        told = asyncio.run(next((walk for flag, walk in walks.items() if flag in sys.argv), _walk)(place))
    print(json.dumps(told))
    sys.stdout.flush()
