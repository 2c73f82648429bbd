"""A real browser, whose pages call a real gateway: those of a named origin read answers, those of another nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home

ASK = """
async ([url, key, stream]) => {
  try {
    const headers = {
      authorization: `Bearer ${key}`, "content-type": "application/json", "x-stainless-lang": "js",
      "x-tetrad-session": "s1",
    };
    const body = JSON.stringify({model: "local/m1", stream, messages: [{role: "user", content: "hi"}]});
    const answer = await fetch(`${url}/v1/chat/completions`, {method: "POST", headers, body});
    const text = await answer.text();
    const models = await fetch(`${url}/v1/models`, {headers: {authorization: `Bearer ${key}`}});
    return {
      status: answer.status, text, id: answer.headers.get("x-request-id"), models: models.status,
      trace: answer.headers.get("x-tetrad-trace-id"),
    };
  } catch (error) {
    return {failed: String(error)};
  }
}
"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def site() -> Iterator[str]:
    """Serve an empty page; yield its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pages_of_a_named_origin_call_models_and_read_headers_and_others_do_neither(
    chromium: Browser, tmp_path: Path
) -> None:
    page = chromium.new_page()
    with FakeOpenAI() as upstream, site() as ours, site() as strange:
        prepare_home(tmp_path, make_table(upstream.base_url))
        with GatewayProcess(tmp_path, gateway_cors_origins=ours) as gateway:
            page.goto(ours)
            for stream in (False, True):
                told = page.evaluate(ASK, [gateway.url, g.KEY, stream])
                assert told.get("failed") is None
                assert (told["status"], told["models"], told["id"]) == (200, 200, told["trace"])
                assert "Hel" in told["text"]
            refused = page.evaluate(ASK, [gateway.url, "wrong", False])
            assert (refused["status"], len(refused["id"])) == (401, 32), "errors can be read as well"
            asked = len(upstream.requests)
            page.goto(strange)
            assert "Failed to fetch" in page.evaluate(ASK, [gateway.url, g.KEY, False])["failed"]
            assert len(upstream.requests) == asked, "its preflight was refused, so nothing was called"
