"""The lists of providers, routes, policies of the cache and MCP servers: found, sorted, and whole in any window."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.console import sign_in
from support.product import Product

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
LONG = "a-provider-whose-name-is-as-long-as-names-may-well-be-in-practice"[:60]
FITS = "[document.querySelector('main'), document.documentElement].every((it) => it.scrollWidth <= it.clientWidth)"
LISTS = {
    "providers": "Find a provider",
    "routes": "Find a route",
    "cache": "Find a policy",
    "tools": "Find an MCP server",
}


@pytest.fixture(scope="module")
def filled(product: Product) -> Product:
    """A product with something of each kind, some of it with long names."""

    def put(path: str, body: dict[str, object]) -> None:
        made = product.control("PUT", f"{API}/{path}", json=body)
        assert made.status_code == 200, made.text

    price = {"input": "0", "output": "0", "currency": "USD", "units": {"image": "0.04"}}
    models = [{"name": "pictures-1", "kinds": ["images"], "price": price}, {"name": "m2", "kinds": ["chat"]}]
    put("providers/north", {"base_url": "http://127.0.0.1:9/v1", "models": models})
    put(f"providers/{LONG}", {"base_url": f"http://127.0.0.1:9/{'deep/' * 12}v1", "models": models[:1]})
    put("routes/smart", {"targets": [{"model": "north/m2"}], "aliases": ["clever", "gpt-5-by-another-name"]})
    put("routes/plain", {"targets": [{"model": f"{LONG}/pictures-1"}]})
    put("caches/assistant", {"use": "always", "ttl_s": 600})
    put("caches/-", {"use": "asked", "ttl_s": 90_000})
    put("mcp-servers/hub", {"url": "http://127.0.0.1:9/mcp"})
    put("mcp-servers/tickets-and-other-things", {"url": f"http://127.0.0.1:9/{'deep/' * 12}mcp"})
    return product


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_list_fits_wide_and_narrow_windows(
    filled: Product, new_page: Callable[..., Page], shot: Callable[[Page, str], None], scheme: str
) -> None:
    for width in (1280, 400):
        page = sign_in(new_page(width=width, scheme=scheme), filled)
        for name, label in LISTS.items():
            page.goto(f"{filled.control_url}/p/default/gateway/{name}")
            expect(page.get_by_role("textbox", name=label)).to_be_visible()
            shot(page, f"list-{name}-{width}-{scheme}")
            assert page.evaluate(FITS), f"{name} is wider than a window of {width}"


@pytest.mark.timeout(180)
def test_policies_of_the_cache_are_found_and_sorted_and_the_address_restores_it(filled: Product, console: Page) -> None:
    page = console
    page.goto(f"{filled.control_url}/p/default/gateway/cache")
    rows = page.get_by_role("group", name="Policies of the cache").get_by_role("row")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="For", exact=True).click()
    expect(page).to_have_url(re.compile(r"sort=-ttl"))
    expect(rows.nth(1)).to_contain_text("all other calls")
    page.get_by_role("textbox", name="Find a policy").fill("ASSIST")
    expect(rows).to_have_count(2)
    page.reload()
    expect(page.get_by_role("textbox", name="Find a policy")).to_have_value("ASSIST")
    expect(rows).to_have_count(2)
    page.get_by_role("textbox", name="Find a policy").fill("nobody")
    expect(page.get_by_text("No policy is so")).to_be_visible()
    page.get_by_role("textbox", name="Find a policy").fill("other calls")
    expect(rows.nth(1)).to_contain_text("all other calls")


@pytest.mark.timeout(180)
def test_prices_of_other_things_than_text_are_set_by_command_and_seen(filled: Product, console: Page) -> None:
    said = filled.cli(
        "model", "price", "set", "local/smollm2-135m", "second:0.0001", "image:0.04", "--from", "2026-01-01"
    )
    assert "image 0.04" in said.stdout
    assert "second 0.0001" in filled.cli("model", "price", "list").stdout
    console.goto(f"{filled.control_url}/p/default/models/-/local/smollm2-135m")
    expect(console.get_by_text("$0.04 an image").first).to_be_visible()
    console.goto(f"{filled.control_url}/p/default/gateway/providers/north")
    expect(console.get_by_role("row").filter(has_text="north/pictures-1")).to_contain_text("$0.04 an image")
