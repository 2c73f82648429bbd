"""Serve the console: static files, and its one page for every path that is no file."""

from __future__ import annotations

import gzip
import mimetypes
from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import Receive, Scope, Send

import tetrad
from tetrad.kernel import NotFound, TetradError
from tetrad.kit.http import inline_script_hashes

_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tetrad</title>
<body><h1>The console is not built</h1>
<p>Run <code>make up</code> in the checkout, or <code>npm ci &amp;&amp; npm run build</code> in <code>ui/</code>.</p>
<p>The API is at work: <a href="/openapi.json">openapi.json</a>.</p></body></html>"""
_NOT_PAGES = ("/api/", "/internal/", "/v1/", "/ofrep/", "/assets/")
_COMPRESSED = frozenset({".js", ".css", ".svg", ".json", ".html"})
_YEAR_S = 365 * 24 * 3600


def console_folder() -> Path | None:
    """Return the built console: from the package, else from the checkout; None when it is not built."""
    package = Path(tetrad.__file__).parent
    for folder in (package / "processes" / "control" / "static", package.parents[1] / "ui" / "dist"):
        if (folder / "index.html").is_file():
            return folder
    return None


def script_hashes(folder: Path | None) -> tuple[str, ...]:
    """Return the CSP hashes of the inline scripts of the console's page."""
    return inline_script_hashes((folder / "index.html").read_text("utf-8")) if folder else ()


def mount_console(app: FastAPI, folder: Path | None) -> None:
    """Put the console below all routes: it answers every path that nothing else does."""
    app.mount("/", _Console(folder), name="console")


class _Console:
    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._packed: dict[str, bytes] = {}
        found = folder.rglob("*") if folder else ()
        self._files = {f"/{path.relative_to(folder).as_posix()}": path for path in found if folder and path.is_file()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await run_in_threadpool(self._answer, Request(scope))
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.url.path
        found = self._files.get(path)
        if found is None and path.startswith(_NOT_PAGES):
            raise NotFound(f"there is nothing at {path[:200]!r}", hint="`/openapi.json` lists the API's paths")
        if request.method not in ("GET", "HEAD"):
            raise TetradError(
                f"{path[:200]!r} does not take {request.method}",
                hint="`/openapi.json` lists the API's paths",
                code="method_not_allowed",
                status=405,
            )
        if self._folder is None:
            return HTMLResponse(_NOT_BUILT, status_code=503)
        if found is None or found.name == "index.html":
            return FileResponse(self._folder / "index.html", headers={"cache-control": "no-cache"})
        fresh = f"public, max-age={_YEAR_S}, immutable" if path.startswith("/assets/") else "public, max-age=3600"
        headers = {"cache-control": fresh, "vary": "accept-encoding"}
        if found.suffix in _COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
            kind = mimetypes.guess_type(found.name)[0]
            return Response(self._gzipped(path), media_type=kind, headers={**headers, "content-encoding": "gzip"})
        return FileResponse(found, headers=headers)

    def _gzipped(self, path: str) -> bytes:
        """Compress a file when it is first asked for; all of them together are smaller than one photograph."""
        known = self._packed.get(path)
        if known is None:
            known = self._packed[path] = gzip.compress(self._files[path].read_bytes(), 6, mtime=0)
        return known
