"""Every page works for everybody: assistive technology, small screens, both themes, very large traces."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Error, Page, ViewportSize, expect

from support.console import ROOT, call_the_app, sign_in, wait_for_trace
from support.mcp_wire import mcp_server
from support.product import Product
from support.spans import SECOND_NS, a_span
from tetrad.kernel import new_span_id, new_trace_id
from tetrad.traces import encode_frame

pytestmark = pytest.mark.browser
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
SPANS = 5000
SETTLED = (
    "Promise.allSettled(document.getAnimations().filter((a) => a instanceof CSSTransition).map((a) => a.finished))"
)
"""No colour of half a transition is judged."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that see another page in another theme, as long as its markup is the same."""
SAME_MARKUP = """() => {
  const before = window.judgedMarkup;
  window.judgedMarkup = document.body.outerHTML;
  return before === window.judgedMarkup;
}"""
FITS = "[document.querySelector('main'), document.documentElement].every((it) => it.scrollWidth <= it.clientWidth)"
WIDE: ViewportSize = {"width": 1440, "height": 900}


def pages(product: Product) -> dict[str, str]:
    trace_id = call_the_app(product, "For everybody").headers["x-tetrad-trace-id"]
    wait_for_trace(product, trace_id)
    release = product.control("GET", "/api/v1/projects/default/apps/assistant/refs/production").json()["digest"]
    return {
        "overview": "overview?window=1h",
        "traces": "traces",
        "trace": f"traces/{trace_id}",
        "attributes": f"traces/{trace_id}?tab=attributes",
        "apps": "apps",
        "app": "apps/assistant",
        "datasets": "datasets",
        "dataset": "datasets/assistant-fewshot",
        "dataset-schema": "datasets/assistant-fewshot?tab=schema",
        "dataset-steps": "datasets/assistant-fewshot?tab=lineage",
        "models": "models",
        "model": "models/-/local/smollm2-135m",
        "runs": "runs",
        "lineage": f"lineage/{release}",
        "lineage-table": f"lineage/{release}?view=table",
        "releases": "releases",
        "release": f"releases/{release}",
        "release-staleness": f"releases/{release}?tab=staleness",
        "release-reproduction": f"releases/{release}?tab=reproduction",
        "release-gates": f"releases/{release}?tab=gates",
        "release-evidence": f"releases/{release}?tab=evidence",
        "release-running": f"releases/{release}?tab=running",
        "derive": "releases/derive?from=assistant/production&set=%7B%22sampling.temperature%22%3A0.5%7D",
        "release-diff": "releases/diff?from=assistant/production&to=assistant/production",
        "audit": "audit",
        "actions": "audit?tab=actions",
        "prompts": "prompts",
        "prompt": "prompts/assistant-system",
        "prompt-file": "prompts/assistant-system?view=file",
        "prompt-versions": "prompts/assistant-system?tab=history",
        "prompt-compare": "prompts/assistant-system?tab=compare",
        "changes": "changes?view=mine",
        "change": f"changes/{proposed(product)}",
        "change-conversation": f"changes/{proposed(product)}?tab=conversation",
        "change-history": f"changes/{proposed(product)}?tab=history",
        "bindings": "bindings",
        "binding": f"bindings/{bound(product)}",
        "providers": "gateway/providers",
        "provider-kinds": "gateway/providers?add=1",
        "provider-form": "gateway/providers?add=other",
        "provider-preset": "gateway/providers?add=bedrock",
        "provider": f"gateway/providers/{provided(product)}",
        "provider-change": f"gateway/providers/{provided(product)}?edit=1",
        "keys": "gateway/keys",
        "keys-none": "gateway/keys?q=nobody",
        "budgets": "gateway/budgets",
        "budget-form": "gateway/budgets?add=budget",
        "limit-form": "gateway/budgets?add=limit",
        "budget": f"gateway/budgets/{budgeted(product)}",
        "prices": f"gateway/prices?q={priced(product)}",
        "prices-imported": "gateway/prices?show=imported&sort=-since",
        "price": "gateway/prices?model=fitness/imported",
        "price-form": "gateway/prices?set=fitness/m1",
        "price-of-any": "gateway/prices?add=1",
        "routes": "gateway/routes",
        "routes-sorted": "gateway/routes?sort=-targets",
        "route-new": "gateway/routes?add=1",
        "route-form": "gateway/routes?edit=fitness",
        "cache": "gateway/cache",
        "tools": "gateway/tools",
        "tool-server-form": "gateway/tools?add=1",
        "tool-server": f"gateway/tools/{tooled(product)}",
        "tool-server-change": "gateway/tools/fitness?edit=1",
        "tool": "gateway/tools/fitness?tool=add",
        "tools-to-approve": "gateway/tools/fitness?review=1",
        "responses": "gateway/responses",
        "response": f"gateway/responses?show={asked_later(product)}",
        "batches": "gateway/batches",
        "batch": f"gateway/batches?show={batched(product)}",
        "batches-none": "gateway/batches?q=nobody",
        "playground": "playground?with=app:assistant,local/smollm2-135m",
        "system": "system",
    }


def provided(product: Product) -> str:
    """Return a provider that a route calls too, with a limit; nobody listens at its address."""
    api = "/api/v1/projects/default"
    price = {"input": "1", "output": "2", "cache_read": None, "cache_write": None, "currency": "USD"}
    models = [{"name": "m1"}, {"name": "m2", "price": price}]
    body = {"base_url": "http://127.0.0.1:9/v1", "models": models, "max_concurrency": 4}
    made = product.control("PUT", f"{api}/providers/fitness", json=body)
    assert made.status_code == 200, made.text
    targets = [{"model": "fitness/m1", "when": {"regions": ["eu"]}}, {"model": "fitness/m2"}]
    fallbacks = {"error": [{"model": "local/smollm2-135m"}]}
    made = product.control(
        "PUT", f"{api}/routes/fitness", json={"targets": targets, "fallbacks": fallbacks, "aliases": ["gpt-fit"]}
    )
    assert made.status_code == 200, made.text
    return "fitness"


def priced(product: Product) -> str:
    """Return a part of the names of models whose prices come from everywhere, made once."""
    path = "/api/v1/projects/default/model-prices"
    if not product.control("GET", path, params={"model": "fitness/imported"}).json()["items"]:
        price = {"model": "fitness/imported", "input": "1", "output": "2", "units": {"image": "0.04"}}
        for more in ({}, {"source": "price-sheet", "valid_from": "2026-01-01T00:00:00Z", "currency": "EUR"}):
            made = product.control("POST", path, json={**price, **more})
            assert made.status_code == 201, made.text
    return "fitness"


def asked_later(product: Product) -> str:
    """Return a response in the background."""
    body = {"model": "local/smollm2-135m", "input": "Say hello.", "background": True, "max_output_tokens": 8}
    headers = {"Authorization": f"Bearer {product.key}"}
    made = httpx.post(f"{product.gateway_url}/v1/responses", json=body, headers=headers, timeout=60, trust_env=False)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def batched(product: Product) -> str:
    """Return a batch of two requests, of which one cannot be answered."""
    headers = {"Authorization": f"Bearer {product.key}"}
    call = {"method": "POST", "url": "/v1/chat/completions"}
    lines = [
        {**call, "custom_id": model, "body": {"model": model, "messages": [{"role": "user", "content": "Hi"}]}}
        for model in ("local/smollm2-135m", "nobody/knows")
    ]
    with httpx.Client(base_url=product.gateway_url, headers=headers, timeout=60, trust_env=False) as http:
        content = "\n".join(map(json.dumps, lines)).encode()
        file = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("questions.jsonl", content)})
        assert file.status_code == 200, file.text
        asked = {"input_file_id": file.json()["id"], "endpoint": call["url"], "completion_window": "24h"}
        made = http.post("/v1/batches", json=asked)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def tooled(product: Product) -> str:
    """Return an MCP server that showed its tools once, of which one is approved; nobody listens at its address now."""
    path = "/api/v1/projects/default/mcp-servers/fitness"
    if product.control("GET", path).status_code == 404:
        with mcp_server() as server:
            body = {"url": server.url, "headers": {"X-Team": "fitness"}, "allow": ["add", "echo", "count"]}
            made = product.control("PUT", path, json=body)
            assert made.status_code == 200, made.text
            listed = product.control("POST", f"{path}/refresh").json()["tools"]
        chosen = [{"name": tool["name"], "digest": tool["digest"]} for tool in listed if tool["name"] == "echo"]
        made = product.control("POST", f"{path}/approve", json={"tools": chosen})
        assert made.status_code == 200, made.text
    return "fitness"


def budgeted(product: Product) -> str:
    """Return a budget of a user who calls nothing."""
    budget = {"subject": "user", "name": "fitness", "amount": "12.50"}
    made = product.control("PUT", "/api/v1/projects/default/budgets", json=budget)
    assert made.status_code == 200, made.text
    product.control("PUT", "/api/v1/projects/default/limits", json={**budget, "measure": "requests", "amount": 600})
    return str(made.json()["id"])


def bound(product: Product) -> str:
    """Return an environment that has had two bindings, made once."""
    path = "/api/v1/projects/default/bindings/fitness"
    if product.control("GET", path).status_code == 404:
        model = product.control("GET", "/api/v1/status").json()["engines"][0]
        headers = {"if-none-match": "*"}
        for calls in (4, 8):
            local = {"engine": model["name"], "max_concurrency": calls}
            binding = {"schema": "tetrad.binding/1", "providers": {"local": local}}
            made = product.control("PUT", path, json={"binding": binding, "reason": f"{calls} calls"}, headers=headers)
            assert made.status_code in (200, 201), made.text
            headers = {"if-match": made.headers["etag"]}
    return "fitness"


def proposed(product: Product) -> int:
    """Return the number of a change request with a comment, made once."""
    text = product.control("GET", "/api/v1/projects/default/prompts/assistant-system").json()["text"]
    made = product.control(
        "POST",
        "/api/v1/projects/default/change-requests",
        json={
            "app": "assistant",
            "title": "For everybody",
            "parts": [{"part": "prompt.system", "content": text.replace("helpful", "most helpful")}],
            "draft": True,
            "key": "fitness",
        },
    )
    assert made.status_code in (200, 201), made.text
    path = f"/api/v1/projects/default/change-requests/{made.json()['number']}"
    said = product.control("POST", f"{path}/comments", json={"body": "Why the most?", "key": "fitness"})
    assert said.status_code in (200, 201), said.text
    return int(made.json()["number"])


@pytest.mark.timeout(600)
def test_every_page_fits_a_small_screen_and_has_no_fault_that_axe_finds_in_either_theme(
    product: Product, new_page: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    assert AXE.is_file(), "axe-core is not installed: run `npm ci` in ui/"
    page = new_page()
    page.add_init_script(path=AXE)
    sign_in(page, product)
    found: list[str] = []
    schemes: list[Literal["light", "dark"]] = ["light", "dark"]
    for name, path in pages(product).items():
        page.set_viewport_size(WIDE)
        page.goto(f"{product.control_url}/p/default/{path}")
        expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        page.wait_for_load_state("networkidle")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
            page.evaluate(SETTLED)
            rules = OF_COLOURS if page.evaluate(SAME_MARKUP) else None
            found += [f"{name}, {scheme}: {fault}" for fault in faults(page, rules)]
        schemes.reverse()  # the next page opens in the theme that this one ended in
        for width in (1024, 390):
            page.set_viewport_size({"width": width, "height": 844})
            if not fits(page):
                found.append(f"{name} is wider than {width}")
            shot(page, f"{name}-{width}")
    assert not found, "\n".join(found)


def faults(page: Page, rules: list[str] | None = None) -> list[str]:
    """Return what axe finds on a page as it is now, by all of its rules unless some are named."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules is not None:
        options["runOnly"] = {"type": "rule", "values": rules}
    result: dict[str, Any] = page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{fault['id']} ({fault['impact']}): "
        + "; ".join(" ".join(node["target"]) + " " + node["html"][:120] for node in fault["nodes"][:3])
        for fault in result["violations"]
    ]


def fits(page: Page) -> bool:
    """Tell whether a page gets along with the width of its window, once it has noticed that."""
    with contextlib.suppress(Error):
        page.wait_for_function(FITS, timeout=3000)
        return True
    return False


def ship(product: Product, folder: Path, frames: bytes) -> None:
    """Send spans to control as a gateway ships its spool."""
    token = (product.home / "keys" / "internal.token").read_text("utf-8").strip()
    segment = f"{time.time_ns() % 10**10:010d}.seg"
    answer = product.control(
        "POST",
        f"/internal/v1/spool/7/{segment}?offset=0",
        content=frames,
        headers={"Authorization": f"Bearer {token}", "content-type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["spans"] == SPANS


def test_a_trace_of_thousands_of_spans_opens_and_keeps_few_of_them_in_the_page(
    product: Product, console: Page, tmp_path: Path, shot: Callable[[Page, str], None]
) -> None:
    trace_id, start = new_trace_id(), time.time_ns() - 60 * SECOND_NS
    ids = [new_span_id() for _ in range(SPANS)]
    spans = [
        a_span(
            trace_id=trace_id,
            span_id=ids[n],
            parent_id="" if n == 0 else ids[(n - 1) // 8],
            name=f"step {n}",
            kind="INTERNAL",
            start_ns=start + n * 1_000_000,
            end_ns=start + (SPANS + n) * 1_000_000,
        )
        for n in range(SPANS)
    ]
    ship(product, tmp_path, b"".join(encode_frame(span) for span in spans))
    wait_for_trace(product, trace_id)

    console.goto(f"{product.control_url}/p/default/traces/{trace_id}")
    tree = console.get_by_role("tree", name="Spans")
    expect(tree.get_by_role("treeitem").first).to_be_visible(timeout=60_000)
    assert tree.get_by_role("treeitem").count() < 150
    tree.press("End")
    expect(tree.get_by_role("treeitem", selected=True)).to_be_visible()
    shot(console, "trace-of-thousands")
