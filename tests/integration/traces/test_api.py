from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.spans import SECOND_NS, Kept, a_span, an_exchange, spool
from support.traces_api import served, traces_app
from tetrad.traces._wire import OverviewOut, SpanContentOut, TraceItem, TraceOut


@pytest.fixture(scope="module")
def address(kept: Kept) -> Iterator[str]:
    with served(traces_app(kept.traces)) as url:
        yield url


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"authorization": "Bearer control-key"}, trust_env=False) as client:
        yield client


@pytest.fixture
def internal(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"authorization": "Bearer internal-key"}, trust_env=False) as client:
        yield client


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    kind, identity = "", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            identity = value
        elif name == "data":
            yield kind, identity, json.loads(value)


def test_a_shipped_exchange_can_be_listed_shown_and_read(
    internal: httpx.Client, api: httpx.Client, project: str
) -> None:
    root, call = an_exchange(project=project, app="assistant", release="sha256:" + "1" * 64)
    data = spool([root, call])
    shipped = internal.post(f"/internal/v1/spool/0/{project}?offset=64", content=data)
    assert (shipped.status_code, shipped.json()["next_offset"], shipped.json()["spans"]) == (200, 64 + len(data), 2)
    assert internal.post(f"/internal/v1/spool/0/{project}?offset=64", content=data).json()["duplicate"] is True
    listed = api.get(f"/api/v1/projects/{project}/traces").json()
    item = TraceItem.model_validate(listed["items"][0], strict=True)
    assert (item.trace_id, item.model, item.cost, item.currency) == (
        root.trace_id,
        "local/smollm2-135m",
        "0.0015",
        "USD",
    )
    assert (item.start_ns, item.first_token_ms, listed["next_cursor"]) == (str(root.start_ns), 190.0, None)
    trace = TraceOut.model_validate(api.get(f"/api/v1/projects/{project}/traces/{root.trace_id}").json(), strict=True)
    assert [span.span_id for span in trace.spans] == [root.span_id, call.span_id]
    assert trace.spans[1].first_chunk_ns == str(call.first_chunk_ns)
    detail = api.get(
        f"/api/v1/projects/{project}/traces/{root.trace_id}/spans/{call.span_id}?at={root.start_ns}"
    ).json()
    SpanContentOut.model_validate(detail, strict=True)
    assert detail["input"]["messages"][0]["content"] == "What is a tetrad?"
    assert (detail["input_form"], detail["output"][0]["role"], detail["output_cut"]) == ("json", "assistant", False)
    overview = api.get(f"/api/v1/projects/{project}/overview?window=15m").json()
    assert OverviewOut.model_validate({**overview, "from_": overview["from"]}).totals.requests == 1
    assert (overview["totals"]["cost"], overview["top_releases"][0]["app"]) == ("0.0015", "assistant")


def test_strangers_and_other_scopes_and_other_projects_are_kept_out(address: str, project: str) -> None:
    paths = [
        f"/api/v1/projects/{project}/traces",
        f"/api/v1/projects/{project}/traces/stream",
        f"/api/v1/projects/{project}/traces/{'a' * 32}",
        f"/api/v1/projects/{project}/traces/{'a' * 32}/spans/{'b' * 16}",
        f"/api/v1/projects/{project}/overview",
    ]
    for path in paths:
        for key, status in (("nobody", 401), ("data-key", 403), ("internal-key", 403), ("other-key", 404)):
            answer = httpx.get(address + path, headers={"authorization": f"Bearer {key}"}, trust_env=False)
            assert (path, key, answer.status_code) == (path, key, status)
    for path in ("/internal/v1/spool/0/x", "/internal/v1/traces/retention"):
        for key, status in (("nobody", 401), ("control-key", 403), ("data-key", 403)):
            answer = httpx.post(address + path, headers={"authorization": f"Bearer {key}"}, trust_env=False)
            assert (path, key, answer.status_code) == (path, key, status)


def test_pages_follow_one_another_and_a_cursor_belongs_to_its_list(kept: Kept, api: httpx.Client, project: str) -> None:
    kept.ship(span for _ in range(7) for span in an_exchange(project=project, app="a"))
    path = f"/api/v1/projects/{project}/traces"
    found, cursor = [], None
    while True:
        page = api.get(path, params={"limit": 3, "app": "a", **({"cursor": cursor} if cursor else {})}).json()
        found += [item["trace_id"] for item in page["items"]]
        cursor = page["next_cursor"] or cursor
        if page["next_cursor"] is None:
            break
    assert len(set(found)) == len(found) == 7
    for wrong in ({"app": "b"}, {"sort": "cost"}, {"app": "a", "from": "2026-01-01T00:00:00Z"}):
        answer = api.get(path, params={**wrong, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday", "from=2026-01-02&to=2026-01-01", "sort=name", "status=fine", "limit=0", "limit=100000",
        "min_duration_ms=-1", "min_duration_ms=nan", "min_cost=cheap", "currency=usd", "q=" + "x" * 501, "cursor=zzz",
        "from=99999999999999999999",
    ],
)  # fmt: skip
def test_bad_questions_are_refused_as_problems(api: httpx.Client, project: str, query: str) -> None:
    answer = api.get(f"/api/v1/projects/{project}/traces?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("traces/xyz", 400),
        (f"traces/{'a' * 32}", 404),
        (f"traces/{'a' * 32}/spans/{'b' * 16}", 404),
        (f"traces/{'a' * 32}/spans/b", 400),
        (f"traces/{'a' * 32}?cursor=AAAA", 400),
        ("overview?window=2h", 400),
    ],
)
def test_what_is_not_there_is_said_so(api: httpx.Client, project: str, path: str, status: int) -> None:
    assert api.get(f"/api/v1/projects/{project}/{path}").status_code == status


def test_times_may_have_any_zone_or_be_nanoseconds(kept: Kept, api: httpx.Client, project: str) -> None:
    noon = int(time.time()) // 3600 * 3600 * SECOND_NS - 3600 * SECOND_NS
    span = a_span(project=project, start_ns=noon + 1)
    kept.ship([span])
    moment = time.gmtime(noon // SECOND_NS)
    plus_two = time.gmtime(noon // SECOND_NS + 7200)
    utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
    for begin in (str(noon + 1), utc, time.strftime("%Y-%m-%dT%H:%M:%S+02:00", plus_two), utc.removesuffix("Z")):
        found = api.get(f"/api/v1/projects/{project}/traces", params={"from": begin}).json()["items"]
        assert [item["trace_id"] for item in found] == [span.trace_id], begin
    params = {"from": utc, "to": str(noon + 1)}
    assert api.get(f"/api/v1/projects/{project}/traces", params=params).json()["items"] == []


def test_contents_of_all_kinds_are_shown_for_what_they_are(kept: Kept, api: httpx.Client, project: str) -> None:
    deep = b"[" * 3000 + b"]" * 3000
    contents = {
        b"": (None, "none"),
        b'{"a": 12345678901234567890}': ({"a": 12345678901234567890}, "json"),
        b"plain words": ("plain words", "text"),
        b'{"a": NaN}': ('{"a": NaN}', "text"),
        b"\xff\xfe": ("//4=", "base64"),
        deep: (deep.decode(), "text"),
        b"[" * 257 + b"]" * 257: ("[" * 257 + "]" * 257, "text"),
    }
    for data, (value, form) in contents.items():
        span = a_span(project=project, input=data)
        kept.ship([span])
        answer = api.get(f"/api/v1/projects/{project}/traces/{span.trace_id}/spans/{span.span_id}").json()
        assert (answer["input"], answer["input_form"], answer["input_cut"]) == (value, form, False)


def test_bodies_past_the_limit_are_refused_before_they_are_held(internal: httpx.Client, address: str) -> None:
    stated = internal.post("/internal/v1/spool/0/big", content=bytes(64 * 1024 * 1024 + 1))
    assert stated.status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(65):
            yield bytes(1024 * 1024)

    streamed = internal.post("/internal/v1/spool/0/big", content=endless())
    assert streamed.status_code == 413


def test_a_torn_tail_waits_and_noise_is_counted(internal: httpx.Client, project: str) -> None:
    data = spool(an_exchange(project=project))
    receipt = internal.post(f"/internal/v1/spool/0/{project}", content=data[:-3]).json()
    assert (receipt["spans"], receipt["damaged"], receipt["next_offset"] < len(data) - 3) == (1, 0, True)
    rest = internal.post(
        f"/internal/v1/spool/0/{project}?offset={receipt['next_offset']}&final=true", content=b"noise!"
    )
    assert (rest.status_code, rest.json()["damaged"], rest.json()["next_offset"]) == (
        200,
        1,
        receipt["next_offset"] + 6,
    )
    assert internal.post("/internal/v1/spool/..%2f..%2fetc/x", content=data).status_code in (400, 404)


def test_retention_is_a_call_of_our_own_processes(internal: httpx.Client) -> None:
    assert internal.post("/internal/v1/traces/retention", json={"keep_days": 400}).json() == {"days": [], "rows": 0}
    assert internal.post("/internal/v1/traces/retention", json={"keep_days": 0}).status_code == 400


def test_a_stream_tells_new_traces_as_they_arrive_with_heartbeats_between(
    kept: Kept, api: httpx.Client, project: str
) -> None:
    with api.stream("GET", f"/api/v1/projects/{project}/traces/stream?status=ok", timeout=20) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        while next(lines) != ": still here":
            pass
        spans = an_exchange(project=project)
        kept.ship([a_span(project=project, status="error"), *an_exchange(project=f"{project}-x"), *spans])
        kind, identity, data = next(events(lines))
        assert (kind, data["trace_id"], data["usage"]["total"]) == ("trace", spans[0].trace_id, 175)
        assert identity.endswith(spans[0].trace_id)
        TraceItem.model_validate(data, strict=True)
    later = an_exchange(project=project)
    kept.ship(later)
    headers = {"last-event-id": identity}
    with api.stream(
        "GET", f"/api/v1/projects/{project}/traces/stream?status=ok", headers=headers, timeout=20
    ) as stream:
        assert next(events(stream.iter_lines()))[2]["trace_id"] == later[0].trace_id


def test_followers_past_the_limit_are_told_to_come_again(kept: Kept, api: httpx.Client, project: str) -> None:
    mailboxes = [kept.traces.follow(project, lambda: None) for _ in range(64)]
    try:
        answer = api.get(f"/api/v1/projects/{project}/traces/stream")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_followers")
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        for follower in mailboxes:
            kept.traces.unfollow(follower)


def test_answers_mean_durable_under_many_senders(internal: httpx.Client, kept: Kept, project: str) -> None:
    statuses: list[int] = []

    def send(number: int) -> None:
        data = spool(an_exchange(project=project))
        statuses.append(internal.post(f"/internal/v1/spool/{number}/{project}", content=data, timeout=30).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 12
    assert kept.traces.overview(project, "15m").now.requests == 12


def test_the_schema_names_every_operation_and_its_answer(kept: Kept) -> None:
    schema = traces_app(kept.traces).openapi()
    operations = {
        operation["operationId"]: operation for path in schema["paths"].values() for operation in path.values()
    }
    assert set(operations) == {
        "list_traces", "stream_traces", "get_trace", "get_span", "get_overview", "ship_spool", "retain_traces",
    }  # fmt: skip
    for name, operation in operations.items():
        if name != "stream_traces":
            assert "schema" in operation["responses"]["200"]["content"]["application/json"], name
