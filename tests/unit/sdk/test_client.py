"""The client of the control plane, against recorded answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import tetrad_sdk
from tetrad_sdk import ApiError, Client, NotConfigured, Unreachable


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://control.test/", "tetrad_control_x", project="my team", transport=httpx.MockTransport(answer))


def test_traces_come_page_by_page_with_the_key_and_the_project() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        second = request.url.params.get("cursor") == "next"
        item = {
            "trace_id": "b" if second else "a",
            "name": "chat",
            "status": "ok",
            "start_ns": "12",
            "release": "sha256:1",
        }
        return httpx.Response(200, json={"items": [item], "next_cursor": None if second else "next"})

    with client(answer) as tetrad:
        found = list(tetrad.all_traces(app="assistant"))
    assert [trace.trace_id for trace in found] == ["a", "b"]
    assert found[0].start_ns == 12
    assert asked[0].headers["authorization"] == "Bearer tetrad_control_x"
    assert asked[0].url.raw_path.startswith(b"/api/v1/projects/my%20team/traces?limit=200&app=assistant")


def test_spans_come_in_the_order_of_their_start() -> None:
    spans = [
        {"span_id": "2", "parent_id": "1", "start_ns": "20", "end_ns": "30", "cost": "0.001"},
        {"span_id": "1", "start_ns": "10", "end_ns": "40", "cost": None},
    ]
    with client(lambda _request: httpx.Response(200, json={"trace_id": "t", "spans": spans})) as tetrad:
        trace = tetrad.trace("t")
    assert [(span.span_id, span.cost) for span in trace.spans] == [("1", None), ("2", "0.001")]


def test_apps_and_releases_are_read() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/apps"):
            return httpx.Response(200, json={"items": [{"name": "assistant", "refs": {"production": "sha256:1"}}]})
        assert request.url.path.endswith("/releases/sha256:1")
        return httpx.Response(200, json={"digest": "sha256:1", "manifest": {"app": "assistant"}})

    with client(answer) as tetrad:
        app = tetrad.apps()[0]
        assert tetrad.release(app.refs["production"]).manifest == {"app": "assistant"}


def test_a_refusal_keeps_message_hint_code_and_status() -> None:
    body = {"detail": "there is no trace 'x'", "hint": "look at the list", "code": "not_found", "status": 404}
    with client(lambda _request: httpx.Response(404, json=body)) as tetrad, pytest.raises(ApiError) as caught:
        tetrad.trace("x")
    error = caught.value
    assert (error.message, error.hint, error.code, error.status) == (body["detail"], body["hint"], "not_found", 404)
    assert str(error) == "there is no trace 'x'; look at the list"


@pytest.mark.parametrize("text", ["<html>busy</html>", "[]", '"x"'])
def test_an_answer_that_is_no_problem_document_is_still_told(text: str) -> None:
    with (
        client(lambda _request: httpx.Response(502, text=text)) as tetrad,
        pytest.raises(ApiError, match="Bad Gateway"),
    ):
        tetrad.apps()


def test_a_page_of_something_else_is_not_taken_for_an_answer() -> None:
    with (
        client(lambda _request: httpx.Response(200, text="<html>")) as tetrad,
        pytest.raises(ApiError, match="no JSON"),
    ):
        tetrad.apps()


def test_a_control_plane_that_is_down_is_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client(answer) as tetrad, pytest.raises(Unreachable, match=r"http://control\.test does not answer"):
        tetrad.apps()


def test_the_environment_names_address_key_and_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TETRAD_HOME", str(tmp_path))
    monkeypatch.setenv("TETRAD_CONTROL_URL", "http://127.0.0.1:9/")
    for name in ("TETRAD_API_KEY", "TETRAD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotConfigured, match="TETRAD_API_KEY is not set"):
        tetrad_sdk.connect()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/admin.key").write_text("tetrad_admin_x\n")
    with tetrad_sdk.connect(project="p") as tetrad:
        assert (tetrad.base_url, tetrad.project) == ("http://127.0.0.1:9", "p")
    with tetrad_sdk.connect(url="http://other", key="k") as tetrad:
        assert (tetrad.base_url, tetrad.project) == ("http://other", "default")
