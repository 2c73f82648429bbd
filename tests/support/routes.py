"""Walk all routes of a control app and try each as a stranger, with a wrong scope and from another project."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
from fastapi import FastAPI

from support.identity import ADMIN, caller
from tetrad.identity import Identity
from tetrad.kit.http import RouteFacts, walk_routes


def guarded_routes(app: FastAPI) -> Iterator[tuple[RouteFacts, str]]:
    """Go through the operations that state a scope, each with a path that a request can have."""
    for route in walk_routes(app):
        if route.scope is not None:
            yield (
                route,
                re.sub(r"\{(\w+)(:\w+)?\}", lambda part: "default" if part[1] == "project" else "x", route.path),
            )


async def holes(app: FastAPI, identity: Identity) -> list[str]:
    """Return every operation that lets in whom it must not, in words; an empty list is what a test wants.

    The projects `default` and `other` must exist. Tried are: nobody (401), a key without the scope (403), a key with
    all scopes of another project (404), one of a single project where the whole installation is meant (403), and one
    that may only read, on methods that change things (403).
    """
    everything = ["data", "control", "admin", "pin"]
    other = identity.keys.create(ADMIN, "other", "other", everything).secret
    whole = identity.keys.create(ADMIN, "default", "whole", everything).secret
    without = {
        scope: identity.keys.create(
            ADMIN, "default", f"not {scope}", ["data"] if scope != "data" else ["control"]
        ).secret
        for scope in ("data", "control", "admin", "review", "internal", "pin")
    }
    reader = identity.keys.create(ADMIN, "default", "reader", everything, read_only=True).secret
    found: list[str] = []
    count = 0
    async with caller(app) as http:
        for route, path in guarded_routes(app):
            assert route.scope is not None
            count += 1
            tries = [("nobody", "", 401), ("a key that nobody issued", "tetrad_data_" + "A" * 49, 401)]
            tries.append((f"a key without {route.scope}", without[route.scope], 403))
            if route.in_project:
                tries.append(("another project", other, 404))
            if route.everywhere:
                tries.append(("a single project", whole, 403))
            if route.method not in ("GET", "HEAD") and not route.readers and route.scope != "internal":
                tries.append(("a reader", reader, 403))
            for who, key, status in tries:
                answer = await _asked(http, route.method, path, key)
                if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
                    found.append(
                        f"{route.method} {route.path} answers {who} with {answer.status_code}: {answer.text[:120]}"
                    )
    assert count, "no route was tried"
    return found


async def _asked(http: httpx.AsyncClient, method: str, path: str, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await http.request(method, path, headers=headers)
