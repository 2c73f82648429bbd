"""What people do every day: filters, keys, themes, the palette, and a control plane that goes away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.console import call_the_app, sign_in, wait_for_trace
from support.ports import free_port
from support.product import Product, running_product
from support.wait import wait_until

pytestmark = pytest.mark.browser


def test_filters_live_in_the_url_and_what_cannot_be_understood_is_named(product: Product, console: Page) -> None:
    kept = call_the_app(product, "Which filters are there?", **{"x-tetrad-session": "filtered"}).headers
    wait_for_trace(product, kept["x-tetrad-trace-id"])
    page = console
    page.get_by_role("link", name="Traces").click()
    bar = page.get_by_role("textbox", name="Filter traces")

    bar.fill("colour:red")
    bar.press("Enter")
    expect(page.get_by_text("There is no filter colour:")).to_be_visible()
    assert "colour" not in page.url

    bar.fill("session:filtered app:assistant")
    bar.press("Enter")
    page.wait_for_url("**/traces?*session=filtered*")
    rows = page.get_by_role("table", name="Traces").get_by_role("row")
    expect(rows).to_have_count(2)
    page.reload()
    expect(bar).to_have_value("app:assistant session:filtered")
    expect(rows).to_have_count(2)

    page.get_by_role("button", name="Latency").click()
    page.wait_for_url("**sort=-duration**")
    expect(page.get_by_role("columnheader", name="Latency")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Remove filter session: filtered").click()
    page.wait_for_url(lambda url: "session=" not in url)
    expect(bar).to_have_value("app:assistant")


def test_the_list_is_walked_by_keys_alone(product: Product, console: Page) -> None:
    wait_for_trace(product, call_the_app(product, "Keys, please").headers["x-tetrad-trace-id"])
    page = console
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/traces")
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/traces/[0-9a-f]{32}"))
    expect(page.get_by_role("tree", name="Spans")).to_be_visible()
    page.keyboard.press("Escape")
    page.wait_for_url("**/traces")


def test_a_key_is_shown_once_works_and_is_revoked(
    product: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    page = console
    page.get_by_role("link", name="Gateway", exact=True).click()
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="Create key").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("journey")
    form.get_by_role("button", name="Create key").click()
    shown = page.get_by_role("dialog", name="The secret of journey")
    secret = shown.locator("pre").inner_text()
    assert secret.startswith("tetrad_")
    shot(page, "key-created")
    shown.get_by_role("button", name="I have copied it").click()
    expect(page.locator("tr[data-key=journey]")).to_contain_text("active")
    assert secret not in page.content()

    # Of many keys it is found by how it ends; the address keeps the search and the order.
    page.get_by_role("textbox", name="Find a key", exact=True).fill(secret[-4:])
    page.wait_for_url(f"**/gateway/keys?q={secret[-4:]}")
    page.get_by_role("button", name="Name", exact=True).click()
    page.wait_for_url("**sort=name**")
    expect(page.get_by_role("columnheader", name="Name", exact=True)).to_have_attribute("aria-sort", "ascending")
    page.reload()
    expect(page.locator("tr[data-key=journey]")).to_be_visible()
    page.get_by_text("revoked", exact=True).click()
    expect(page.get_by_text("No key is so")).to_be_visible()
    page.get_by_text("all", exact=True).click()
    expect(page.locator("tr[data-key=journey]")).to_be_visible()

    def models_answer(status: int) -> bool:
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.get(f"{product.gateway_url}/v1/models", headers=headers, trust_env=False).status_code == status

    wait_until(lambda: models_answer(200), timeout_s=30, what="the gateway to know the new key")
    page.get_by_role("button", name="Actions for journey").click()
    page.get_by_role("menuitem", name="Revoke…").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke key").click()
    expect(page.locator("tr[data-key=journey]")).to_contain_text("revoked")
    wait_until(lambda: models_answer(401), timeout_s=30, what="the gateway to refuse the revoked key")


def test_the_chosen_theme_is_kept_over_a_reload(console: Page, shot: Callable[[Page, str], None]) -> None:
    page = console
    root = page.locator("html")
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("menuitem", name="Dark").click()
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    shot(page, "overview-dark")


def test_the_palette_goes_to_pages_apps_and_a_pasted_trace(
    product: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    trace_id = call_the_app(product, "Find me").headers["x-tetrad-trace-id"]
    wait_for_trace(product, trace_id)
    page = console
    search = page.get_by_role("textbox", name="Search and commands")

    page.keyboard.press("Control+k")
    search.fill("assist")
    expect(page.get_by_role("dialog").locator("[data-selected]").get_by_text("assistant", exact=True)).to_be_visible()
    shot(page, "palette")
    page.keyboard.press("Enter")
    page.wait_for_url("**/apps/assistant")

    page.keyboard.press("Control+k")
    search.fill(f"00-{trace_id}-b7ad6b7169203331-01")
    page.get_by_text(f"Open trace {trace_id}").click()
    page.wait_for_url(f"**/traces/{trace_id}")

    page.keyboard.press("Control+k")
    search.fill("system")
    page.keyboard.press("Enter")
    page.wait_for_url("**/system")
    expect(page.get_by_role("region", name="Processes")).to_contain_text("control")
    shot(page, "system")


def test_a_trace_that_is_not_there_says_so_and_what_to_do(console: Page, product: Product) -> None:
    console.goto(f"{product.control_url}/p/default/traces/{'ab' * 16}")
    alert = console.get_by_role("alert")
    expect(alert).to_contain_text("ab" * 16)
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()


def test_another_project_looks_like_one_that_does_not_exist(console: Page, product: Product) -> None:
    console.goto(f"{product.control_url}/p/not-a-project/overview")
    expect(console.get_by_role("heading", name="There is nothing at this address")).to_be_visible()


@pytest.mark.timeout(300)
def test_the_console_tells_when_control_is_down_and_comes_back_by_itself(
    tmp_path: Path, new_page: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    ports = {"gateway_port": free_port(), "control_port": free_port()}
    page = new_page()
    with running_product(tmp_path, **ports) as product:
        sign_in(page, product)
        expect(page.get_by_role("region", name="Processes and engines")).to_contain_text("control")
    expect(page.get_by_role("status").filter(has_text="The control plane does not answer")).to_be_visible(
        timeout=30_000
    )
    page.get_by_role("link", name="Gateway", exact=True).click()
    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("alert")).to_contain_text("The control plane does not answer", timeout=30_000)
    expect(page.get_by_role("alert")).to_contain_text("tetrad up")
    shot(page, "control-down")
    with running_product(tmp_path, **ports):
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("table")).to_be_visible(timeout=30_000)
        expect(page.get_by_text("The control plane does not answer")).to_have_count(0, timeout=30_000)
