"""The lists of providers, routes, policies of the cache and MCP servers: found, sorted, and whole in any window."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

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
def test_routes_are_sorted_and_the_address_restores_it(filled: Product, console: Page) -> None:
    page = console
    wide = {"targets": [{"model": "north/m2"}, {"model": "north/pictures-1"}, {"model": "local/smollm2-135m"}]}
    assert filled.control("PUT", f"{API}/routes/wide", json=wide).status_code == 200
    page.goto(f"{filled.control_url}/p/default/gateway/routes")
    titles = page.get_by_role("region", name=re.compile("^Route "))
    expect(titles).to_have_count(3)
    names = ["plain", "smart", "wide"]
    for n, name in enumerate(names):
        expect(titles.nth(n)).to_have_accessible_name(f"Route {name}")
    page.get_by_role("combobox", name="Order of routes").click()
    page.get_by_role("option", name="most targets first").click()
    expect(page).to_have_url(re.compile(r"sort=-targets"))
    expect(titles.first).to_have_accessible_name("Route wide")
    page.reload()
    expect(page.get_by_role("combobox", name="Order of routes")).to_have_value("most targets first")
    expect(titles.first).to_have_accessible_name("Route wide")


@pytest.mark.timeout(240)
def test_of_many_keys_an_old_one_is_found_named_and_given_a_limit(
    filled: Product, console: Page, shot: Callable[[Page, str], None]
) -> None:
    def made(name: str) -> str:
        answer = filled.control("POST", f"{API}/keys", json={"name": name, "scopes": ["data"]})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"]["id"])

    old = made("the oldest tenant")
    for n in range(105):
        made(f"tenant {n:03d}")
    page = console
    page.goto(f"{filled.control_url}/p/default/gateway/keys")
    rows = page.locator("tr[data-key]")
    expect(rows.first).to_contain_text("tenant 104")
    expect(page.locator("tr[data-key='the oldest tenant']")).to_have_count(0)
    page.get_by_role("textbox", name="Find a key").fill(old)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("the oldest tenant")

    # It is chosen by a part of its name, though it is not among the newest.
    page.goto(f"{filled.control_url}/p/default/gateway/budgets?add=limit")
    form = page.get_by_role("dialog", name="Set a limit")
    which = form.get_by_role("combobox", name="Which")
    which.click()
    expect(page.get_by_role("option", name="each key")).to_be_visible()
    which.fill("OLDEST")
    page.get_by_role("option", name=re.compile("^the oldest tenant")).click()
    form.get_by_role("textbox", name="At most").fill("77")
    shot(page, "limit-form-old-key")
    form.get_by_role("button", name="Set the limit").click()
    expect(form).to_have_count(0)
    limits = page.get_by_role("region", name="Limits")
    expect(limits).to_contain_text("the key the oldest tenant")
    page.goto(f"{filled.control_url}/p/default/gateway/keys?q=oldest")
    expect(rows).to_contain_text("77 requests a minute")
    shot(page, "keys-found")


@pytest.mark.timeout(180)
def test_imported_prices_are_told_from_those_that_people_set(
    filled: Product, console: Page, tmp_path: Path, shot: Callable[[Page, str], None]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "model_list:\n  - model_name: taken\n"
        '    litellm_params: {model: openai/m1, api_base: "http://127.0.0.1:9/v1"}\n'
        "    model_info: {input_cost_per_token: 0.000003, output_cost_per_token: 0.000004}\n"
    )
    filled.cli("import", "litellm", str(config))
    filled.cli("model", "price", "set", "north/m2", "input:5", "output:6", "--source", "price-sheet")
    page = console
    page.goto(f"{filled.control_url}/p/default/gateway/prices?show=imported")
    rows = page.locator("tr[data-price]")
    expect(rows).to_have_count(2)
    taken, sheet = page.locator("tr[data-price='openai/m1']"), page.locator("tr[data-price='north/m2']")
    expect(taken).to_contain_text("imported from LiteLLM")
    expect(taken.locator("time")).to_have_count(1)
    expect(sheet).to_contain_text("imported from price-sheet")
    shot(page, "prices-imported")
    page.get_by_role("button", name="openai/m1", exact=True).click()
    expect(page.get_by_role("dialog", name="openai/m1")).to_contain_text("Counts since")
    shot(page, "price-imported")

    # A form that is saved without another price says nothing new of it; one with another price does.
    for amount, said in ((None, "imported from LiteLLM"), ("9", "s form")):
        page.goto(f"{filled.control_url}/p/default/gateway/providers/openai?edit=1")
        form = page.get_by_role("dialog", name="Change openai")
        if amount is not None:
            form.get_by_role("textbox", name="Input of m1").fill(amount)
        form.get_by_role("button", name="Save").click()
        expect(form).to_have_count(0)
        page.goto(f"{filled.control_url}/p/default/gateway/prices")
        expect(taken).to_contain_text(said)
        expect(taken.locator("time")).to_have_count(1)


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
