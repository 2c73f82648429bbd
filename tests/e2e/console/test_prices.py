"""Prices in the console: what models cost, who says so, and what nobody knows; set, counted by, taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.console import ROOT, by_role, sign_in
from support.fake_openai import FakeOpenAI
from support.product import Product
from support.wait import wait_until

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
PRICES = "gateway/prices"
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
MODEL = "acme/Big-4.5:free"
ENGINE = "local/smollm2-135m"
FITS = "[document.querySelector('main'), document.documentElement].every((it) => it.scrollWidth <= it.clientWidth)"
Shot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def acme(product: Product) -> Iterator[FakeOpenAI]:
    """A provider of a model that no list prices, and of one with a price of its own."""
    with FakeOpenAI() as fake:
        price = {"input": "1", "output": "2", "currency": "USD", "units": {"image": "0.04"}, "batch": "0.5"}
        names = [MODEL.partition("/")[2], "m1"]
        models = [{"name": names[0]}, {"name": names[1], "price": price}, {"name": "own-7", "kinds": ["images"]}]
        made = product.control("PUT", f"{API}/providers/acme", json={"base_url": fake.base_url, "models": models})
        assert made.status_code == 200, made.text
        yield fake


def cost(product: Product, model: str = MODEL) -> str | None:
    """Call a model, and return what the gateway says that it cost."""
    answered = httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16},
        headers={"authorization": f"Bearer {product.key}"},
        timeout=60,
        trust_env=False,
    )
    assert answered.status_code == 200, answered.text
    trace = answered.headers["x-tetrad-trace-id"]
    path = f"{API}/traces/{trace}"
    wait_until(lambda: product.control("GET", path).status_code == 200, timeout_s=30, what="the trace")
    found: str | None = product.control("GET", path).json()["trace"]["cost"]
    return found


@pytest.mark.timeout(240)
def test_an_unknown_price_is_loud_is_set_counts_at_once_and_is_taken_back(
    product: Product, console: Page, acme: FakeOpenAI, shot: Shot
) -> None:
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/providers/acme")
    row = page.get_by_role("row").filter(has_text=MODEL)
    expect(row).to_contain_text("unknown price")
    row.get_by_role("link", name="Set it").click()
    page.wait_for_url(f"**/{PRICES}?set=*")
    form = page.get_by_role("dialog", name=f"Set the price of {MODEL}")
    shot(page, "price-form")

    # What is wrong is said where it is, before anything is sent.
    form.get_by_role("button", name="Set the price").click()
    expect(form).to_contain_text("What costs nothing is 0")
    form.get_by_role("textbox", name="Input").fill("1000")
    form.get_by_role("textbox", name="Read from its cache").fill("cheap")
    form.get_by_role("textbox", name="Part in batches").fill("50")
    form.get_by_role("textbox", name="From", exact=True).fill("2026-02-01T00:00")
    form.get_by_role("textbox", name="Until", exact=True).fill("2026-01-01T00:00")
    form.get_by_role("combobox", name=re.compile("What else")).click()
    page.get_by_role("option", name="Images, each").click()
    page.keyboard.press("Escape")
    for said in ("A number such as 0.25", "Give both prices", "at most 1: 0.5 is half", "After it begins"):
        expect(form).to_contain_text(said)
    shot(page, "price-form-wrong")
    form.get_by_role("textbox", name="Output").fill("1000")
    form.get_by_role("textbox", name="Read from its cache").fill("")
    form.get_by_role("textbox", name="Part in batches").fill("0.5")
    form.get_by_role("textbox", name="Images, each").fill("0.04")
    form.get_by_role("textbox", name="Until", exact=True).fill("")
    form.get_by_role("button", name="Set the price").click()
    expect(form).to_have_count(0)

    line = page.locator(f"tr[data-price='{MODEL}']")
    expect(line).to_contain_text("$1000.00")
    expect(line).to_contain_text("$0.04 an image")
    expect(line).to_contain_text("set here")
    expect(page.locator("tr[data-price='acme/m1']")).to_contain_text("s form")
    shot(page, "prices")
    # Gateways count by it without anything else being changed.
    wait_until(lambda: cost(product) is not None, timeout_s=30, what="the price to count")
    kept = product.control("GET", f"{API}/model-prices", params={"model": MODEL}).json()["items"]
    assert [each["price"]["units"] for each in kept] == [{"image": "0.04"}]

    line.get_by_role("button", name=MODEL, exact=True).click()
    drawer = page.get_by_role("dialog", name=MODEL)
    expect(drawer).to_contain_text("0.5 of this price")
    expect(drawer.get_by_role("row").nth(1)).to_contain_text("holds")
    shot(page, "price")
    drawer.get_by_role("button", name=re.compile("^Take back")).click()
    page.get_by_role("dialog", name="Take the price back?").get_by_role("button", name="Take it back").click()
    expect(drawer).to_contain_text("Nobody knows its price", timeout=20_000)
    assert product.control("GET", f"{API}/model-prices", params={"model": MODEL}).json()["items"] == []
    wait_until(lambda: cost(product) is None, timeout_s=30, what="the price to count no more")
    told = product.control("GET", f"{API}/audit").text
    assert "model_price.set" in told
    assert "model_price.removed" in told


@pytest.mark.timeout(240)
def test_what_a_project_says_that_an_engine_costs_is_shown_as_it_counts(
    product: Product, console: Page, shot: Shot
) -> None:
    page = console

    def listed() -> str:
        found = product.control("GET", "/api/v1/models", params={"project": "default"}).json()["items"]
        return str(next(each for each in found if each["name"] == ENGINE)["price"]["input"])

    page.goto(f"{product.control_url}/p/default/{PRICES}")
    line = page.locator(f"tr[data-price='{ENGINE}']")
    expect(line).to_contain_text("$0.00")
    line.get_by_role("button", name=f"Set the price of {ENGINE}").click()
    form = page.get_by_role("dialog", name=f"Set the price of {ENGINE}")
    form.get_by_role("textbox", name="Input").fill("1000")
    form.get_by_role("textbox", name="Output").fill("2000")
    form.get_by_role("button", name="Set the price").click()
    expect(line).to_contain_text("$1000.00")
    expect(line).to_contain_text("set here")
    wait_until(lambda: listed() == "1000", timeout_s=30, what="the list to tell the project's own price")
    wait_until(lambda: float(cost(product, ENGINE) or 0) > 0, timeout_s=30, what="the price to count")

    line.get_by_role("button", name=ENGINE, exact=True).click()
    drawer = page.get_by_role("dialog", name=ENGINE)
    expect(drawer).to_contain_text("$1000.00 a million tokens")
    expect(drawer.get_by_role("row").filter(has_text="$1000.00")).to_contain_text("holds")
    shot(page, "price-of-an-engine")
    drawer.get_by_role("button", name=re.compile("^Take back")).click()
    page.get_by_role("dialog", name="Take the price back?").get_by_role("button", name="Take it back").click()
    expect(drawer).to_contain_text("$0.00 a million tokens", timeout=20_000)
    expect(
        drawer.get_by_role("button", name="Set another price").or_(drawer.get_by_role("button", name="Set a price"))
    ).to_be_visible()
    wait_until(lambda: float(cost(product, ENGINE) or 1) == 0, timeout_s=30, what="the price to count no more")
    wait_until(lambda: listed() == "0", timeout_s=30, what="the list to tell it no more")

    page.goto(f"{product.control_url}/p/default/models/-/{ENGINE}")
    expect(page.get_by_role("region", name="Prices").get_by_role("button", name="Set a price")).to_be_visible()


@pytest.mark.timeout(180)
def test_prices_are_found_sorted_and_read_by_those_who_may_not_set_them(
    product: Product, new_page: Callable[..., Page], acme: FakeOpenAI, shot: Shot
) -> None:
    page = sign_in(new_page(bypass_csp=True), product)
    for search in ("", "?set=acme/own-7", "?model=acme/m1"):
        page.goto(f"{product.control_url}/p/default/{PRICES}{search}")
        expect(page.get_by_role("alert", include_hidden=True).filter(has_text="is unknown")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(1 if search else 0)
        page.add_script_tag(path=AXE)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
            page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], f"{search} {scheme}"
    page.goto(f"{product.control_url}/p/default/{PRICES}")
    page.get_by_role("group", name="Which prices").or_(page.get_by_role("radiogroup", name="Which prices")).get_by_text(
        "Unknown"
    ).click()
    expect(page.locator("tr[data-price='acme/own-7']")).to_be_visible()
    expect(page.locator("tr[data-price='acme/m1']")).to_have_count(0)
    page.goto(f"{product.control_url}/p/default/{PRICES}")
    page.get_by_role("button", name="Input", exact=True).click()
    expect(page).to_have_url(re.compile("sort=-input"))
    expect(page.locator("tr[data-price]").first).to_contain_text("acme/m1")
    page.get_by_role("textbox", name="Find a model").fill("OWN")
    expect(page.locator("tr[data-price]")).to_have_count(1)
    page.reload()
    expect(page.get_by_role("textbox", name="Find a model")).to_have_value("OWN")

    viewer = by_role(product, new_page(width=390, height=780, scheme="dark"), "viewer")
    viewer.goto(f"{product.control_url}/p/default/{PRICES}?set=acme/own-7")
    expect(viewer.get_by_role("dialog")).to_contain_text("Ask an admin of this project to set it")
    viewer.keyboard.press("Escape")
    expect(viewer.locator("tr[data-price='acme/own-7']")).to_contain_text("unknown price")
    expect(viewer.get_by_role("button", name=re.compile("^Set"))).to_have_count(0)
    expect(viewer.get_by_role("dialog")).to_have_count(0)
    assert viewer.evaluate(FITS)
    shot(viewer, "prices-narrow")
    viewer.get_by_role("button", name="acme/m1", exact=True).click()
    expect(viewer.get_by_role("dialog", name="acme/m1")).to_contain_text("$0.04 an image")
    shot(viewer, "price-narrow")


@pytest.mark.timeout(120)
def test_a_price_by_the_image_is_given_in_the_form_of_its_provider(
    product: Product, console: Page, acme: FakeOpenAI, shot: Shot
) -> None:
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/providers/acme?edit=1")
    form = page.get_by_role("dialog", name="Change acme")
    form.get_by_text("Price from the table or the public list").last.click()
    form.get_by_role("combobox", name="What else own-7 charges for").click()
    page.get_by_role("option", name="Images, each").click()
    page.keyboard.press("Escape")
    form.get_by_role("button", name="Save").click()
    expect(form).to_contain_text("A number such as 0.25")
    form.get_by_role("textbox", name="Images, each, of own-7").fill("0.07")
    # What was wrong and is right now stays in sight.
    expect(form.get_by_role("textbox", name="Images, each, of own-7")).to_be_visible()
    shot(page, "provider-form-units")
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="acme/own-7")).to_contain_text("$0.07 an image")
    stored = product.control("GET", f"{API}/providers/acme").json()["models"]
    assert {model["name"]: model["price"] and model["price"]["units"] for model in stored}["own-7"] == {"image": "0.07"}
