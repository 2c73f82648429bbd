"""What a key's content policy lets be kept, for every operation; and secrets, which nothing may keep.

One gateway, calls of all kinds, then a search through everything that it wrote and said.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from support.wait import wait_until
from tetrad.serving import OPERATIONS, CachePolicy, Operation

MODELS = (
    "echo", "stall", "stallmid", "reset:0", "reset:2", "garbage", "html", "error:400", "error:401", "error:429",
    "error:500", "leak", "plain-error", "nodone", "split", "tools", "torn",
)  # fmt: skip
WORD = "Xylophon-4711-Kanarienvogel"
BOUNDARY = "frontier"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FakeOpenAI]]:
    home = tmp_path_factory.mktemp("home")
    with FakeOpenAI() as upstream:
        table = make_table(upstream.base_url, models=MODELS, first_byte_timeout_s=1.0, idle_timeout_s=1.0)
        prepare_home(home, msgspec.structs.replace(table, caches={"default/": CachePolicy(use="always")}))
        with GatewayProcess(home, gateway_cache_disk_bytes=1 << 22) as gateway:
            yield gateway, upstream


def body_of(operation: Operation, model: str, word: str) -> tuple[bytes, str]:
    """Return a body that says the word wherever the operation has room for words."""
    if operation.form:
        parts = [("model", model), ("prompt", word), ("user", "u")]
        text = "".join(
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
        )
        field = "file" if operation.input == "file" else "image"
        text += f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"; filename="{word}.mp3"\r\n'
        text += f"content-type: audio/mpeg\r\n\r\n{word}\r\n--{BOUNDARY}--\r\n"
        return text.encode(), f"multipart/form-data; boundary={BOUNDARY}"
    part = {"type": "text", "text": word, word: word}
    fields: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "user", "content": [part, {"type": word, "format": word}]},
            {"role": "user", "content": word},
        ],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": word}]}]
        if operation.name == "responses"
        else word,
        "prompt": word,
        "query": word,
        "documents": [word],
        "voice": "alloy",
        "max_tokens": 16,
    }
    needed = {"chat": ("messages",), "messages": ("messages", "max_tokens"), "count_tokens": ("messages",)}
    wanted = needed.get(operation.name, (operation.input,))
    if operation.name == "rerank":
        wanted = ("query", "documents")
    if operation.name == "speech":
        wanted = ("input", "voice")
    return json.dumps({name: fields[name] for name in ("model", *wanted)}).encode(), "application/json"


def forms_of(secret: str) -> set[bytes]:
    """Return how a text may be written down: as it is, in base64 at every offset, escaped."""
    raw = secret.encode()
    found = {raw, urllib.parse.quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        found.add(coded[4 if offset else 0 : -2].encode())
    return found


def written(home: Path) -> Iterator[tuple[str, bytes]]:
    """Yield everything on the disk but what is sealed or is a key."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.parent.name != "keys" and not path.name.endswith(".sealed"):
            yield str(path.relative_to(home)), path.read_bytes()


@pytest.mark.parametrize("policy", ["off", "redacted", "full"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_the_policy_holds_for_every_operation(
    run: tuple[GatewayProcess, FakeOpenAI], operation: Operation, policy: str
) -> None:
    gateway, _ = run
    key = {"off": g.OFF_KEY, "redacted": g.REDACTED_KEY, "full": g.KEY}[policy]
    word = f"{WORD}-{policy}-{operation.name}"  # what another key may keep comes to the disk when it comes
    before = dict(written(gateway.home))
    for model in ("local/echo", "local/error-400", "local/error-500"):
        body, kind = body_of(operation, model, word)
        status, headers, answer = gateway.post(operation.path, body, key=key, headers={"content-type": kind})
        assert status in (200, 400, 404, 500, 502), answer
        trace = headers["x-tetrad-trace-id"]
        spans = wait_until(lambda: [each for each in spooled(gateway.home) if each.trace_id == trace])  # noqa: B023
        said = b"".join(msgspec.json.encode(span) + span.input + span.output for span in spans)
        assert (word.encode() in said) == (policy == "full"), (model, said)
        assert all(span.input == span.output == b"" for span in spans) or policy != "off"
    if policy != "full":
        for name, data in written(gateway.home):
            if data != before.get(name) and not name.startswith("spool"):
                assert word.encode() not in data.replace(before.get(name, b""), b""), name


def test_what_one_key_must_not_keep_is_not_given_to_one_that_does(run: tuple[GatewayProcess, FakeOpenAI]) -> None:
    gateway, upstream = run
    body = {"model": "local/echo", "messages": [{"role": "user", "content": "a question of one's own"}]}
    for key, wanted in ((g.OFF_KEY, "miss"), (g.OFF_KEY, "hit"), (g.REDACTED_KEY, "miss"), (g.KEY, "miss")):
        assert gateway.post("/v1/chat/completions", body, key=key)[1]["x-tetrad-cache"] == wanted
    assert len([each for each in upstream.requests if each.body == {**body, "model": "echo"}]) == 3


def test_no_secret_is_in_anything_that_a_busy_gateway_wrote_or_said(run: tuple[GatewayProcess, FakeOpenAI]) -> None:
    gateway, _ = run
    secrets = {
        "the provider's key": g.SECRET,
        "a client's key": g.KEY,
        "a client's key without content": g.OFF_KEY,
        "the internal token": g.TOKEN,
        "the sealing key": (gateway.home / "keys" / "seal.key").read_text().strip(),
    }
    answers: list[bytes] = []
    for name in MODELS:
        for stream in (False, True):
            for key in (g.KEY, g.OFF_KEY):
                _, headers, answer = gateway.post(
                    "/v1/chat/completions",
                    {
                        "model": "local/" + name.replace(":", "-"),
                        "messages": [{"role": "user", "content": "hi"}],
                        "stream": stream,
                    },
                    key=key,
                )
                answers += [answer, json.dumps(headers).encode()]
    for path in ("/v1/models", "/metrics", "/healthz", "/readyz", "/nowhere"):
        answers.append(gateway.get(path, key=g.KEY)[1])
    for key in ("wrong", g.CONTROL_KEY, g.KEY + "x"):
        answers.append(gateway.post("/v1/chat/completions", {"model": "local/m1"}, key=key)[2])
    answers.append(gateway.post("/v1/chat/completions", b"{", key=g.KEY)[2])
    everything = [*written(gateway.home), *((f"answer {number}", data) for number, data in enumerate(answers))]
    assert any(name.startswith("spool") for name, _ in everything)
    assert any(name == "gateway.log" for name, _ in everything)
    for what, secret in secrets.items():
        for form in forms_of(secret):
            assert len(form) > 8, form
            for name, data in everything:
                assert form not in data, f"{what} is in {name}"


def test_a_crash_of_the_gateway_leaves_no_memory_on_the_disk(run: tuple[GatewayProcess, FakeOpenAI]) -> None:
    gateway, _ = run
    assert gateway.process is not None
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    [line] = [each for each in limits.splitlines() if each.startswith("Max core file size")]
    assert line.split()[4] == "0"
