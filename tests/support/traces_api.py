"""The traces' API as control serves it, on a real socket, for clients that stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from support.wait import wait_until
from tetrad.kernel import NotFound, Principal, Unauthenticated
from tetrad.kit.http import PROBLEM_RESPONSES, Credential, guard
from tetrad.traces import Traces
from tetrad.traces.routes import router

KEYS = {
    "control-key": Principal("key_1", "key", "control", frozenset({"control"})),
    "data-key": Principal("key_2", "key", "data", frozenset({"data"})),
    "internal-key": Principal("key_3", "process", "gateway", frozenset({"internal"})),
    "other-key": Principal("key_4", "key", "other", frozenset({"control"}), projects=frozenset({"other"})),
}


class FixedKeys:
    """An authenticator of four keys; every project exists."""

    def authenticate(self, credential: Credential) -> Principal:
        """Return the actor of a known key."""
        if credential.secret not in KEYS:
            raise Unauthenticated("unknown key")
        return KEYS[credential.secret]

    def in_project(self, principal: Principal, project: str) -> Principal:
        """Return the actor where it belongs to the project."""
        if not principal.may_enter(project):
            raise NotFound(f"there is no project {project!r}")
        return principal


def traces_app(traces: Traces, *, heartbeat_s: float = 0.2) -> FastAPI:
    """Return an app with the traces' routes behind the real guard."""
    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    app.include_router(router(traces, heartbeat_s=heartbeat_s))
    guard(app, FixedKeys())
    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an app on a free port of this machine and lend its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the server to start")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
