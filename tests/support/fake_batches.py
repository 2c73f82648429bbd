"""A provider with a batch API: OpenAI's files and batches, or Anthropic's message batches, on the wire.

A submitted batch is under way until `release` is set, or it is cancelled. `lose` says how many of the next batches are
made without their answer being sent. `results` gets the lines of results before they are told, and may change them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from support.fake_media import read_form
from support.fake_openai import WORDS

TEXT = "".join(WORDS)
Lines = list[dict[str, Any]]


class FakeBatches:
    """`base_url` ends in `/v1`; `made` are the batches as they were submitted."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.calls: list[dict[str, Any]] = []
        """Requests that were made one by one."""
        self.release = threading.Event()
        self.release.set()
        self.lose = 0
        self.refuse = ""
        self.fail = ""
        self.hide = False
        """Whether its list has no batches."""
        self.results: Callable[[Lines], Lines] = lambda lines: lines
        self.lock = threading.Lock()
        self.looking = threading.Lock()
        """Who holds it keeps batches from being listed."""

    def __enter__(self) -> Self:
        fake = self

        class Handler(_Handler):
            provider = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def named(self, text: str) -> list[dict[str, Any]]:
        """Return the batches that have `text` somewhere in their requests."""
        with self.lock:
            return [each for each in self.made if text in json.dumps(each["requests"])]


class _Handler(BaseHTTPRequestHandler):
    provider: FakeBatches
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return None

    def do_POST(self) -> None:
        fake, raw = self.provider, self._body()
        if self.path == "/v1/files":
            form = read_form(self.headers["content-type"], raw)
            with fake.lock:
                name = f"file-{len(fake.files)}"
                fake.files[name] = form["files"][0][2]
            return self._json(200, {"id": name, "object": "file"})
        if self.path.endswith("/cancel"):
            found = self._batch(self.path.split("/")[-2])
            found["cancelled"] = True
            return self._json(200, self._shown(found))
        if self.path in ("/v1/batches", "/v1/messages/batches"):
            return self._submit(json.loads(raw))
        with fake.lock:
            fake.calls.append(json.loads(raw))
        return self._json(200, _answer(fake.protocol, json.loads(raw)))

    def do_GET(self) -> None:
        fake, path = self.provider, self.path.partition("?")[0]
        if path in ("/v1/batches", "/v1/messages/batches"):
            with fake.looking, fake.lock:
                data = [] if fake.hide else [self._shown(each) for each in fake.made[::-1]]
            return self._json(200, {"data": data, "has_more": False})
        if path.startswith("/v1/files/"):
            _, _, identity = path.split("/")[3].partition("_of_")
            return self._raw(200, _jsonl(self._results(self._batch(identity))))
        if path.endswith("/results"):
            return self._raw(200, _jsonl(self._results(self._batch(path.split("/")[-2]))))
        return self._json(200, self._shown(self._batch(path.split("/")[-1])))

    def do_DELETE(self) -> None:
        name = self.path.split("/")[-1]
        with self.provider.lock:
            self.provider.deleted.append(name)
        self._json(200, {"id": name, "object": "file", "deleted": True})

    def _submit(self, wanted: dict[str, Any]) -> None:
        fake = self.provider
        if fake.refuse:
            return self._json(400, {"error": {"message": fake.refuse, "type": "invalid_request_error"}})
        with fake.lock:
            if fake.protocol == "openai":
                requests = [json.loads(line) for line in fake.files[wanted["input_file_id"]].splitlines()]
            else:
                requests = wanted["requests"]
            made = {
                "id": f"provider_{len(fake.made)}", "requests": requests, "metadata": wanted.get("metadata"),
                "made": time.time(), "cancelled": False, "endpoint": wanted.get("endpoint"),
                "input_file_id": wanted.get("input_file_id"),
            }  # fmt: skip
            fake.made.append(made)
            lost = fake.lose > 0
            fake.lose -= lost
        if lost:
            self.close_connection = True
            return self.connection.close()
        return self._json(200, self._shown(made))

    def _batch(self, name: str) -> dict[str, Any]:
        with self.provider.lock:
            return next(each for each in self.provider.made if each["id"] == name)

    def _ended(self, batch: dict[str, Any]) -> bool:
        return bool(batch["cancelled"]) or self.provider.release.is_set()

    def _shown(self, batch: dict[str, Any]) -> dict[str, Any]:
        ended, total = self._ended(batch), len(batch["requests"])
        if self.provider.protocol == "anthropic":
            done = "succeeded" if ended and not batch["cancelled"] else "canceled" if ended else "processing"
            return {
                "id": batch["id"], "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
                "request_counts": {done: total}, "created_at": datetime.fromtimestamp(batch["made"], UTC).isoformat(),
                "results_url": "http://elsewhere/results" if ended else None,
            }  # fmt: skip
        if self.provider.fail:
            errors = {"data": [{"code": "bad", "message": self.provider.fail}]}
            return {"id": batch["id"], "status": "failed", "errors": errors, "created_at": int(batch["made"])}
        status = "cancelled" if batch["cancelled"] else "completed" if ended else "in_progress"
        files = {"output_file_id": f"output_of_{batch['id']}"} if status == "completed" else {}
        return {
            "id": batch["id"], "object": "batch", "status": status, "metadata": batch["metadata"],
            "created_at": int(batch["made"]), "input_file_id": batch["input_file_id"], **files,
        }  # fmt: skip

    def _results(self, batch: dict[str, Any]) -> Lines:
        lines = []
        for each in batch["requests"]:
            if self.provider.protocol == "anthropic":
                message = _answer("anthropic", each["params"])
                result = {"type": "canceled"} if batch["cancelled"] else {"type": "succeeded", "message": message}
                lines.append({"custom_id": each["custom_id"], "result": result})
            else:
                body = _answer("openai", each["body"])
                response = {"status_code": 200, "request_id": "r", "body": body}
                lines.append({"custom_id": each["custom_id"], "response": response, "error": None})
        return self.provider.results(lines[::-1])

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _json(self, status: int, body: Any) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json")

    def _raw(self, status: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _jsonl(lines: Lines) -> bytes:
    return b"\n".join(json.dumps(line).encode() for line in lines)


def _answer(protocol: str, asked: dict[str, Any]) -> dict[str, Any]:
    if protocol == "anthropic":
        usage = {"input_tokens": 10, "output_tokens": 5}
        content = [{"type": "text", "text": TEXT}]
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "content": content,
            "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip
    message = {"role": "assistant", "content": TEXT}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage,
    }  # fmt: skip
