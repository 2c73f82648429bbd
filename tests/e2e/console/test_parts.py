"""Datasets, models, releases and the audit log: from a file to a release whose move is in the log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from support.product import Product

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
Shot = Callable[[Page, str], None]


def rows_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(n: int, answer: str) -> dict[str, Any]:
    said = [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": answer}]
    return {"id": f"case-{n}", "messages": said}


def test_a_second_version_is_imported_and_its_rows_are_told_from_the_first(
    product: Product, console: Page, tmp_path: Path, shot: Shot
) -> None:
    page = console
    first = rows_file(tmp_path / "Chats.jsonl", [chat(n, f"The answer to {n} is short.") for n in range(3)])
    second = rows_file(
        tmp_path / "next.jsonl",
        [chat(0, "The answer to 0 is short."), chat(1, "The answer to 1 is rather long."), chat(7, "New.")],
    )
    page.get_by_role("link", name="Datasets").click()
    page.get_by_role("button", name="Import", exact=True).click()
    form = page.get_by_role("dialog")
    form.locator("input[type=file]").set_input_files(first)
    expect(form.get_by_label("Name")).to_have_value("chats")
    form.get_by_label("Key field").fill("id")
    form.get_by_role("button", name="Import").click()
    page.wait_for_url("**/datasets/chats")
    expect(page.get_by_role("table", name="Rows").get_by_role("row")).to_have_count(4)

    page.get_by_role("link", name="case-1").click()
    row = page.get_by_role("dialog")
    expect(row.get_by_role("region", name="Conversation")).to_contain_text("The answer to 1 is short.")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "row=" not in url)

    page.get_by_role("button", name="Import version").click()
    form = page.get_by_role("dialog")
    form.locator("input[type=file]").set_input_files(second)
    form.get_by_label("Key field").fill("id")
    form.get_by_label("Reason").fill("longer answers")
    form.get_by_role("button", name="Import").click()
    page.wait_for_url("**/datasets/chats/diff?*")
    changes = page.get_by_role("region", name="Rows that differ")
    expect(changes).to_contain_text("+1 added")
    expect(changes).to_contain_text("\u22121 removed")
    expect(changes).to_contain_text("1 changed")
    expect(changes.locator("ins").filter(has_text="rather long")).to_be_visible()
    shot(page, "dataset-diff")
    page.get_by_text("removed", exact=True).first.click()
    page.wait_for_url("**change=removed**")
    page.reload()
    expect(page.get_by_role("region", name="Rows that differ").get_by_role("listitem")).to_have_count(1)
    assert [v["reason"] for v in product.control("GET", f"{API}/datasets/chats/versions").json()["items"]] == [
        "longer answers",
        "",
    ]


def test_a_file_with_faults_is_reported_line_by_line_and_nothing_is_kept(
    product: Product, console: Page, tmp_path: Path, shot: Shot
) -> None:
    page = console
    bad = tmp_path / "faulty.jsonl"
    bad.write_text('{"id": 1}\n{"id": 1, "id": 2}\n{"q": "no key"}\n', encoding="utf-8")
    page.goto(f"{product.control_url}/p/default/datasets")
    page.get_by_role("button", name="Import", exact=True).click()
    form = page.get_by_role("dialog")
    form.locator("input[type=file]").set_input_files(bad)
    form.get_by_label("Key field").fill("id")
    form.get_by_role("button", name="Import").click()
    report = form.get_by_role("alert")
    expect(report).to_contain_text("nothing was imported")
    expect(report.get_by_role("row")).to_have_count(3)
    expect(report.get_by_role("row").nth(2)).to_contain_text("/id")
    shot(page, "import-faults")
    assert product.control("GET", f"{API}/datasets/faulty").status_code == 404


def test_a_release_is_derived_told_apart_moved_to_and_found_in_the_log(
    product: Product, console: Page, shot: Shot
) -> None:
    page = console
    production = product.control("GET", f"{API}/apps/assistant/refs/production").json()["digest"]
    page.get_by_role("link", name="Releases").click()
    page.get_by_role("link", name="Derive a release").click()
    page.wait_for_url("**/releases/derive?from=assistant*")
    temperature = page.get_by_label("temperature")
    temperature.fill("0.91")
    temperature.press("Enter")
    changes = page.get_by_role("region", name="Changes")
    expect(changes.get_by_role("region", name="Sampling")).to_contain_text("0.91")
    page.reload()  # what was chosen is in the address
    expect(changes.get_by_role("region", name="Sampling")).to_contain_text("0.91")
    expect(page.get_by_role("button", name="Create release")).to_be_disabled()
    page.get_by_label("Reason").fill("livelier answers")
    page.get_by_label("Expected outcome").fill("fewer dull answers")
    shot(page, "derive")
    page.get_by_role("button", name="Create release").click()
    page.wait_for_url(re.compile("/releases/sha256:[0-9a-f]{64}$"))
    digest = page.url.rsplit("/", 1)[1]
    made = product.control("GET", f"{API}/releases/{digest}").json()
    assert (made["reason"], made["expected_outcome"], made["params"]["temperature"]) == (
        "livelier answers",
        "fewer dull answers",
        0.91,
    )

    page.get_by_role("button", name="Compare").click()
    page.get_by_role("menuitem", name=re.compile("production")).click()
    page.wait_for_url(f"**/releases/diff?from={production.replace(':', '*')}*")
    expect(page.get_by_role("region", name="In short")).to_contain_text("temperature")
    shot(page, "release-diff")
    page.go_back()

    page.get_by_role("button", name="Move a ref here").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox", name="Ref").click()
    page.get_by_role("option", name="A new ref …").click()
    form.get_by_label("Name of the new ref").fill("staging")
    form.get_by_label("Reason").fill("to try it out")
    expect(form.get_by_text("No gate governs this ref")).to_be_visible()
    form.get_by_role("button", name="Move staging").click()
    expect(form).to_have_count(0)
    expect(page.get_by_role("region", name="About this release")).to_contain_text("staging")
    assert product.control("GET", f"{API}/apps/assistant/refs/staging").json()["digest"] == digest

    page.get_by_role("link", name="Audit").click()
    newest = page.get_by_role("region", name="Moves of refs").get_by_role("row").nth(1)
    expect(newest).to_contain_text("assistant/staging")
    expect(newest).to_contain_text("to try it out")
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.get_by_role("status").filter(has_text="The chain is sound")).to_contain_text("head sha256:")
    with page.expect_download() as download:
        page.get_by_role("button", name="Signed head").click()
    head = json.loads(Path(download.value.path()).read_text("utf-8"))
    checked = product.control("POST", f"{API}/refs/log/head/check", json=head).json()
    assert checked["sound"]
    shot(page, "audit")


def test_the_lineage_of_the_bundled_model_is_drawn_and_walked_by_keys(
    product: Product, console: Page, shot: Shot
) -> None:
    page = console
    page.get_by_role("link", name="Models").click()
    page.get_by_role("link", name="local/smollm2-135m").click()
    page.wait_for_url("**/models/-/local/smollm2-135m")
    expect(page.get_by_role("region", name="About this version")).to_contain_text("Apache-2.0")
    expect(page.get_by_role("region", name="Used by")).to_contain_text("assistant")
    shot(page, "model")
    page.get_by_role("link", name="Lineage graph").click()
    graph = page.get_by_role("group", name="Lineage graph")
    expect(graph.get_by_role("button", name=re.compile("smollm2-135m"))).to_be_visible(timeout=30_000)
    compose = graph.get_by_role("button", name="compose").first
    compose.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Chosen")).to_contain_text("model:primary")
    shot(page, "lineage")
    page.reload()
    expect(page.get_by_role("region", name="Chosen")).to_contain_text("model:primary")
    page.get_by_text("Table", exact=True).click()
    table = page.get_by_role("group", name="Lineage as a table")
    expect(table.get_by_role("row").filter(has_text="compose").first).to_contain_text("local/smollm2-135m@1.0.0")
