"""The playground sends what a gateway would make of an edited prompt, and ends with whoever looks at it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from support.raw_server import answering, raw_server, read_request
from support.wait import async_wait_until
from tetrad.kernel import Digest, Principal
from tetrad.kit.http import PROBLEM_RESPONSES, Credential, guard
from tetrad.processes.control._playground import MAX_ANSWER_BYTES, Asked, Playground, Prepared, edited_params
from tetrad.processes.control._playground_routes import playground_router
from tetrad.prompts import PromptError, parse_prompt_file
from tetrad.releases import Message, ResolvedRelease, ResolvedVariable
from tetrad.releases._prompts import _pinned
from tetrad.releases.ports import PromptVersion
from tetrad.serving import RequestRefused

DIGEST = Digest("sha256:" + "1" * 64)
EDITED = "---\nvariables:\n  tone: string\n---\n# system\n\nBe {{tone}}.\n\n# user\n\nAnswer in one line.\n"
RELEASE = ResolvedRelease(
    digest=DIGEST,
    project="p",
    app="bot",
    model="local/m",
    model_digest=DIGEST,
    model_kind="weights",
    prompt_name="bot",
    prompt_digest=DIGEST,
    messages=(Message("system", "Old."),),
    variables=(ResolvedVariable("gone", required=True),),
    examples=(Message("user", "2+2"), Message("assistant", "4")),
    params={"temperature": 0.2, "max_tokens": 64},
)
SSE = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-tetrad-trace-id: " + b"ab" * 16 + b"\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(SSE), SSE)
)
REFUSED = b'{"error":{"message":"the model is unknown","code":"model_not_found"}}'


class Clock:
    now_s = 1_000

    def now_ns(self) -> int:
        return self.now_s * 1_000_000_000

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic(self) -> float:
        return float(self.now_s)


def pinned(text: str) -> PromptVersion:
    return _pinned(parse_prompt_file(text, "bot.md"), "", digest=DIGEST)


def a_playground(url: str = "http://127.0.0.1:1", **changes: Any) -> tuple[Playground, list[str]]:
    told: list[str] = []
    made = Playground(
        gateway_url=url,
        clock=Clock(),
        changed=lambda: told.append("changed"),
        release_at=lambda _project, _app, _ref: RELEASE,
        pinned=lambda _project, _release: None,
        checked=lambda _project, _name, text: pinned(text),
        **changes,
    )
    return made, told


async def events(playground: Playground, prepared: Prepared) -> str:
    return b"".join([piece async for piece in playground.run("p", prepared, user="Ada")]).decode()


def test_an_edited_prompt_stands_where_the_release_pins_another_and_the_rest_stays() -> None:
    playground, _ = a_playground()
    made = playground.prepare(
        "p",
        Asked("app:bot@main", "bot", EDITED, {"tone": "kind", "gone": 1}, [{"role": "user", "content": "Why?"}]),
    )
    body = msgspec.json.decode(made.body)
    assert body["model"] == made.model == "local/m"
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be kind."),
        ("user", "2+2"),
        ("assistant", "4"),
        ("user", "Answer in one line."),
        ("user", "Why?"),
    ]
    assert made.messages == body["messages"]
    assert made.unused == ("gone",)
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (0.2, 64, True)


def test_a_prompt_alone_is_played_on_a_bare_model() -> None:
    playground, _ = a_playground()
    body = msgspec.json.decode(playground.prepare("p", Asked("acme/big", "bot", EDITED, {"tone": "dry"})).body)
    assert body["model"] == "acme/big"
    assert [m["content"] for m in body["messages"]] == ["Be dry.", "Answer in one line."]


def test_without_an_edited_prompt_the_gateway_renders() -> None:
    playground, _ = a_playground()
    made = playground.prepare("p", Asked("app:bot", variables={"x": 1}, messages=[{"role": "user", "content": "Hi"}]))
    body = msgspec.json.decode(made.body)
    assert (body["model"], body["tetrad"], made.messages) == ("app:bot", {"variables": {"x": 1}}, None)


def test_faults_of_a_prompt_and_its_values_are_named_before_anything_is_sent() -> None:
    playground, _ = a_playground()
    with pytest.raises(PromptError, match=r"bot\.md:6"):
        playground.prepare("p", Asked("app:bot", "bot", "---\nname: bot\n---\n# system\n\n{{unknown}}\n"))
    with pytest.raises(RequestRefused, match="tone"):
        playground.prepare("p", Asked("app:bot", "bot", EDITED))
    with pytest.raises(RequestRefused, match="'model' is no parameter"):
        playground.prepare("p", Asked("app:bot", params={"model": "another"}))


@pytest.mark.parametrize("field", ["messages", "variables", "params"])
def test_what_cannot_be_sent_is_refused_before_anything_is_sent(field: str) -> None:
    held: dict[str, Any] = {
        "messages": {"messages": [{"\udfff": 1}]}, "variables": {"variables": {"tone": "\ud800"}},
        "params": {"params": {"stop": "\ud800"}},
    }[field]  # fmt: skip
    with pytest.raises(RequestRefused, match="lone surrogate"):
        a_playground()[0].prepare("p", Asked("app:bot", **held))


def test_what_the_app_set_itself_outlives_the_prompt_that_is_replaced() -> None:
    old = msgspec.structs.replace(pinned(EDITED), params={"temperature": 0.2, "top_p": 0.5})
    new = msgspec.structs.replace(pinned(EDITED), params={"temperature": 0.9})
    params = {"temperature": 0.2, "top_p": 0.7, "max_tokens": 8}
    assert edited_params(params, old, new) == {"temperature": 0.9, "top_p": 0.7, "max_tokens": 8}


async def test_chunks_come_as_they_are_behind_an_event_that_names_the_trace() -> None:
    async with raw_server(answering(OK)) as server:
        playground, told = a_playground(server.url)
        found = await events(playground, playground.prepare("p", Asked("app:bot", "bot", EDITED, {"tone": "kind"})))
        await playground.close()
    assert found.startswith('event: start\ndata: {"trace_id":"' + "ab" * 16)
    assert found.endswith(SSE.decode())
    assert told == ["changed"]
    (grant,) = playground.grants()
    assert (grant.key_id, grant.project, grant.scopes) == ("playground", "p", ("data", "pin"))


async def test_a_key_that_gateways_do_not_know_yet_is_shown_again() -> None:
    unknown = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}"
    async with raw_server(answering(unknown, unknown, OK)) as server:
        playground, _ = a_playground(server.url)
        assert "event: start" in await events(playground, Prepared(b"{}", "m"))
        await playground.close()


async def test_what_the_gateway_refuses_and_a_gateway_that_is_away_are_told_as_problems() -> None:
    refused = b"HTTP/1.1 404 Not Found\r\nx-tetrad-trace-id: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        b"ab" * 16, len(REFUSED), REFUSED,
    )  # fmt: skip
    async with raw_server(answering(refused)) as server:
        playground, _ = a_playground(server.url)
        found = await events(playground, Prepared(b"{}", "m"))
        await playground.close()
    assert found.startswith("event: problem")
    assert f'"trace_id":"{"ab" * 16}"' in found, "what failed can be looked at too"
    assert '"status":404,"code":"model_not_found","detail":"the model is unknown"' in found
    away, _ = a_playground("http://127.0.0.1:1")
    assert (await events(away, Prepared(b"{}", "m"))).startswith("event: problem")
    await away.close()


async def test_an_answer_without_end_and_a_slow_one_are_cut_short() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_ANSWER_BYTES + 1) + b"x" * (MAX_ANSWER_BYTES + 1)
    async with raw_server(answering(endless)) as server:
        playground, _ = a_playground(server.url)
        assert "the answer is longer than" in await events(playground, Prepared(b"{}", "m"))
        await playground.close()
    async with raw_server(_silent) as server:
        playground, _ = a_playground(server.url, timeout_s=0.2)
        assert "event: problem" in await events(playground, Prepared(b"{}", "m"))
        await playground.close()


async def test_who_leaves_ends_the_call_and_frees_its_place() -> None:
    async with raw_server(_unfinished) as server:
        playground, _ = a_playground(server.url, max_runs=1)
        async with aclosing(playground.run("p", Prepared(b"{}", "m"), user="Ada")) as pieces:
            assert (await anext(pieces)).startswith(b"event: start")
            assert "calls of playgrounds are under way" in await events(playground, Prepared(b"{}", "m"))
        await async_wait_until(lambda: server.open == 0, what="the call to end")
        async with aclosing(playground.run("p", Prepared(b"{}", "m"), user="Ada")) as pieces:
            assert (await anext(pieces)).startswith(b"event: start")
        await playground.close()


def test_a_key_of_the_playground_ends_with_its_hour() -> None:
    clock = Clock()
    playground, told = a_playground()
    playground._clock = clock
    first = playground._secret("p")
    assert playground._secret("p") == first
    clock.now_s += 3_100
    assert playground._secret("p") != first
    assert len(told) == 2
    clock.now_s += 3_601
    assert list(playground.grants()) == []


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def _unfinished(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + SSE)
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize(
    ("model", "pinned"),
    [
        (f"release:{DIGEST}", True),
        (f"app:bot@{DIGEST}", True),
        ("app:bot@production", False),
        ("app:bot", False),
        ("acme/m@sha256:1", False),
    ],
)
def test_a_release_named_by_its_digest_is_called_by_keys_that_may_pin_only(model: str, pinned: bool) -> None:
    class Keys:
        def authenticate(self, credential: Credential) -> Principal:
            return Principal("key_1", "key", "ann", frozenset(credential.secret.split("+")))

        def in_project(self, principal: Principal, project: str) -> Principal:
            return principal

    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    app.include_router(playground_router(a_playground()[0]))
    guard(app, Keys())
    client = TestClient(app, base_url="http://127.0.0.1")

    def call(scopes: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {scopes}"}
        return client.post("/api/v1/projects/p/playground", json={"model": model}, headers=headers)

    assert call("review+pin").status_code == 200
    refused = call("review")
    assert (refused.status_code == 403) is pinned
    assert ("pin" in refused.text) is pinned
