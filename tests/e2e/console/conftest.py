"""A browser that is signed in to the real console."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from support.browser import find_chromium
from support.console import sign_in
from support.product import Product

ROOT = Path(__file__).parents[3]
SCREENSHOTS = ROOT / "test-artifacts" / "screenshots"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What a browser prints for an answer that a test provokes (a refused name, a control plane that is down).
EXPECTED_NOISE = re.compile(r"Failed to load resource|net::ERR_")

Shot = Callable[[Page, str], None]
NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start a browser for one file of journeys: while it runs, no other test could have an event loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[NewPage]:
    """Open pages in browser contexts of their own; a fault of the console's own code fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_NOISE.search(message.text):
            faults.append(message.text)

    def open_page(*, width: int = 1440, height: int = 900, scheme: str = "light", **more: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: faults.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, "the console's own code complained: " + "\n".join(faults)


@pytest.fixture
def shot() -> Shot:
    """Keep a picture of what is seen, as a test artefact."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        # Fonts and the last transition first: a picture is of what a person sees.
        page.evaluate("document.fonts.ready")
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    return keep


@pytest.fixture
def console(product: Product, new_page: NewPage) -> Page:
    """Lend a page of the console, signed in."""
    return sign_in(new_page(), product)
