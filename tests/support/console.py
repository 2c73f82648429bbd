"""Steps of the console's journeys: signing in, and making a call that leaves a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from support.product import Product
from support.wait import wait_until

ROOT = Path(__file__).parents[2]


def sign_in_link(product: Product) -> str:
    """What `tetrad login` prints."""
    url: str = json.loads(product.cli("login", "--json").stdout)["url"]
    return url


def sign_in(page: Page, product: Product) -> Page:
    """Open a fresh sign-in link and wait for the first page."""
    page.goto(sign_in_link(product))
    page.wait_for_url("**/p/default/overview*")
    return page


def call_the_app(product: Product, text: str, **headers: str) -> httpx.Response:
    """Make a call through the gateway as an app would, and see it answered."""
    body = {"model": "app:assistant", "messages": [{"role": "user", "content": text}], "max_tokens": 24}
    response = httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {product.key}", **headers},
        timeout=60,
        trust_env=False,
    )
    assert response.status_code == 200, response.text
    return response


def wait_for_trace(product: Product, trace_id: str) -> dict[str, Any]:
    """Wait until a trace is in the store."""

    def look() -> dict[str, Any] | None:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    found = wait_until(look, timeout_s=20, what=f"the trace {trace_id}")
    assert found is not None
    return found


def by_role(product: Product, page: Page, role: str) -> Page:
    """Sign somebody in who has a role in the project, and none elsewhere."""
    asked = {"email": f"{role}@example.org", "name": role.title(), "role": role, "project": "default"}
    link = product.control("POST", "/api/v1/sign-in-links", json=asked)
    assert link.status_code == 201, link.text
    page.goto(link.json()["url"])
    page.wait_for_url("**/p/default/overview*")
    return page
