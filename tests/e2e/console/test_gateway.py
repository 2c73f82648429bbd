"""The gateway in the console: providers added and played with, budgets that burn, routes that fall back, the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import httpx
import openai
import pytest
from playwright.sync_api import Page, expect

from support.console import by_role, sign_in
from support.fake_openai import FakeOpenAI
from support.product import Product
from support.wait import wait_until

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
SECRET = "sk-journey-0123456789"
SLOW, BROKEN = "slow:0.1", "error:503"
Shot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def acme() -> Iterator[FakeOpenAI]:
    """An upstream that speaks the OpenAI protocol."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def provider(product: Product, acme: FakeOpenAI) -> str:
    """A provider for what is not about adding one; calls of it cost enough to be seen."""
    price = {"input": "1000", "output": "1000", "cache_read": None, "cache_write": None, "currency": "USD"}
    models = [{"name": name, "kinds": ["chat"], "price": price} for name in ("m1", BROKEN)]
    body = {"base_url": acme.base_url, "models": models}
    made = product.control("PUT", f"{API}/providers/fixed", json=body)
    assert made.status_code == 200, made.text
    wait_until(lambda: "fixed/m1" in callable_names(product), timeout_s=20, what="gateways to know the provider")
    return "fixed"


def callable_names(product: Product) -> list[str]:
    headers = {"authorization": f"Bearer {product.key}"}
    found = httpx.get(f"{product.gateway_url}/v1/models", headers=headers, trust_env=False, timeout=20)
    return [model["id"] for model in found.json()["data"]]


def call(product: Product, model: str, text: str = "Hi", **headers: str) -> httpx.Response:
    return httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 16},
        headers={"authorization": f"Bearer {product.key}", **headers},
        timeout=60,
        trust_env=False,
    )


def hits(product: Product, model: str, text: str) -> str:
    """Ask with an eye on the cache; return whether it knew the answer."""
    answered = call(product, model, text, **{"x-tetrad-cache": "on"})
    assert answered.status_code == 200, answered.text
    return answered.headers["x-tetrad-cache"]


def ask(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Your message").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


@pytest.mark.timeout(240)
def test_a_provider_is_added_compared_stopped_and_its_health_is_seen(
    product: Product, console: Page, acme: FakeOpenAI, shot: Shot
) -> None:
    page = console
    page.get_by_role("link", name="Gateway", exact=True).click()
    page.wait_for_url("**/gateway/providers")
    page.get_by_role("button", name="Add provider", exact=True).click()
    kinds = page.get_by_role("dialog", name="What provider is it?")
    kinds.get_by_role("textbox", name="Find a provider").fill("bedrock")
    kinds.get_by_role("button", name="Amazon Bedrock").click()

    # What a preset knows is there; what of its address is not known is asked for.
    form = page.get_by_role("dialog", name="Add Amazon Bedrock")
    form.get_by_role("button", name="Add the provider").click()
    expect(form).to_contain_text("Letters, digits, . _ and -")
    form.get_by_role("textbox", name="Region").fill("eu-west-1")
    expect(form.get_by_role("textbox", name="Address")).to_have_value("https://bedrock-runtime.eu-west-1.amazonaws.com")
    expect(form.get_by_label("The key is used").first).to_have_value("to sign each call (AWS)")
    shot(page, "provider-preset")
    form.get_by_role("button", name="Another kind").click()
    shot(page, "provider-presets")
    kinds.get_by_role("button", name="Another one").click()
    page.wait_for_url("**/gateway/providers?add=other")
    form = page.get_by_role("dialog", name="Add a provider")

    # What is wrong is said where it is, before anything is sent.
    form.get_by_label("Name", exact=False).first.fill("Acme")
    form.get_by_role("button", name="Add the provider").click()
    expect(form).to_contain_text("Small letters, digits and -")
    expect(form).to_contain_text("An address such as")
    shot(page, "provider-form")

    form.get_by_label("Name", exact=False).first.fill("acme")
    form.get_by_role("textbox", name="Address").fill(acme.base_url)
    form.get_by_role("button", name="New secret").click()
    keep = page.get_by_role("dialog", name="Keep a secret")
    keep.get_by_label("Name", exact=False).fill("acme-key")
    keep.get_by_label("Value", exact=False).first.fill(SECRET)
    keep.get_by_role("button", name="Keep the secret").click()
    expect(keep).to_have_count(0)
    expect(form.get_by_label("API key").first).to_have_value("acme-key")
    # It is asked for its models, before anything is kept; those that it does not list are typed.
    form.get_by_role("button", name="Find its models").click()
    listed = form.get_by_role("combobox", name=re.compile("^Its models"))
    listed.click()
    shot(page, "provider-models")
    page.get_by_role("option", name="m1", exact=True).click()
    listed.press("Escape")
    expect(form.get_by_role("textbox", name="Model 1")).to_have_value("m1")
    for number, model in enumerate((SLOW, BROKEN), 2):
        form.get_by_role("button", name="Another model").click()
        form.get_by_role("textbox", name=f"Model {number}").fill(model)
    form.get_by_text("Price from the table or the public list").first.click()
    for field in ("Input", "Output"):
        form.get_by_role("textbox", name=f"{field} of m1", exact=True).fill("1000")
    form.get_by_role("button", name="Add the provider").click()
    page.wait_for_url("**/gateway/providers/acme")
    expect(page.get_by_role("region", name="Models")).to_contain_text("acme/m1")
    assert SECRET not in page.content()
    stored = product.control("GET", f"{API}/providers/acme").json()
    assert (stored["secret"], stored["models"][0]["price"]["input"]) == ("acme-key", "1000")

    # It is tried, and says row by row what works.
    works = page.get_by_role("region", name="What works")
    works.get_by_role("button", name="Try it").click()
    expect(works.locator("tr[data-check=chat]")).to_contain_text("yes", timeout=60_000)
    expect(works.locator("tr[data-check=models]")).to_be_visible()
    shot(page, "provider-tried")

    # Its models answer side by side; one is stopped, and the provider hears of it.
    page.get_by_role("link", name="Try its models").click()
    page.wait_for_url("**/playground?with=*")
    before = acme.aborted
    ask(page, "Say hello")
    quick = page.get_by_role("region", name="Answer of acme/m1")
    slow = page.get_by_role("region", name=f"Answer of acme/{SLOW}")
    expect(quick).to_contain_text("Hello world.", timeout=30_000)
    expect(slow).to_contain_text("w1")
    slow.get_by_role("button", name=f"Stop acme/{SLOW}").click()
    expect(slow).to_contain_text("Endedstopped")
    wait_until(lambda: acme.aborted > before, timeout_s=30, what="the upstream to be left")
    expect(page.get_by_role("region", name=f"Answer of acme/{BROKEN}").get_by_role("alert")).to_be_visible()
    expect(quick).to_contain_text(re.compile(r"Cost\$0\.0"), timeout=30_000)
    shot(page, "playground")
    assert any(seen.headers.get("authorization") == f"Bearer {SECRET}" for seen in acme.requests)

    # The conversation goes on, each with its own answers.
    page.goto(f"{product.control_url}/p/default/playground?with=acme/m1,acme/echo")
    ask(page, "First")
    expect(page.get_by_role("region", name="Answer of acme/m1")).to_contain_text("Hello world.")
    ask(page, "Second")
    second = page.get_by_role("article", name="Turn 2").get_by_role("region", name="Answer of acme/m1")
    expect(second).to_contain_text("Hello world.")
    sent = [seen.body for seen in acme.requests if seen.body and seen.body.get("model") == "m1"][-1]
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("user", "First"),
        ("assistant", "Hello world."),
        ("user", "Second"),
    ]

    # It is taken away as code, and kept as a row.
    page.get_by_role("button", name="Code", exact=True).click()
    code = page.get_by_role("dialog", name="This call as code")
    expect(code).to_contain_text("curl")
    code.get_by_role("tab", name="Python").click()
    expect(code).to_contain_text("client.chat.completions.create")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save as row").click()
    row = page.get_by_role("dialog", name="Save as a row of a dataset")
    row.get_by_label("Dataset", exact=False).first.fill("from-playground")
    row.get_by_role("button", name="Save the row").click()
    expect(row.get_by_role("status")).to_contain_text("from-playground 1.0.0", timeout=30_000)
    kept = product.control("GET", f"{API}/datasets/from-playground/rows").json()["items"]
    assert kept[0]["value"]["messages"][-1]["content"] == "Second"

    # Its health stands on its page, from the spans of these calls.
    page.goto(f"{product.control_url}/p/default/gateway/providers/acme")
    failures = page.get_by_role("region", name="Last failures")
    expect(failures).to_contain_text("status 503", timeout=30_000)
    expect(failures.get_by_role("link", name="Trace").first).to_be_visible()
    expect(page.get_by_role("region", name="Health")).to_contain_text(re.compile("Error rate[0-9]"))
    expect(page.get_by_role("img", name=re.compile("Calls, last 15 minutes"))).to_be_visible()
    shot(page, "provider")
    page.goto(f"{product.control_url}/p/default/gateway/providers")
    expect(page.locator("tr[data-provider=acme]")).to_contain_text(re.compile("%"))
    shot(page, "providers")


@pytest.mark.timeout(180)
def test_a_budget_is_set_and_burns(product: Product, console: Page, provider: str, shot: Shot) -> None:
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/budgets")
    page.get_by_role("button", name="Set a budget").first.click()
    form = page.get_by_role("dialog", name="Set a budget")
    # Of a user of its own: what other tests of this product spend is not in it, and it refuses none of their calls.
    form.get_by_label("Whom").first.click()
    page.get_by_role("option", name="User", exact=True).click()
    form.get_by_role("combobox", name="Which").fill("burner")
    form.get_by_label("Amount", exact=False).fill("ten")
    form.get_by_role("button", name="Set the budget").click()
    expect(form).to_contain_text("A number such as 12.50")
    form.get_by_label("Amount", exact=False).fill("50")
    form.get_by_label("Calls whose price is not known").first.click()
    page.get_by_role("option", name="are made, and counted as unknown").click()
    form.get_by_role("button", name="Set the budget").click()
    expect(form).to_have_count(0)
    row = page.locator("tr[data-budget='the user burner']")
    expect(row).to_contain_text("$50.00 a month")
    for _ in range(3):
        answered = call(product, f"{provider}/m1", **{"x-tetrad-user": "burner"})
        assert answered.status_code == 200, answered.text
    expect(row).to_contain_text(re.compile(r"\$0\.0[1-9]"), timeout=40_000)
    shot(page, "budgets")
    row.get_by_role("link").click()
    page.wait_for_url("**/gateway/budgets/lim_*")
    expect(page.get_by_role("img", name=re.compile("What is left of"))).to_be_visible()
    expect(page.get_by_role("region", name="Burn-down")).to_contain_text("projected")
    shot(page, "budget")

    page.goto(f"{product.control_url}/p/default/gateway/budgets?add=limit")
    form = page.get_by_role("dialog", name="Set a limit")
    form.get_by_label("At most", exact=False).fill("601")
    form.get_by_role("button", name="Set the limit").click()
    remove = page.get_by_role("button", name="Remove the limit of each key: 601 requests a minute", exact=True)
    remove.click()
    page.get_by_role("dialog", name="Remove the limit?").get_by_role("button", name="Remove limit").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(remove).to_have_count(0)


@pytest.mark.timeout(180)
def test_a_route_falls_back_where_its_model_fails(product: Product, console: Page, provider: str, shot: Shot) -> None:
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/routes?add=1")
    form = page.get_by_role("dialog", name="Add a route")
    form.get_by_label("Name", exact=False).first.fill("smart")
    form.get_by_role("combobox", name="Target 1").fill(f"{provider}/{BROKEN}")
    fallback = form.get_by_role("combobox", name="It fails or is silent")
    fallback.fill(f"{provider}/m1")
    fallback.press("Enter")
    shot(page, "route-form")
    form.get_by_role("button", name="Add the route").click()
    region = page.get_by_role("region", name="Route smart", exact=True)
    expect(region).to_contain_text("fallback: it fails or is silent")
    wait_until(lambda: "smart" in callable_names(product), timeout_s=20, what="gateways to know the route")
    region.get_by_role("link", name="Try it").click()
    page.wait_for_url("**/playground?with=smart")
    ask(page, "Hello?")
    expect(page.get_by_role("region", name="Answer of smart")).to_contain_text("Hello world.", timeout=30_000)
    page.goto(f"{product.control_url}/p/default/gateway/routes")
    expect(region).to_contain_text(re.compile("[0-9]+ (ok|unavailable|overloaded)"), timeout=30_000)
    shot(page, "routes")
    page.get_by_role("button", name="Change the route smart", exact=True).click()
    form = page.get_by_role("dialog", name="Change smart")
    expect(form.get_by_role("combobox", name="Target 1")).to_have_value(f"{provider}/{BROKEN}")
    form.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove the route smart", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Remove route").click()
    expect(region).to_have_count(0)  # other tests of this product have routes too


@pytest.mark.timeout(180)
def test_what_the_cache_saves_is_shown_and_it_is_cleared(
    product: Product, console: Page, provider: str, shot: Shot
) -> None:
    assert [hits(product, f"{provider}/m1", "Is it kept?") for _ in range(2)] == ["miss", "hit"]
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/cache?window=1h")
    expect(page.get_by_role("img", name=re.compile(r"[1-9]\d* hits, [1-9]\d* misses"))).to_be_visible(timeout=30_000)
    row = page.get_by_role("row", name=re.compile("all other calls"))
    expect(row).to_contain_text(re.compile(r"\d+ %"))  # other tests of this product look into the cache too
    expect(row).to_contain_text(re.compile(r"\$0\.0"))
    expect(page.get_by_role("region", name="Shared by gateways")).to_contain_text("TETRAD_GATEWAY_CACHE_URL")
    shot(page, "cache")
    row.get_by_role("button", name=re.compile("^Actions")).click()
    page.get_by_role("menuitem", name="Clear…").click()
    page.get_by_role("dialog").get_by_role("button", name="Clear").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    wait_until(
        lambda: hits(product, f"{provider}/m1", "Is it kept?") == "miss",
        timeout_s=20,
        what="gateways to have forgotten the answer",
    )


@pytest.mark.timeout(180)
def test_responses_in_the_background_are_found_and_cancelled(
    product: Product, acme: FakeOpenAI, new_page: Callable[..., Page], shot: Shot
) -> None:
    body = {"base_url": acme.base_url, "models": [{"name": name, "kinds": ["chat"]} for name in ("m1", "stall")]}
    assert product.control("PUT", f"{API}/providers/later", json=body).status_code == 200
    wait_until(lambda: "later/stall" in callable_names(product), timeout_s=20, what="gateways to know the provider")
    stalled, done = (begun(product, f"later/{name}") for name in ("stall", "m1"))
    page = sign_in(new_page(), product)
    page.goto(f"{product.control_url}/p/default/gateway/responses")
    row = page.locator(f"[data-response={done}]")
    expect(row).to_contain_text("completed", timeout=60_000)
    expect(page.locator(f"[data-response={stalled}]")).to_contain_text("in progress", timeout=60_000)
    shot(page, "responses")
    page.get_by_role("search").get_by_text("open", exact=True).click()
    expect(row).to_have_count(0)
    page.get_by_role("textbox", name="Find a response").fill("later/stall")
    page.wait_for_url("**q=later*")
    page.get_by_role("button", name=stalled).click()
    dialog = page.get_by_role("dialog", name="Response in the background")
    dialog.get_by_role("button", name="Cancel response…").click()
    shot(page, "response-cancel")
    dialog.get_by_role("button", name="Cancel it now").click()
    expect(dialog).to_contain_text("cancelled")
    narrow = sign_in(new_page(width=390, height=780, scheme="dark"), product)
    narrow.goto(f"{product.control_url}/p/default/gateway/responses?show={stalled}")
    expect(narrow.get_by_role("dialog")).to_contain_text("cancelled")
    shot(narrow, "response-narrow")
    narrow.keyboard.press("Escape")
    expect(narrow.get_by_role("dialog")).to_have_count(0)
    shot(narrow, "responses-narrow")
    listed = json.loads(product.cli("response", "list", "--status", "cancelled", "--json").stdout)
    assert [each["id"] for each in listed] == [stalled]
    assert "model      later/m1" in product.cli("response", "show", done).stdout
    assert f"{done}  completed" in product.cli("response", "cancel", done).stdout
    refused = product.control("GET", f"{API}/responses?sort=luck")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    first = product.control("GET", f"{API}/responses?limit=1").json()
    second = product.control("GET", f"{API}/responses?limit=1&cursor={first['next_cursor']}").json()
    assert [first["items"][0]["id"], second["items"][0]["id"]] == [done, stalled]
    (told,) = product.control("GET", f"{API}/audit?action=response.").json()["items"]
    assert (told["action"], told["target"], told["detail"]["model"]) == ("response.cancelled", stalled, "later/stall")


def begun(product: Product, model: str) -> str:
    made = httpx.post(
        f"{product.gateway_url}/v1/responses",
        json={"model": model, "input": "Hi", "background": True},
        headers={"authorization": f"Bearer {product.key}"},
        timeout=60,
        trust_env=False,
    )
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


@pytest.mark.timeout(240)
def test_batches_are_watched_found_and_cancelled_by_who_may(
    product: Product, acme: FakeOpenAI, new_page: Callable[..., Page], shot: Shot
) -> None:
    price = {"input": "1000", "output": "1000", "cache_read": None, "cache_write": None, "currency": "USD"}
    models = [{"name": name, "kinds": ["chat"], "price": price} for name in ("m1", "error:400", "stall")]
    body = {"base_url": acme.base_url, "models": models}
    assert product.control("PUT", f"{API}/providers/bulk", json=body).status_code == 200
    wait_until(lambda: "bulk/stall" in callable_names(product), timeout_s=20, what="gateways to know the provider")
    stalled, done = (
        batch_of(product, "bulk/m1", "bulk/stall"),
        batch_of(product, "bulk/m1", "bulk/m1", "bulk/error:400"),
    )
    page = sign_in(new_page(), product)
    page.goto(f"{product.control_url}/p/default/gateway/batches")
    expect(page.locator(f"[data-batch={done}]")).to_contain_text("3 of 3 1 failed", timeout=60_000)
    expect(page.locator(f"[data-batch={stalled}]")).to_contain_text("1 of 2", timeout=60_000)
    shot(page, "batches")
    page.get_by_role("search").get_by_text("open", exact=True).click()
    expect(page.locator(f"[data-batch={done}]")).to_have_count(0)
    page.locator(f"[data-batch={stalled}]").get_by_role("button", name="bulk/stall").click()
    page.wait_for_url("**model=bulk*")
    page.reload()
    expect(page.get_by_role("search")).to_contain_text("Model bulk/stall")
    page.locator(f"[data-batch={stalled}]").get_by_role("button").first.click()
    dialog = page.get_by_role("dialog", name="Batch")
    expect(dialog).to_contain_text("questions.jsonl")
    expect(dialog).to_contain_text(re.compile(r"Cost\$0\.0\d+"), timeout=60_000)

    looker = by_role(product, new_page(width=390, height=780, scheme="dark"), "viewer")
    looker.goto(f"{product.control_url}/p/default/gateway/batches?show={stalled}")
    expect(looker.get_by_role("dialog", name="Batch")).to_contain_text("1 of 2")
    expect(looker.get_by_role("button", name="Cancel batch…")).to_have_count(0)
    shot(looker, "batch-narrow")
    editor = by_role(product, new_page(), "editor")
    editor.goto(f"{product.control_url}/p/default/gateway/batches?show={stalled}")
    dialog = editor.get_by_role("dialog", name="Batch")
    dialog.get_by_role("button", name="Cancel batch…").click()
    shot(editor, "batch-cancel")
    dialog.get_by_role("button", name="Cancel it now").click()
    expect(dialog).to_contain_text(re.compile("cancell(ing|ed)"))
    expect(dialog.get_by_role("button", name="Cancel batch…")).to_have_count(0)
    (told,) = product.control("GET", f"{API}/audit?action=batch.").json()["items"]
    assert (told["action"], told["target"], told["detail"]["total"]) == ("batch.cancelled", stalled, 2)

    listed = json.loads(product.cli("batch", "list", "--model", "bulk/error:400", "--json").stdout)
    assert [(each["id"], each["models"]) for each in listed] == [(done, ["bulk/m1", "bulk/error:400"])]
    shown = product.cli("batch", "show", done).stdout
    assert all(part in shown for part in ("completed  3/3, 1 failed", "questions.jsonl", "output", "cost")), shown
    cost = product.control("GET", f"{API}/batches/{done}/cost").json()
    assert (cost["unpriced_calls"], [each["currency"] for each in cost["costs"]]) == (0, ["USD"])


@pytest.mark.timeout(120)
def test_limits_are_found_and_sorted_and_changed_by_the_projects_admin_alone(
    product: Product, new_page: Callable[..., Page], shot: Shot
) -> None:
    desk = product.control("POST", f"{API}/keys", json={"name": "Front desk", "scopes": ["data"]}).json()["key"]["id"]
    for subject, name, measure, amount in (("key", desk, "tokens", 70_000), ("team", "night-shift", "requests", 7)):
        limit = {"subject": subject, "name": name, "measure": measure, "amount": amount}
        assert product.control("PUT", f"{API}/limits", json=limit).status_code == 200
    page = by_role(product, new_page(), "admin")
    page.goto(f"{product.control_url}/p/default/gateway/budgets")
    rows = page.get_by_role("region", name="Limits").locator("tbody tr")
    expect(rows.filter(has_text="the key Front desk")).to_be_visible()
    page.get_by_role("button", name="At most").click()
    page.wait_for_url("**order=amount*")
    page.get_by_role("textbox", name="Find a limit").fill("front")
    page.wait_for_url("**q=front*")
    expect(rows).to_have_count(1)
    shot(page, "limits-found")
    expect(page.get_by_role("button", name="Set a limit")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Change the limit of the key Front desk"))).to_be_visible()
    looker = by_role(product, new_page(), "viewer")
    looker.goto(f"{product.control_url}/p/default/gateway/budgets?q=night")
    expect(looker.get_by_role("region", name="Limits").locator("tbody tr")).to_contain_text(["the team night-shift"])
    expect(looker.get_by_role("button", name=re.compile("^(Set a|Change the) limit"))).to_have_count(0)


@pytest.mark.timeout(180)
def test_forms_for_admins_tell_others_whom_to_ask_when_their_address_is_opened(
    product: Product, provider: str, new_page: Callable[..., Page], shot: Shot
) -> None:
    route = {"targets": [{"model": f"{provider}/m1"}]}
    assert product.control("PUT", f"{API}/routes/guarded", json=route).status_code == 200
    server = {"url": "http://127.0.0.1:9/mcp"}
    assert product.control("PUT", f"{API}/mcp-servers/guarded", json=server).status_code == 200
    addresses = {
        "providers?add=1": "Add a provider",
        "providers?add=other": "Add a provider",
        f"providers/{provider}?edit=1": f"Change {provider}",
        "routes?add=1": "Add a route",
        "routes?edit=guarded": "Change guarded",
        "tools?add=1": "Add an MCP server",
        "tools/guarded?edit=1": "Change guarded",
        "tools/guarded?review=1": "What waits for approval at guarded",
        "budgets?add=budget": "Set a budget",
        "budgets?add=limit": "Set a limit",
        "prices?add=1": "Set a price",
        "prices?set=guarded/m1": "Set the price of guarded/m1",
    }
    admin = by_role(product, new_page(), "admin")
    admin.goto(f"{product.control_url}/p/default/gateway/tools?add=1")
    expect(admin.get_by_role("dialog", name="Add an MCP server").get_by_role("textbox").first).to_be_visible()
    for role in ("viewer", "editor"):
        page = by_role(product, new_page(), role)
        for address, title in addresses.items():
            page.goto(f"{product.control_url}/p/default/gateway/{address}")
            dialog = page.get_by_role("dialog", name=title, exact=True)
            expect(dialog).to_contain_text("Ask an admin of this project to")
            expect(page.get_by_role("dialog")).to_have_count(1)
            expect(dialog.locator("form, input")).to_have_count(0)
        shot(page, f"form-for-admins-{role}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.wait_for_url("**/gateway/prices")


def batch_of(product: Product, *models: str) -> str:
    """Begin a batch with OpenAI's SDK, of a request for each model."""
    lines = [
        {
            "custom_id": f"question-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": "Hi"}]},
        }
        for number, model in enumerate(models)
    ]
    with openai.OpenAI(base_url=f"{product.gateway_url}/v1", api_key=product.key, max_retries=0) as client:
        content = "\n".join(map(json.dumps, lines)).encode()
        file = client.files.create(file=("questions.jsonl", content), purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    return made.id
