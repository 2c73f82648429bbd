"""The example app: what it sends, and what it does with what comes back, over a real connection."""

from __future__ import annotations

import importlib.util
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "examples/assistant"


@pytest.fixture(scope="module")
def assistant() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_assistant", FOLDER / "assistant.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def gateway(pieces: list[str], status: int = 200) -> Iterator[tuple[str, list[tuple[dict[str, str], dict[str, Any]]]]]:
    """Answer chat calls as the gateway does, and keep what was asked."""
    asked: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            if status != 200:
                data = json.dumps({"error": {"message": "there is no app 'other'", "code": "not_found"}}).encode()
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return
            self.send_header("content-type", "text/event-stream")
            self.send_header("x-tetrad-release", "sha256:" + "1" * 64)
            self.send_header("x-tetrad-trace-id", "2" * 32)
            self.end_headers()
            for piece in pieces:
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                         "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}  # fmt: skip
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_question_is_tidied_and_everything_else_is_left_to_the_release(assistant: ModuleType) -> None:
    request = assistant.prepare("  why is\n the sky   blue ")
    assert request == {
        "model": "app:assistant",
        "messages": [{"role": "user", "content": "why is the sky blue?"}],
        "stream": True,
    }
    assert assistant.prepare("Tell me a joke")["messages"][-1]["content"] == "Tell me a joke."
    assert assistant.prepare("x", ref="staging", variables={"tone": "dry"})["model"] == "app:assistant@staging"
    assert assistant.prepare("x", variables={"tone": "dry"})["extra_body"] == {"tetrad": {"variables": {"tone": "dry"}}}


def test_a_long_conversation_is_cut_to_its_last_turns(assistant: ModuleType) -> None:
    history = [{"role": "user" if i % 2 == 0 else "assistant", "content": str(i)} for i in range(40)]
    messages = assistant.prepare("And then?", history)["messages"]
    assert len(messages) == 2 * assistant.MAX_TURNS + 1
    assert messages[0] == {"role": "user", "content": "28"}


@pytest.mark.parametrize(("question", "said"), [("   ", "is empty"), ("x" * 2001, "2,001 characters")])
def test_a_question_that_cannot_be_asked_is_refused(assistant: ModuleType, question: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        assistant.prepare(question)


def test_an_answer_streams_and_the_call_announces_its_code(
    assistant: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tetrad_sdk

    with gateway(["Rome", " it is."]) as (url, asked):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "tetrad_data_x")
        assert assistant.main(["-v", "--tone", "dry", "What is the capital of Italy?"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "Rome it is.\n"
    assert "release sha256:1111" in shown.err
    headers, body = asked[0]
    assert headers["x-tetrad-code"] == tetrad_sdk.code_digest(FOLDER)
    assert headers["x-tetrad-session"].startswith("assistant-")
    assert headers["authorization"] == "Bearer tetrad_data_x"
    assert body["tetrad"] == {"variables": {"tone": "dry"}}
    assert body["stream"] is True


def test_a_conversation_keeps_its_turns_in_one_session(
    assistant: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with gateway(["Yes."]) as (url, asked):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setattr("sys.stdin", io.StringIO("Is it late\n\nIs it dark\n"))
        assert assistant.main([]) == 0
    assert capsys.readouterr().out == "Yes.\nYes.\n"
    assert [message["content"] for message in asked[1][1]["messages"]] == ["Is it late?", "Yes.", "Is it dark?"]
    assert asked[0][0]["x-tetrad-session"] == asked[1][0]["x-tetrad-session"]


def test_a_refusal_and_a_silent_gateway_are_told(
    assistant: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with gateway([], status=404) as (url, _asked):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert assistant.main(["--app", "other", "Hello"]) == 1
    assert "404: there is no app 'other'" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_BASE_URL", url)  # nobody listens there any more
    assert assistant.main(["Hello"]) == 1
    assert "is `tetrad up` running?" in capsys.readouterr().err


def test_without_a_key_it_says_which_line_brings_one(
    assistant: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    assert assistant.main(["Why?"]) == 1
    assert "tetrad env" in capsys.readouterr().err
