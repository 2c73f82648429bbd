"""A package index on loopback that can misbehave on demand."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Answer = Callable[["Handler"], None]


def make_wheel(files: dict[str, bytes]) -> bytes:
    """Return the bytes of a wheel that holds these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve what the `IndexServer` was told to."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Stay quiet."""

    def do_GET(self) -> None:
        index = self.server.index
        index.requests.append((self.path, dict(self.headers)))
        special = index.answers.get(self.path)
        if special:
            answer = special.pop(0) if len(special) > 1 else special[0]
            answer(self)
            return
        if self.path.startswith("/files/"):
            self.send_file(index.files[self.path.removeprefix("/files/")])
            return
        match = re.fullmatch(r"/simple/([^/]+)/", self.path)
        names = [name for name in index.files if match and name.split("-")[0].replace("_", "-") == match[1]]
        if not names:
            self.send_body(404, b"no such project", "text/plain")
        elif index.as_json:
            entries = [self.entry(name) for name in names]
            body = json.dumps({"meta": {"api-version": "1.1"}, "name": match[1] if match else "", "files": entries})
            self.send_body(200, body.encode(), "application/vnd.pypi.simple.v1+json")
        else:
            anchors = "".join(self.anchor(name) for name in names)
            self.send_body(200, f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode(), "text/html")

    def digest(self, name: str) -> str:
        index = self.server.index
        return index.lies.get(name) or hashlib.sha256(index.files[name]).hexdigest()

    def entry(self, name: str) -> dict[str, object]:
        hashes = {} if name in self.server.index.unhashed else {"sha256": self.digest(name)}
        return {
            "filename": name,
            "url": f"../../files/{name}",
            "hashes": hashes,
            "yanked": name in self.server.index.yanked,
            "requires-python": self.server.index.requires.get(name),
        }

    def anchor(self, name: str) -> str:
        index = self.server.index
        fragment = "" if name in index.unhashed else f"#sha256={self.digest(name)}"
        extra = ' data-yanked=""' if name in index.yanked else ""
        if name in index.requires:
            extra += f' data-requires-python="{index.requires[name].replace("<", "&lt;").replace(">", "&gt;")}"'
        return f'<a href="../../files/{name}{fragment}"{extra}>{name}</a>\n'

    def send_body(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.server.index.ranges:
            start = int(wanted[1])
            if start >= len(data):
                self.send_body(416, b"", "text/plain")
                return
            where = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send_body(206, data[start:], "application/octet-stream", Content_Range=where)
        else:
            self.send_body(200, data, "application/octet-stream")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    index: IndexServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up in these tests; that is no news."""


@dataclass
class IndexServer:
    """What the index offers, and how it misbehaves: `answers` maps a path to functions that answer instead, in turn."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    as_json: bool = True
    ranges: bool = True
    yanked: set[str] = field(default_factory=set)
    unhashed: set[str] = field(default_factory=set)
    requires: dict[str, str] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def simple(self) -> str:
        """The URL that pip would be given."""
        return f"{self.url}/simple"

    def asked(self, path: str) -> int:
        """Count the requests for a path."""
        return sum(1 for asked, _ in self.requests if asked == path)


def truncated(data: bytes, after: int) -> Answer:
    """Promise all of `data`, send `after` bytes, hang up."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return answer


def status(code: int, body: bytes = b"") -> Answer:
    """Answer with a status."""
    return lambda handler: handler.send_body(code, body, "text/plain")


def redirect(to: str) -> Answer:
    """Redirect."""
    return lambda handler: handler.send_body(302, b"", "text/plain", Location=to)


def usual(handler: Handler) -> None:
    """Answer as an index that behaves."""
    handler.send_file(handler.server.index.files[handler.path.removeprefix("/files/")])


@contextmanager
def serve_index() -> Iterator[IndexServer]:
    """Run an index until the end of the block."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.index = IndexServer(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_file_index(folder: Path, files: dict[str, bytes]) -> str:
    """Lay a PEP 503 index out in a folder and return its `file://` URL."""
    for name, data in files.items():
        project = folder / "simple" / name.split("-")[0].replace("_", "-").lower()
        project.mkdir(parents=True, exist_ok=True)
        (folder / "files").mkdir(exist_ok=True)
        (folder / "files" / name).write_bytes(data)
        with (project / "index.html").open("a", encoding="utf-8") as page:
            digest = hashlib.sha256(data).hexdigest()
            page.write(f'<a href="../../files/{name}#sha256={digest}">{name}</a>\n')
    return (folder / "simple").as_uri()
