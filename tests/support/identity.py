"""An `Identity` on a real database, and the control plane's app around it, for tests."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import APIRouter, FastAPI

from tetrad.identity import Identity, IdentityPolicy
from tetrad.identity._store import SqlIdentityStore
from tetrad.identity.routes import router
from tetrad.kernel import Clock, FixedClock, Principal
from tetrad.kit.db import Database
from tetrad.kit.http import PROBLEM_RESPONSES, GuardPolicy, guard
from tetrad.kit.seal import Keyring, new_seal_key

ADMIN = Principal("key_admin", "key", "test admin", frozenset({"admin", "control"}))
ORIGIN = "http://127.0.0.1:8401"
INTERNAL_TOKEN = "tetrad_internal_" + "x" * 49


def make_identity(
    database: Database,
    *,
    clock: Clock | None = None,
    policy: IdentityPolicy | None = None,
    keyring: Keyring | None = None,
) -> Identity:
    """Make identity's service on a migrated database; the clock stands still unless another is given."""
    return Identity(
        SqlIdentityStore(database),
        keyring or Keyring(new_seal_key()),
        internal_token=INTERNAL_TOKEN,
        policy=policy,
        clock=clock or FixedClock(),
    )


def make_app(identity: Identity, *more: APIRouter, policy: GuardPolicy | None = None) -> FastAPI:
    """Make the control plane's app with identity's routes and further ones, guarded."""
    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    for each in (router(identity), *more):
        app.include_router(each)
    guard(app, identity, policy or GuardPolicy(cookie_name=identity.policy.cookie_name))
    return app


def caller(app: Any, key: str = "") -> httpx.AsyncClient:
    """Lend an HTTP client that calls the app in this process, with a key if one is given."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN, headers=headers)
