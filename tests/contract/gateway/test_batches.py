"""Files and batches: the official clients, a real gateway, control's real routes, the worker's real job."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import pytest
from fastapi import FastAPI

from support import gateway as g
from support.batching import InternalOnly, OneKey, ThreadJobs, make_batches
from support.databases import SqliteTemplate, opened
from support.fake_openai import WORDS, FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home
from support.traces_api import served
from support.wait import wait_until
from tetrad.batches import Batches, BatchLimits, body_limits
from tetrad.batches.routes import all_routers
from tetrad.kit.http import PROBLEM_RESPONSES, GuardPolicy, Upload, guard
from tetrad.processes._settings import product_settings
from tetrad.processes.worker._batch_control import Callers

TEXT = "".join(WORDS)
LIMITS = BatchLimits(file_bytes=8 * 2**20, batch_lines=20, file_keep_days=30)


@dataclass
class Place:
    """What runs."""

    gateway: GatewayProcess
    batches: Batches
    jobs: ThreadJobs
    keys: OneKey
    upstream: FakeOpenAI


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module", params=["tetrad", "uvicorn"])
def place(
    upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("db")
    prepare_home(home, make_table(upstream.base_url, models=("error:400", "error:429", "later:0.3")))
    jobs, keys = ThreadJobs(), OneKey()
    with opened(SqliteTemplate(folder).copy(folder / "tetrad.db")) as database:
        batches = make_batches(database, folder, jobs, keys, limits=LIMITS)
        app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
        for router in all_routers(batches):
            app.include_router(router)
        settings = product_settings(file_max_bytes=LIMITS.file_bytes)
        guard(app, InternalOnly(), GuardPolicy(uploads=tuple(Upload(*each) for each in body_limits(settings))))
        with served(app) as url, GatewayProcess(home, control_url=url, gateway_server=request.param) as gateway:
            jobs.callers = Callers(url, g.TOKEN, gateway.url, 4, 2**20)
            try:
                yield Place(gateway, batches, jobs, keys, upstream)
            finally:
                jobs.stop()


@contextlib.contextmanager
def client_of(place: Place, key: str = g.KEY) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{place.gateway.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def client(place: Place) -> Iterator[openai.OpenAI]:
    with client_of(place) as client:
        yield client


@pytest.fixture
def claude(place: Place) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=place.gateway.url, api_key=g.KEY, max_retries=0) as client:
        yield client


def call(custom_id: str, model: str = "local/m1", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": custom_id}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def begun(client: openai.OpenAI, *lines: dict[str, Any], **more: Any) -> Any:
    file = client.files.create(file=("in.jsonl", jsonl(*lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def ended(client: openai.OpenAI, batch: Any) -> Any:
    def look() -> Any:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ("completed", "failed", "expired", "cancelled") else None

    return wait_until(look, timeout_s=60, what="the batch to end")


def results(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    assert file is not None
    lines = client.files.content(file).text.splitlines()
    return {line["custom_id"]: line for line in map(json.loads, lines)}


def test_a_file_is_uploaded_listed_shown_read_and_deleted(client: openai.OpenAI) -> None:
    data = os.urandom(3 * 2**20)
    file = client.files.create(
        file=('notes "a".bin', io.BytesIO(data)),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert file.id.startswith("file-")
    assert (file.bytes, file.filename, file.purpose) == (len(data), 'notes "a".bin', "user_data")
    assert file.expires_at == file.created_at + 7200
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == data
    others = [client.files.create(file=(f"{n}.txt", b"text"), purpose="evals").id for n in range(3)]
    assert [each.id for each in client.files.list(purpose="evals", limit=2)] == others[::-1]
    assert [each.id for each in client.files.list(purpose="evals", order="asc", after=others[0])] == others[1:]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="no file") as caught:
        client.files.retrieve(file.id)
    assert caught.value.code == "file_not_found"


def test_files_and_batches_of_another_project_are_not_there(place: Place, client: openai.OpenAI) -> None:
    batch = ended(client, begun(client, call("a")))
    with client_of(place, g.OTHER_KEY) as other:
        for ask in (
            lambda: other.files.retrieve(batch.input_file_id),
            lambda: other.files.content(batch.output_file_id),
            lambda: other.files.delete(batch.input_file_id),
            lambda: other.batches.retrieve(batch.id),
            lambda: other.batches.cancel(batch.id),
            lambda: begun_from(other, batch.input_file_id),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        assert batch.id not in {each.id for each in other.batches.list()}
        assert batch.input_file_id not in {each.id for each in other.files.list()}


def begun_from(client: openai.OpenAI, file: str) -> Any:
    return client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")


@pytest.mark.parametrize("key", [g.CONTROL_KEY, g.EXPIRED_KEY, "tetrad_data_nobody"])
def test_a_key_that_may_not_call_models_keeps_no_files(place: Place, key: str) -> None:
    with client_of(place, key) as client, pytest.raises((openai.PermissionDeniedError, openai.AuthenticationError)):
        client.files.create(file=("in.jsonl", b"{}"), purpose="batch")


def test_a_file_past_the_limit_is_refused_and_the_connection_lives_on(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match=r"at most|more than") as caught:
        client.files.create(file=("big.bin", io.BytesIO(b"x" * (LIMITS.file_bytes + 1))), purpose="user_data")
    assert caught.value.status_code == 413
    assert client.files.list() is not None


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"no form", "multipart/form-data; boundary=x", "cut short"),
        (b"{}", "application/json", "no form"),
        (b"--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--\r\n",
         "multipart/form-data; boundary=x", "no part `file`"),
    ],
)  # fmt: skip
def test_what_is_no_upload_is_refused(place: Place, content: bytes, kind: str, message: str) -> None:
    answer = httpx.post(
        f"{place.gateway.url}/v1/files",
        content=content,
        headers={"authorization": f"Bearer {g.KEY}", "content-type": kind},
        trust_env=False,
    )
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_batch_is_answered_line_by_line(client: openai.OpenAI, place: Place) -> None:
    lines = [call(f"q-{n}") for n in range(7)]
    batch = begun(client, *lines, call("bad", "local/error-400"), metadata={"run": "7"})
    assert (batch.status, batch.object, batch.metadata) == ("validating", "batch", {"run": "7"})
    done = ended(client, batch)
    assert done.status == "completed"
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (8, 7, 1)
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert list(good) == [f"q-{n}" for n in range(7)]
    answer = good["q-3"]["response"]
    assert answer["status_code"] == 200
    assert answer["body"]["choices"][0]["message"]["content"] == TEXT
    assert bad["bad"]["response"]["status_code"] == 400
    assert done.in_progress_at <= done.finalizing_at <= done.completed_at
    assert batch.id in {each.id for each in client.batches.list(limit=2)}
    traces = {answer["response"]["request_id"] for answer in good.values()}
    assert len(traces) == 7


def test_what_is_wrong_with_lines_is_told_and_none_is_called(client: openai.OpenAI, place: Place) -> None:
    before = len(place.upstream.requests)
    batch = ended(
        client,
        begun(
            client, call("a"), call("a"), {**call("b"), "method": "GET"}, {**call("c"), "url": "/v1/embeddings"},
            call("d", stream=True), {"custom_id": "e"},
        ),
    )  # fmt: skip
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(error.line, error.code) for error in batch.errors.data] == [
        (2, "duplicate_custom_id"), (3, "invalid_method"), (4, "mismatched_endpoint"), (5, "stream_not_allowed"),
        (6, "invalid_json_line"),
    ]  # fmt: skip
    assert len(place.upstream.requests) == before


def test_more_lines_than_allowed_fail_the_batch(client: openai.OpenAI) -> None:
    batch = ended(client, begun(client, *(call(f"n{n}") for n in range(LIMITS.batch_lines + 1))))
    assert (batch.status, batch.errors.data[0].code) == ("failed", "too_many_requests")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"endpoint": "/v1/audio/speech"}, "cannot be called in a batch"),
        ({"completion_window": "1y"}, "no completion window"),
        ({"input_file_id": "file-0"}, "no file"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "cannot expire"),
        ({"metadata": {"a": "x" * 600}}, "too long"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(client: openai.OpenAI, wrong: dict[str, Any], message: str) -> None:
    file = client.files.create(file=("in.jsonl", jsonl(call("a"))), purpose="batch")
    right: dict[str, Any] = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=message):
        client.batches.create(**{**right, **wrong})


def test_a_cancelled_batch_keeps_what_was_answered(client: openai.OpenAI) -> None:
    batch = begun(client, *(call(f"s{n}", "local/later-0.3") for n in range(20)))

    def some() -> bool:
        return client.batches.retrieve(batch.id).request_counts.completed > 0

    wait_until(some, timeout_s=30, what="an answer")
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert done.status == "cancelled"
    assert 0 < done.request_counts.completed < 20
    assert len(results(client, done.output_file_id)) == done.request_counts.completed
    left = results(client, done.error_file_id)
    assert len(left) == 20 - done.request_counts.completed
    assert {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError, match="cancelled"):
        client.batches.cancel(batch.id)


def test_a_key_that_is_revoked_stops_its_batch(client: openai.OpenAI, place: Place) -> None:
    batch = begun(client, *(call(f"s{n}", "local/later-0.3") for n in range(20)))
    wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 0, timeout_s=30, what="an answer")
    place.keys.gone = True
    try:
        done = ended(client, batch)
    finally:
        place.keys.gone = False
    assert done.status == "failed"
    assert done.errors.data[0].code == "batch_key_gone"
    assert "revoked" in done.errors.data[0].message
    assert done.output_file_id


def test_messages_are_answered_in_batches(claude: anthropic.Anthropic) -> None:
    asked: Any = [
        {
            "custom_id": f"m-{n}",
            "params": {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]},
        }
        for n, model in enumerate(("local/m1", "local/error-400"))
    ]
    batch = claude.messages.batches.create(requests=asked)
    assert (batch.type, batch.processing_status, batch.results_url) == ("message_batch", "in_progress", None)

    def look() -> Any:
        found = claude.messages.batches.retrieve(batch.id)
        return found if found.processing_status == "ended" else None

    done: Any = wait_until(look, timeout_s=60, what="the batch to end")
    assert batch._request_id
    assert done._request_id != batch._request_id
    counts = done.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (1, 1, 0)
    found: Any = {each.custom_id: each.result for each in claude.messages.batches.results(batch.id)}
    assert found["m-0"].message.content[0].text == TEXT
    assert found["m-1"].error.error.type == "invalid_request_error"
    assert batch.id in {each.id for each in claude.messages.batches.list(limit=1)}
    with pytest.raises(anthropic.ConflictError):
        claude.messages.batches.cancel(batch.id)
    assert claude.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.batches.retrieve(batch.id)


def test_messages_that_cannot_be_are_refused_at_once(claude: anthropic.Anthropic) -> None:
    one: Any = {"custom_id": "a", "params": {"model": "local/m1", "max_tokens": 9, "messages": []}}
    for requests, message in (([one, one], "twice"), ([], "no requests"), ([{**one, "custom_id": "a b"}], "custom_id")):
        with pytest.raises(anthropic.BadRequestError, match=message):
            claude.messages.batches.create(requests=requests)


def test_methods_and_paths_that_are_not_there_are_refused(place: Place) -> None:
    headers = {"authorization": f"Bearer {g.KEY}"}
    with httpx.Client(base_url=place.gateway.url, headers=headers, trust_env=False) as http:
        assert http.put("/v1/files").status_code == 405
        assert http.get("/v1/files/../../internal").status_code == 404
        assert http.get("/v1/files/%2e%2e/%2e%2e/route-table").status_code == 404
        assert http.get("/v1/files/a%3Fb").status_code == 404
        assert http.get("/v1/batches/batch_0/nothing").status_code == 404
        assert http.get("/v1/filesystem").status_code == 404
