"""The client of the control plane, against recorded answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

import tetrad_sdk
from tetrad_sdk import ApiError, App, Client, NotConfigured, ReleaseDetail, Span, Trace, Unreachable


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://control.test/", "tetrad_control_x", project="my team", transport=httpx.MockTransport(answer))


def row(kind: type, **given: object) -> dict[str, Any]:
    """Return an object with every field of a value, as the API sends it."""
    return {one.name: "0" if one.name.endswith("_ns") else "" for one in fields(kind)} | given


def test_traces_come_page_by_page_with_the_key_and_the_project() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        second = request.url.params.get("cursor") == "next"
        item = row(Trace, trace_id="b" if second else "a", start_ns="12")
        return httpx.Response(200, json={"items": [item], "next_cursor": None if second else "next"})

    with client(answer) as tetrad:
        found = list(tetrad.all_traces(app="assistant"))
    assert [trace.trace_id for trace in found] == ["a", "b"]
    assert found[0].start_ns == 12
    assert asked[0].headers["authorization"] == "Bearer tetrad_control_x"
    assert asked[0].url.raw_path.startswith(b"/api/v1/projects/my%20team/traces?limit=200&app=assistant")


def test_a_trace_comes_with_all_its_spans_however_many_pages_they_take() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        second = request.url.params.get("cursor") == "next"
        span = row(
            Span, span_id="2" if second else "1", start_ns="1790000000000000001", cost="0.001" if second else None
        )
        body = {"trace": row(Trace, trace_id="t"), "spans": [span], "next_cursor": None if second else "next"}
        return httpx.Response(200, json=body)

    with client(answer) as tetrad:
        found = tetrad.trace("t")
    assert found.trace.trace_id == "t"
    assert [(span.span_id, span.start_ns, span.cost) for span in found.spans] == [
        ("1", 1790000000000000001, None),
        ("2", 1790000000000000001, "0.001"),
    ]


def test_apps_and_releases_are_read() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        app = {"name": "assistant", "refs": [{"name": "production", "digest": "sha256:1"}]}
        if request.url.path.endswith("/apps"):
            return httpx.Response(200, json={"items": [app], "next_cursor": None})
        if request.url.path.endswith("/apps/assistant"):
            return httpx.Response(200, json=app)
        assert request.url.path.endswith("/releases/sha256:1")
        return httpx.Response(200, json={"digest": "sha256:1", "app": "assistant", "manifest": {"schema": "x"}})

    with client(answer) as tetrad:
        assert [app.name for app in tetrad.apps()] == ["assistant"]
        release = tetrad.release(tetrad.app("assistant").refs["production"])
    assert (release.app, release.manifest) == ("assistant", {"schema": "x"})


def test_every_field_that_is_read_is_one_that_the_api_sends() -> None:
    from tetrad.releases._views import AppRefView, AppView, ReleaseView
    from tetrad.traces._wire import SpanOut, TraceItem, TraceOut

    for kind, view in ((Trace, TraceItem), (Span, SpanOut), (App, AppView), (ReleaseDetail, ReleaseView)):
        assert {one.name for one in fields(kind)} - {"raw"} <= set(view.model_fields), kind
    assert {"trace", "spans", "next_cursor"} <= set(TraceOut.model_fields)
    assert {"name", "digest"} <= set(AppRefView.model_fields)


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
