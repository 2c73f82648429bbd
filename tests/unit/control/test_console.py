"""The console's files: found, cached, compressed; every other path is its one page."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tetrad.kit.http import render_problems
from tetrad.processes.control._console import mount_console

SCRIPT = "console.log('hello');" * 200


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><div id='root'></div>")
    (tmp_path / "assets" / "index-abc.js").write_text(SCRIPT)
    (tmp_path.parent / "secret.txt").write_text("outside")
    return tmp_path


def client(folder: Path | None) -> TestClient:
    app = FastAPI()
    render_problems(app)
    mount_console(app, folder)
    return TestClient(app)


def test_every_address_of_the_console_is_its_page_and_never_stale(built: Path) -> None:
    for path in ("/", "/traces/0123", "/login", "/index.html"):
        answer = client(built).get(path)
        assert answer.status_code == 200
        assert "root" in answer.text
        assert answer.headers["cache-control"] == "no-cache"


def test_assets_are_compressed_once_and_kept_for_good(built: Path) -> None:
    console = client(built)
    packed = console.get("/assets/index-abc.js", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(SCRIPT) / 5
    assert packed.text == SCRIPT
    assert packed.headers["content-type"].startswith("text/javascript")
    assert "immutable" in packed.headers["cache-control"]
    plain = console.get("/assets/index-abc.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == SCRIPT


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/internal/x", "/assets/gone.js", "/v1/models"])
def test_what_belongs_to_the_api_is_never_answered_with_a_page(built: Path, path: str) -> None:
    answer = client(built).get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/../secret.txt", "/assets/..%2f..%2fsecret.txt", "/%2e%2e/secret.txt"])
def test_nothing_outside_the_folder_is_served(built: Path, path: str) -> None:
    assert "outside" not in client(built).get(path).text


def test_writing_to_the_console_is_refused(built: Path) -> None:
    answer = client(built).post("/traces")
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"


def test_a_console_that_was_not_built_says_how_to_build_it() -> None:
    answer = client(None).get("/")
    assert answer.status_code == 503
    assert "make up" in answer.text
