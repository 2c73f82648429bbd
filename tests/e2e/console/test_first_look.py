"""From the sign-in link to the first trace, and on to the release that made the answer."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.console import call_the_app, sign_in, sign_in_link, wait_for_trace
from support.product import Product

pytestmark = pytest.mark.browser
QUESTION = "Why do leaves change colour in autumn?"


def test_a_visitor_without_a_session_is_told_which_command_prints_a_link(
    product: Product, new_page: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    page = new_page()
    page.goto(f"{product.control_url}/p/default/traces?status=error")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("tetrad login", exact=True)).to_be_visible()
    shot(page, "sign-in")


def test_a_sign_in_link_works_once_and_leaves_no_token_in_the_address(
    product: Product, new_page: Callable[..., Page]
) -> None:
    link = sign_in_link(product)
    page = new_page()
    page.goto(link)
    page.wait_for_url("**/p/default/overview*")
    assert "token" not in page.url
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    second = new_page()
    second.goto(link)
    expect(second.get_by_role("heading", name="This link no longer works")).to_be_visible()
    expect(second.get_by_text("tetrad login", exact=True)).to_be_visible()


def test_the_page_that_was_asked_for_opens_after_signing_in(product: Product, new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto(f"{product.control_url}/p/default/traces?status=error")
    page.wait_for_url("**/login?*next=*")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    # A link from a terminal opens in a tab of its own.
    other = page.context.new_page()
    other.goto(sign_in_link(product))
    other.wait_for_url("**/p/default/traces?status=error")
    expect(other.get_by_role("button", name="Remove filter status: error")).to_be_visible()


def test_a_project_without_traffic_says_what_to_do_next(
    product: Product, new_page: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    product.control("POST", "/api/v1/projects", json={"name": "quiet", "title": "Quiet"})
    page = sign_in(new_page(), product)
    page.get_by_role("button", name=re.compile("^Project:")).click()
    page.get_by_role("menuitem", name="Quiet").click()
    expect(page.get_by_role("heading", name="No requests in the last 24 hours")).to_be_visible()
    expect(page.get_by_text('eval "$(tetrad env)"')).to_be_visible()
    shot(page, "overview-empty")
    page.get_by_role("link", name="Traces").click()
    expect(page.get_by_role("heading", name="No traces in the last 24h")).to_be_visible()
    page.get_by_role("link", name="Apps").click()
    expect(page.get_by_role("heading", name="No apps in this project")).to_be_visible()


def test_a_call_appears_live_and_opens_with_all_that_made_its_answer(
    product: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    page = console
    page.get_by_role("link", name="Traces").click()
    page.get_by_role("switch", name="Live").check()
    page.wait_for_url("**/traces?*live=1*")

    answer = call_the_app(product, QUESTION, **{"x-tetrad-session": "first-look", "x-tetrad-user": "ada"})
    trace_id, release = answer.headers["x-tetrad-trace-id"], answer.headers["x-tetrad-release"]
    link = page.locator(f'a[href*="/traces/{trace_id}"]')
    # No reload and no button: the row comes by itself.
    expect(link).to_be_visible(timeout=15_000)
    shot(page, "traces-live")
    link.click()

    said = answer.json()["choices"][0]["message"]["content"].strip()
    trace = wait_for_trace(product, trace_id)["trace"]
    expect(page.get_by_role("region", name="Input").get_by_text(QUESTION)).to_be_visible()
    expect(page.get_by_role("region", name="Output")).to_contain_text(said.split("\n")[0][:40])
    facts = page.locator("dl").first
    for name in ("Latency", "First token", "Tokens", "Cost", "Model", "Release", "Session", "User"):
        expect(facts.get_by_text(name, exact=True)).to_be_visible()
    expect(facts).to_contain_text("first-look")
    expect(facts).to_contain_text(release.removeprefix("sha256:")[:12])
    expect(facts).to_contain_text(str(trace["usage"]["total"]))
    shot(page, "trace")

    page.get_by_role("tree", name="Spans").press("End")
    page.wait_for_url("**/traces/*?span=*")
    chosen = page.url
    page.get_by_role("tab", name="Attributes").click()
    expect(page.get_by_role("rowheader", name="tetrad.release")).to_be_visible()
    page.get_by_role("tab", name="Raw JSON").click()
    expect(page.locator(".cm-content")).to_contain_text("trace_id")
    page.reload()
    assert page.url.startswith(chosen)
    expect(page.locator(".cm-content")).to_contain_text("trace_id")

    page.locator(f'header a[title="{release}"]').click()
    page.wait_for_url("**/apps/assistant*")
    expect(
        page.get_by_role("heading", name=re.compile(f"Release {release.removeprefix('sha256:')[:12]}"))
    ).to_be_visible()


def test_the_app_page_shows_the_four_parts_of_its_release(
    product: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    page = console
    page.get_by_role("link", name="Apps").click()
    page.get_by_role("link", name="assistant", exact=True).click()
    app = product.control("GET", "/api/v1/projects/default/apps/assistant").json()
    digest = next(ref["digest"] for ref in app["refs"] if ref["name"] == app["default_ref"])
    release = product.control("GET", f"/api/v1/projects/default/releases/{digest}").json()

    prompt = page.get_by_role("region", name="prompt")
    expect(prompt).to_contain_text(release["prompt"][0]["name"])
    expect(prompt).to_contain_text(release["prompt"][0]["digest"])
    model = page.get_by_role("region", name="model")
    expect(model).to_contain_text(release["model"][0]["licence"])
    expect(model).to_contain_text(release["model"][0]["digest"])
    data = page.get_by_role("region", name="data")
    first_row = next(iter(release["data"][0]["preview"][0]))
    expect(data.get_by_role("columnheader", name=first_row, exact=True)).to_be_visible()
    code = page.get_by_role("region", name="code")
    for file in release["code"][0]["files"]:
        expect(code.get_by_role("cell", name=file["path"], exact=True)).to_be_visible()

    history = page.get_by_role("region", name="Moves of refs")
    expect(history.get_by_role("row")).to_have_count(len(app["history"]) + 1)
    expect(page.get_by_role("region", name="Try it")).to_contain_text('"model":"app:assistant"')
    shot(page, "app")


def test_the_overview_sums_up_what_was_called(
    product: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    wait_for_trace(product, call_the_app(product, QUESTION).headers["x-tetrad-trace-id"])
    page = console
    page.get_by_text("15m", exact=True).click()
    page.wait_for_url("**/overview?window=15m")
    totals = page.get_by_role("region", name="Totals, last 15 minutes")
    expect(totals).to_be_visible()
    for name in ("Requests", "Error rate", "Latency", "First token", "Tokens", "Cost"):
        expect(totals.get_by_text(name, exact=True)).to_be_visible()
    expect(
        page.get_by_role("img", name=re.compile(r"^Requests per \d+ s, last 15 minutes")).locator("svg")
    ).to_be_visible()
    expect(page.get_by_role("region", name="Apps").get_by_role("link", name="assistant")).to_be_visible()
    expect(page.get_by_role("region", name="Processes and engines")).to_contain_text("control")
    shot(page, "overview")
    page.reload()
    expect(page.get_by_role("region", name="Totals, last 15 minutes")).to_be_visible()
