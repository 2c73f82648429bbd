"""The guard before all routes: foreign hosts and pages, forged changes, large and slow bodies, too many at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from support.wait import async_wait_until
from tetrad.kernel import NotFound, Overloaded, Principal, Unauthenticated
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.http import (
    PROBLEM_RESPONSES,
    Credential,
    CurrentPrincipal,
    GuardPolicy,
    current_request_id,
    guard,
    inline_script_hashes,
    public,
    requires,
)
from tetrad.kit.http_settings import SETTINGS
from tetrad.kit.settings import load_settings

ORIGIN = "http://127.0.0.1:8401"
KEY = {"authorization": "Bearer good"}
POLICY = GuardPolicy(max_body_bytes=1000, body_limits=(("/internal/", 5000),))


class Door:
    """Knows one key, one session and one project."""

    def __init__(self) -> None:
        self.asked: list[Credential] = []

    def authenticate(self, credential: Credential) -> Principal:
        self.asked.append(credential)
        if credential.secret != "good":
            raise Unauthenticated("no", hint="knock")
        return Principal("key_1", "key", "test", frozenset({"control"}), frozenset({"default"}))

    def in_project(self, principal: Principal, project: str) -> Principal:
        if not principal.may_enter(project):
            raise NotFound(f"no project {project!r}", hint="look")
        return principal


class Body(BaseModel):
    text: str


def make_app(door: Door, policy: GuardPolicy = POLICY, *, hold: asyncio.Event | None = None) -> FastAPI:
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/who", dependencies=[requires("control")])
    def who(actor: CurrentPrincipal) -> str:
        return actor.name

    @routes.post("/echo", dependencies=[requires("control")])
    def echo(body: Body) -> Body:
        return body

    @routes.get("/id", dependencies=[requires("control")])
    def request_id() -> str:
        return current_request_id()

    @routes.get("/fails", dependencies=[requires("control")])
    def fails() -> None:
        raise RuntimeError("a secret detail")

    @routes.get("/find/{name}", dependencies=[requires("control")])
    def find(name: str, q: str = "") -> list[str]:
        return [name, q]

    @routes.get("/busy", dependencies=[requires("control")])
    def busy() -> None:
        raise Overloaded("busy", hint="wait", retry_after_s=2.2)

    @routes.get("/hold", dependencies=[requires("control")])
    async def held() -> str:
        assert hold is not None
        await hold.wait()
        return "done"

    @routes.post("/session", dependencies=[public()])
    def sign_in() -> str:
        return "in"

    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    app.include_router(routes)

    @app.post("/internal/v1/take", dependencies=[requires("control")])
    def take(body: Body) -> int:
        return len(body.text)

    @app.get("/healthz", dependencies=[public()])
    def healthz() -> str:
        return "ok"

    guard(app, door, policy)
    return app


def client(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN, headers=headers)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def http(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with client(make_app(door)) as lent:
        yield lent


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["hint"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("host", ["127.0.0.1:8401", "localhost", "LOCALHOST:1", "[::1]:8401", "localhost."])
async def test_loopback_names_are_served(http: httpx.AsyncClient, host: str) -> None:
    assert (await http.get("/api/v1/who", headers={**KEY, "host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:8401:1", "", "a b", "::1", "[::1"]
)
async def test_foreign_hosts_are_refused(http: httpx.AsyncClient, host: str) -> None:
    refused(await http.get("/api/v1/who", headers={**KEY, "host": host}), 421, "host_not_allowed")


async def test_two_hosts_are_refused(http: httpx.AsyncClient) -> None:
    request = httpx.Request("GET", f"{ORIGIN}/api/v1/who", headers=[("host", "localhost"), ("host", "localhost")])
    refused(await http.send(request), 421, "host_not_allowed")


async def test_probes_may_use_any_host(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz", headers={"host": "10.0.0.7:8401"})).status_code == 200


async def test_configured_hosts_are_served(door: Door) -> None:
    environ = {"TETRAD_ALLOWED_HOSTS": "Tetrad.example.com, *.lab.example"}
    settings = load_settings([INSTALLATION, SETTINGS], environ=environ)
    policy = GuardPolicy.from_settings(settings, host="0.0.0.0")
    async with client(make_app(door, policy)) as http:
        for host, status in {
            "tetrad.example.com": 200,
            "a.lab.example:80": 200,
            "b.a.lab.example": 200,
            "lab.example": 421,
            "xlab.example": 421,
            "0.0.0.0": 421,
        }.items():
            assert (await http.get("/api/v1/who", headers={**KEY, "host": host})).status_code == status, host


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "file://"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/who", "/healthz"])
async def test_pages_of_other_origins_are_refused_even_with_a_key(
    http: httpx.AsyncClient, headers: dict[str, str], path: str
) -> None:
    refused(await http.get(path, headers=KEY | headers), 403, "cross_origin")


async def test_a_foreign_page_cannot_sign_a_browser_in(http: httpx.AsyncClient) -> None:
    refused(await http.post("/api/v1/session", headers={"origin": "http://evil.example"}), 403, "cross_origin")
    refused(
        await http.post("/api/v1/session", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        403,
        "cross_origin",
    )


async def test_following_a_link_here_is_fine(http: httpx.AsyncClient) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert (await http.get("/healthz", headers=followed)).status_code == 200


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/find/a?q=%00", "query"),
        ("/find/a?q=b%00c&x=1", "query"),
        ("/find/a?%00=1", "query"),
        ("/find/a?q=%%00", "query"),
        ("/find/%00", "path"),
        ("/find/a%00b?q=%00", "path"),
        ("/nothing?q=%00", "query"),
    ],
)
async def test_an_address_with_a_nul_is_refused_before_any_route(
    http: httpx.AsyncClient, door: Door, address: str, place: str
) -> None:
    answer = await http.get(f"/api/v1{address}", headers=KEY)
    refused(answer, 400, "bad_address")
    assert f"the {place} of the address" in answer.json()["detail"]
    assert door.asked == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/find/a?q=%2500", ["a", "%00"]),
        ("/find/a?q=%252500", ["a", "%2500"]),
        ("/find/%2500?q=%200", ["%00", " 0"]),
        ("/find/a?q=%c0%80", ["a", "\ufffd\ufffd"]),
        ("/find/a?q=%u0000%0", ["a", "%u0000%0"]),
    ],
)
async def test_what_decodes_to_no_nul_is_passed_on(http: httpx.AsyncClient, address: str, found: list[str]) -> None:
    assert (await http.get(f"/api/v1{address}", headers=KEY)).json() == found


async def test_other_origins_can_be_allowed(door: Door) -> None:
    app = make_app(door, replace(POLICY, allowed_origins=frozenset({"https://console.example"})))
    async with client(app) as http:
        assert (await http.get("/api/v1/who", headers={**KEY, "origin": "https://console.example"})).status_code == 200
        refused(await http.get("/api/v1/who", headers={**KEY, "origin": "http://console.example"}), 403, "cross_origin")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ORIGIN}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://localhost:9"}, 403),
    ],
)
async def test_changes_by_cookie_must_come_from_our_own_page(
    http: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    cookie = {"cookie": "a=1; tetrad_session=good; b=2"}
    assert (await http.post("/api/v1/echo", json={"text": "x"}, headers=cookie | headers)).status_code == status


async def test_reading_by_cookie_needs_no_proof(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/v1/who", headers={"cookie": "tetrad_session=good"})).status_code == 200


async def test_a_header_beats_the_cookie_and_a_bad_one_is_not_saved_by_it(http: httpx.AsyncClient, door: Door) -> None:
    both = {"cookie": "tetrad_session=good", "authorization": "Bearer bad"}
    refused(await http.get("/api/v1/who", headers=both), 401, "unauthenticated")
    assert [(each.kind, each.secret) for each in door.asked] == [("bearer", "bad")]


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer good"}, {"authorization": "bearer  good "}, {"x-api-key": "good"}]
)
async def test_keys_come_in_two_headers(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await http.get("/api/v1/who", headers=headers)).json() == "test"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic good"},
        {"authorization": "good"},
        {"cookie": 'tetrad_session="'},
    ],
)
async def test_who_shows_nothing_is_told_how(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.get("/api/v1/who", headers=headers)
    refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="tetrad"'


async def test_a_credential_is_never_longer_than_the_limit_nor_printed(http: httpx.AsyncClient, door: Door) -> None:
    await http.get("/api/v1/who", headers={"x-api-key": "s" * 5000})
    assert len(door.asked[0].secret) == 512
    assert "sss" not in repr(door.asked[0])


async def test_strangers_are_refused_before_their_body_is_read(door: Door) -> None:
    app, pulled = make_app(door), 0

    async def receive() -> dict[str, Any]:
        nonlocal pulled
        pulled += 1
        return {"type": "http.request", "body": b"{", "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/api/v1/echo", "raw_path": b"/api/v1/echo", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8401),
    }  # fmt: skip
    await app(scope, receive, send)
    assert (sent[0]["status"], pulled) == (401, 0)
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_unknown_paths_of_the_api_tell_strangers_nothing(http: httpx.AsyncClient) -> None:
    refused(await http.get("/api/v1/nothing"), 401, "unauthenticated")
    refused(await http.get("/api/v1/nothing", headers=KEY), 404, "not_found")
    refused(await http.get("/nothing"), 404, "not_found")


async def test_a_wrong_method_is_told_with_the_right_ones(http: httpx.AsyncClient) -> None:
    answer = await http.put("/api/v1/who", headers=KEY)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_past_the_limit_is_refused(http: httpx.AsyncClient, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    content: Any = b"x" * 2000 if declared else pieces()
    answer = await http.post("/api/v1/echo", content=content, headers={**KEY, "content-type": "application/json"})
    refused(answer, 413, "too_large")


async def test_a_body_at_the_limit_passes_and_each_path_has_its_own(http: httpx.AsyncClient) -> None:
    at_limit = '{"text":"' + "x" * 989 + '"}'
    assert len(at_limit) == 1000
    headers = {**KEY, "content-type": "application/json"}
    assert (await http.post("/api/v1/echo", content=at_limit, headers=headers)).status_code == 200
    assert (await http.post("/internal/v1/take", json={"text": "x" * 4000}, headers=KEY)).json() == 4000
    refused(await http.post("/internal/v1/take", json={"text": "x" * 6000}, headers=KEY), 413, "too_large")


async def test_a_body_that_stalls_is_cut_off(door: Door) -> None:
    app = make_app(door, replace(POLICY, body_idle_timeout_s=0.05))
    never = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b'{"te'
        await never.wait()

    async with client(app) as http:
        headers = {**KEY, "content-type": "application/json"}
        refused(await http.post("/api/v1/echo", content=stalls(), headers=headers), 408, "body_timeout")


async def test_a_body_that_drips_for_ever_is_cut_off(door: Door) -> None:
    app = make_app(door, replace(POLICY, body_total_timeout_s=0.05, max_body_bytes=10**9))

    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b" "

    async with client(app) as http:
        headers = {**KEY, "content-type": "application/json"}
        refused(await http.post("/api/v1/echo", content=drips(), headers=headers), 408, "body_timeout")


async def test_past_the_limit_of_requests_more_are_refused_and_later_served(door: Door) -> None:
    hold = asyncio.Event()
    async with client(make_app(door, replace(POLICY, max_concurrent=2), hold=hold)) as http:
        held = [asyncio.create_task(http.get("/api/v1/hold", headers=KEY)) for _ in range(2)]
        await async_wait_until(lambda: len(door.asked) == 2, what="both to be inside")
        answer = await http.get("/api/v1/who", headers=KEY)
        refused(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        hold.set()
        assert [(await each).status_code for each in held] == [200, 200]
        assert (await http.get("/api/v1/who", headers=KEY)).status_code == 200


async def test_unexpected_errors_are_logged_under_the_request_id_and_not_shown(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await http.get("/api/v1/fails", headers={**KEY, "x-request-id": "abc-1"})
    refused(answer, 500, "internal")
    assert "secret detail" not in answer.text
    record = next(each for each in caplog.records if each.exc_info)
    assert (record.request_id, record.levelno) == ("abc-1", logging.ERROR)  # type: ignore[attr-defined]
    assert "a secret detail" in caplog.text


async def test_a_request_id_is_kept_where_it_is_sane_and_known_to_the_code(http: httpx.AsyncClient) -> None:
    kept = await http.get("/api/v1/id", headers={**KEY, "x-request-id": "abc-1"})
    assert (kept.json(), kept.headers["x-request-id"]) == ("abc-1", "abc-1")
    for bad in ("x" * 65, "a b", "a;b", ""):
        made = await http.get("/api/v1/id", headers={**KEY, "x-request-id": bad})
        assert made.headers["x-request-id"] != bad
        assert made.json() == made.headers["x-request-id"]


async def test_errors_that_say_when_to_come_back_carry_the_header(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/busy", headers=KEY)
    refused(answer, 429, "overloaded")
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 900, b"", b'{"text": 1}', b"null"])
async def test_malformed_bodies_are_problems(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/api/v1/echo", content=content, headers={**KEY, "content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"


async def test_what_was_sent_is_not_sent_back_with_a_refusal(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1/echo", json={"text": {"sk-secret": 1}}, headers=KEY)
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"loc": ["body", "text"], "msg": "Input should be a valid string"}]
    assert "sk-secret" not in answer.text


async def test_every_answer_carries_the_security_headers(http: httpx.AsyncClient) -> None:
    for answer in [
        await http.get("/healthz"),
        await http.get("/api/v1/who", headers=KEY),
        await http.get("/api/v1/who"),
        await http.get("/healthz", headers={"origin": "http://evil.example"}),
        await http.get("/api/v1/fails", headers=KEY),
    ]:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await http.get("/api/v1/who", headers=KEY)).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await http.get("/healthz")).headers


def test_inline_scripts_get_their_hash() -> None:
    page = '<script src="/a.js"></script><script>let a = 1</script><script type="module">b()</script>'
    found = inline_script_hashes(page)
    assert len(found) == 2
    assert found[0] == "sha256-LAfYd7pbFUgwfQu8b4q135PeTG2z+/coPEUYCd74eCQ="


async def test_web_sockets_are_refused(door: Door) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    await make_app(door)({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent[0]["type"] == "websocket.close"


def test_an_app_with_a_route_that_states_nothing_does_not_start(door: Door) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/api/v1/open")
    def forgotten() -> None: ...

    @app.get("/api/v1/alsoopen", dependencies=[public()])
    def unlisted() -> None: ...

    with pytest.raises(ValueError, match=r"GET /api/v1/open states no scope.*GET /api/v1/alsoopen states no scope"):
        guard(app, door)


def test_a_route_cannot_be_public_and_closed(door: Door) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/healthz", dependencies=[requires("control")])
    def both() -> None: ...

    with pytest.raises(ValueError, match="is public as well"):
        guard(app, door)


def test_a_scope_that_does_not_exist_is_a_mistake_of_the_code() -> None:
    with pytest.raises(ValueError, match="no scope"):
        requires("root")


async def test_half_an_answer_is_cut_not_mended(door: Door) -> None:
    from fastapi.responses import StreamingResponse

    app = FastAPI(docs_url=None, redoc_url=None)

    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("broke")

    @app.get("/api/v1/half", dependencies=[requires("control")])
    def streams() -> StreamingResponse:
        return StreamingResponse(half())

    guard(app, door)
    async with client(app) as http:
        with pytest.raises(RuntimeError, match="broke"):
            await http.get("/api/v1/half", headers=KEY)
