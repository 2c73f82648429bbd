"""What is out of date, proven, bound, revoked and collected: looked at and changed in the console."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.product import Product

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
Shot = Callable[[Page, str], None]


def production(product: Product) -> str:
    digest: str = product.control("GET", f"{API}/apps/assistant/refs/production").json()["digest"]
    return digest


@pytest.mark.timeout(240)
def test_a_release_is_proven_bit_for_bit_from_its_page(product: Product, console: Page, shot: Shot) -> None:
    page = console
    release = production(product)
    page.goto(f"{product.control_url}/p/default/releases/{release}?tab=reproduction")
    page.get_by_role("button", name="Prove R0").click()
    levels = page.get_by_role("list", name="Levels")
    expect(levels.get_by_role("listitem").filter(has_text="R0")).to_contain_text("proven", timeout=120_000)
    expect(page.get_by_role("group", name="Parts that were read again")).to_contain_text("prompt")
    shot(page, "reproduction")
    listed = product.control("GET", f"{API}/releases/{release}/reproductions").json()["items"]
    assert ("R0", ["R0"]) in [(each["level"], each["proven"]) for each in listed]


def test_what_is_out_of_date_is_named_and_made_again_on_a_press(product: Product, console: Page, shot: Shot) -> None:
    page = console
    release = production(product)
    prompt = f"{API}/prompts/assistant-system"
    text = product.control("GET", prompt).json()["text"]
    made = product.control("POST", f"{prompt}/versions", json={"text": text.replace("helpful", "truly helpful")})
    assert made.status_code in (200, 201), made.text
    page.goto(f"{product.control_url}/p/default/apps/assistant")
    expect(page.get_by_role("region", name="Refs", exact=True)).to_contain_text("stale")
    page.goto(f"{product.control_url}/p/default/releases/{release}?tab=staleness")
    expect(page.get_by_role("list", name="Causes")).to_contain_text("assistant-system")
    expect(page.get_by_role("group", name="The plan")).to_contain_text("no executor")
    shot(page, "staleness")
    page.get_by_role("button", name="Run what can be run").click()
    done = page.get_by_role("group", name="What became of the steps")
    expect(done.get_by_role("row").filter(has_text="rebuild release")).to_contain_text("made", timeout=60_000)
    expect(page.get_by_text("already: what is left is to move the ref.")).to_be_visible()
    shot(page, "staleness-run")
    assert production(product) == release, "no ref moves by itself"


def test_a_revocation_shows_what_it_reaches_first_and_can_be_taken_back(
    product: Product, console: Page, shot: Shot
) -> None:
    page = console
    release = production(product)
    page.goto(f"{product.control_url}/p/default/datasets/assistant-fewshot")
    page.get_by_role("button", name=re.compile("^Revoke or erase assistant-fewshot")).click()
    page.get_by_role("menuitem", name="Revoke").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("region", name="What this reaches")).to_contain_text("assistant/production")
    expect(form.get_by_role("button", name="Revoke")).to_be_disabled()
    form.get_by_label("Why").fill("poisoned rows")
    shot(page, "revoke")
    form.get_by_role("button", name="Revoke").click()
    expect(form).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text("poisoned rows")
    page.goto(f"{product.control_url}/p/default/releases/{release}")
    expect(page.get_by_role("alert")).to_contain_text("rests on what was revoked")
    expect(page.get_by_role("alert")).to_contain_text("assistant-fewshot")
    shot(page, "broken")

    page.goto(f"{product.control_url}/p/default/datasets/assistant-fewshot")
    page.get_by_role("button", name=re.compile("^Revoke or erase assistant-fewshot")).click()
    page.get_by_role("menuitem", name="Erase").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("checkbox")).to_be_visible()
    form.get_by_label("Why").fill("by mistake")
    expect(form.get_by_role("button", name="Erase for good")).to_be_disabled()
    shot(page, "erase")
    page.keyboard.press("Escape")

    page.get_by_role("button", name=re.compile("^Revoke or erase assistant-fewshot")).click()
    page.get_by_role("menuitem", name="Reinstate").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("poisoned rows")
    form.get_by_label("Why").fill("they were not")
    form.get_by_role("button", name="Reinstate").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_binding_is_read_compared_and_rolled_back(product: Product, console: Page, shot: Shot) -> None:
    page = console
    engine = product.control("GET", "/api/v1/status").json()["engines"][0]["name"]
    headers = {"if-none-match": "*"}
    for calls in (4, 8):
        body = {
            "binding": {
                "schema": "tetrad.binding/1",
                "providers": {"local": {"engine": engine, "max_concurrency": calls}},
            }
        }
        put = product.control("PUT", f"{API}/bindings/journey", json=body, headers=headers)
        assert put.status_code in (200, 201), put.text
        headers = {"if-match": put.headers["etag"]}
    page.get_by_role("link", name="Bindings").click()
    page.get_by_role("link", name="journey").click()
    expect(page.get_by_role("region", name="Check")).to_contain_text("Every name resolves")
    expect(page.get_by_role("group", name="Names that are bound")).to_contain_text("8 calls at once")
    expect(page.get_by_role("list", name="Changes")).to_contain_text("capacity changed from 4 to 8")
    shot(page, "binding")
    page.get_by_role("button", name="Roll back").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("list", name="What goes back")).to_contain_text("capacity changed from 8 to 4")
    form.get_by_label("Why").fill("the region is slow")
    form.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("group", name="Names that are bound")).to_contain_text("4 calls at once")
    document = product.control("GET", f"{API}/bindings/journey").json()["document"]
    assert document["providers"]["local"]["max_concurrency"] == 4


def test_an_alias_is_made_a_collection_is_looked_at_and_names_are_found(
    product: Product, console: Page, shot: Shot
) -> None:
    page = console
    page.goto(f"{product.control_url}/p/default/models/-/local/smollm2-135m")
    page.get_by_role("button", name="New alias").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Alias").fill("champion")
    form.get_by_role("button", name="Make the alias").click()
    expect(page.get_by_role("region", name="Aliases").get_by_role("row").filter(has_text="champion")).to_be_visible()

    page.get_by_role("link", name="System").click()
    collection = page.get_by_role("region", name="Collection")
    collection.get_by_role("button", name="See what would go").click()
    expect(collection.get_by_role("status")).to_contain_text(re.compile("Would go|Nothing goes"))
    shot(page, "collection")

    page.keyboard.press("Control+k")
    find = page.get_by_role("combobox").or_(page.get_by_placeholder(re.compile("^A page"))).first
    find.fill("assistant")
    for name in ("prompt 1", "dataset 1", "release 1"):
        expect(page.get_by_role("dialog").get_by_text(name).first).to_be_visible()
    shot(page, "palette")
