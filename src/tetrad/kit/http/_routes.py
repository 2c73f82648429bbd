"""Routers of slices become an app's routes."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute


def add_routes(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Put the routers' routes into an app as they are, the app's own responses added to their description.

    `include_router` would make each route a second time, for a prefix and dependencies that we do not give there: it
    took as long as to make them at all. Raises `TypeError` for a router that includes others.
    """
    for router in routers:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route!r} is no route of its own: give the router that it includes, too")
            route.responses = {**app.router.responses, **route.responses}
            app.router.routes.append(route)
