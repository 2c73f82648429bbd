"""The client of control's API: where it looks, what it repeats, how it tells errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support.ports import free_port
from tetrad.kernel import Unauthenticated
from tetrad.kit.api_client import ApiClient, ApiError, ControlUnreachable, path_part

Answer = Callable[[httpx.Request], httpx.Response]


def client(*answers: Answer | httpx.Response | Exception) -> tuple[ApiClient, list[httpx.Request], list[float]]:
    seen: list[httpx.Request] = []
    pauses: list[float] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = answers[min(len(seen), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    made = ApiClient("http://127.0.0.1:1/", "key", transport=httpx.MockTransport(handle), sleep=pauses.append)
    return made, seen, pauses


PROBLEM = {"detail": "no such key", "hint": "list them", "code": "key_not_found", "status": 404}


def test_it_sends_the_key_and_reads_json() -> None:
    api, seen, _ = client(httpx.Response(200, json={"a": 1}))
    assert api.get("/x", limit=5, cursor=None) == {"a": 1}
    assert seen[0].headers["authorization"] == "Bearer key"
    assert str(seen[0].url) == "http://127.0.0.1:1/x?limit=5"


def test_an_empty_answer_is_none() -> None:
    api, seen, _ = client(httpx.Response(204))
    assert api.delete("/x") is None
    assert api.post("/x", {"a": 1}) is None
    assert json.loads(seen[1].content) == {"a": 1}


def test_a_refusal_keeps_message_hint_code_and_fields() -> None:
    fields = [{"loc": ["body", "name"], "msg": "too long"}]
    api, seen, _ = client(httpx.Response(404, json=PROBLEM | {"errors": fields}))
    with pytest.raises(ApiError, match="no such key") as refusal:
        api.get("/x")
    error = refusal.value
    assert (error.hint, error.code, error.status) == ("list them", "key_not_found", 404)
    assert error.errors == (("body.name", "too long"),)
    assert len(seen) == 1, "a refusal that will not change is not asked for again"


@pytest.mark.parametrize(
    "first", [httpx.Response(503, json=PROBLEM), httpx.ReadTimeout("slow"), httpx.ReadError("cut")]
)
def test_reading_is_repeated_with_growing_pauses(first: httpx.Response | Exception) -> None:
    api, seen, pauses = client(first, first, httpx.Response(200, json=1))
    assert api.get("/x") == 1
    assert len(seen) == 3
    assert pauses[0] < pauses[1] * 2


def test_the_pause_that_the_server_asks_for_is_kept() -> None:
    api, _, pauses = client(
        httpx.Response(429, json=PROBLEM, headers={"retry-after": "7"}), httpx.Response(200, json=1)
    )
    api.get("/x")
    assert pauses == [7.0]


def test_reading_gives_up_in_the_end() -> None:
    api, seen, _ = client(httpx.Response(503, json=PROBLEM))
    with pytest.raises(ApiError):
        api.get("/x")
    assert len(seen) == 4


@pytest.mark.parametrize("failure", [httpx.Response(503, json=PROBLEM), httpx.ReadTimeout("slow")])
def test_changes_are_never_repeated(failure: httpx.Response | Exception) -> None:
    for method in ("POST", "PUT", "DELETE"):
        api, seen, _ = client(failure)
        with pytest.raises((ApiError, ControlUnreachable)):
            api.request(method, "/x")
        assert len(seen) == 1


def test_a_list_is_read_page_by_page_up_to_a_limit() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        limit = int(request.url.params["limit"])
        items = [{"n": n} for n in range(start, min(start + limit, 450))]
        end = start + len(items)
        return httpx.Response(200, json={"items": items, "next_cursor": str(end) if end < 450 else None})

    api, seen, _ = client(page)
    assert [each["n"] for each in api.items("/x", most=1000)] == list(range(450))
    assert len(seen) == 3
    assert len(list(api.items("/x", most=210))) == 210


def test_what_is_no_problem_document_is_told_as_such() -> None:
    for answer in (httpx.Response(502, text="<html>"), httpx.Response(404, json=[1]), httpx.Response(404, json={})):
        api, _, _ = client(answer)
        with pytest.raises(ApiError, match="without saying why"):
            api.get("/x")


def test_nobody_at_the_address_is_told_with_the_way_out() -> None:
    api = ApiClient(f"http://127.0.0.1:{free_port()}", "key")
    with pytest.raises(ControlUnreachable, match="does not answer") as refusal:
        api.get("/x")
    assert "tetrad up" in refusal.value.hint
    api.close()


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tetrad_home: Path) -> None:
    (tetrad_home / "keys").mkdir()
    (tetrad_home / "keys" / "admin.key").write_text("from-file\n")
    (tetrad_home / "tetrad.toml").write_text('gateway_workers = 3\ncontrol_port = 9411\nhost = "0.0.0.0"\n')
    api = ApiClient.from_environment()
    assert api.base_url == "http://127.0.0.1:9411"
    assert api._http.headers["authorization"] == "Bearer from-file"
    monkeypatch.setenv("TETRAD_CONTROL_URL", "https://tetrad.example.com/")
    monkeypatch.setenv("TETRAD_API_KEY", "from-variable")
    api = ApiClient.from_environment()
    assert api.base_url == "https://tetrad.example.com"
    assert api._http.headers["authorization"] == "Bearer from-variable"


def test_no_key_is_told_with_the_way_out() -> None:
    with pytest.raises(Unauthenticated, match=r"admin\.key") as refusal:
        ApiClient.from_environment()
    assert "TETRAD_API_KEY" in refusal.value.hint


def test_names_are_quoted_in_paths() -> None:
    assert path_part("../a b/ü") == "..%2Fa%20b%2F%C3%BC"
