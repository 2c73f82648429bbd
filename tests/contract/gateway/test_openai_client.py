"""The real `openai` client, sync and async, against a real gateway process."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, spooled
from support.wait import wait_until
from tetrad.traces import Span

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def spans_of(gateway: GatewayProcess, trace_id: str) -> list[Span]:
    return [span for span in spooled(gateway.home) if span.trace_id == trace_id]


def test_a_completion_carries_release_and_trace(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="app:assistant", messages=MESSAGES, extra_body={"tetrad": {"variables": {"name": "Bo"}}}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello world."
    assert raw.headers["x-tetrad-release"] == g.RELEASE
    assert float(raw.headers["x-tetrad-overhead-ms"]) >= 0
    assert answer._request_id == raw.headers["x-tetrad-trace-id"]
    root, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
    assert (root.kind, root.parent_id, root.usage, root.cost) == ("SERVER", "", None, None)
    assert (child.kind, child.parent_id) == ("CLIENT", root.span_id)
    assert json.loads(root.input) == MESSAGES
    assert [message["content"] for message in json.loads(child.input)] == ["You help Bo.", "2+2?", "4 {{kept}}", "hi"]
    assert json.loads(root.output) == json.loads(child.output) == [{"role": "assistant", "content": "Hello world."}]
    assert child.usage is not None
    assert (child.usage.input, child.usage.cache_read, child.usage.output, child.usage.reasoning) == (10, 2, 4, 1)
    assert child.cost == "0.00000465"
    for span in (root, child):
        assert (span.app, span.ref, span.release) == ("assistant", "production", g.RELEASE)
        assert (span.prompt_name, span.prompt_version, span.code_match) == ("assistant", "1.2.0", "unannounced")
        assert (span.status, span.http_status, span.finish_reasons) == ("ok", 200, ("stop",))
        assert (span.response_model, span.response_id, span.key_id) == ("m1-2026", "chatcmpl-1", "key_full")
        assert 0 < span.start_ns < span.end_ns
    assert (child.provider, child.attempt, child.attributes["tetrad.model"]) == ("fake", 1, "local/m1")


@pytest.mark.parametrize("model", ["local/m1", "local/split", "local/nodone"])
def test_a_stream_arrives_in_pieces_and_is_recorded_whole(
    client: openai.OpenAI, gateway: GatewayProcess, model: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello world."
    assert all(chunk.choices for chunk in chunks), "the usage event that only we asked for must not reach the client"
    assert chunks[-1].choices[0].finish_reason == "stop"
    root, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
    assert json.loads(child.output) == [{"role": "assistant", "content": "Hello world."}]
    assert child.stream
    assert child.start_ns < child.first_chunk_ns <= child.end_ns
    assert child.finish_reasons == root.finish_reasons == ("stop",)
    if model != "local/nodone":
        assert child.usage is not None
        assert child.usage.total == 17


def test_a_client_that_asks_for_usage_gets_it(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="local/m1", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 17


def test_tool_calls_of_a_stream_are_put_together_again(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    raw = client.chat.completions.with_raw_response.create(model="local/tools", messages=MESSAGES, stream=True)
    list(raw.parse())
    _, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
    call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"c":"Oslo"}'}}
    assert json.loads(child.output) == [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert child.finish_reasons == ("tool_calls",)


async def test_the_async_client_streams_and_embeds(gateway: GatewayProcess) -> None:
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        answer = await client.chat.completions.create(model="local/m1", messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello world."
        text = ""
        async for chunk in await client.chat.completions.create(model="local/m1", messages=MESSAGES, stream=True):
            text += chunk.choices[0].delta.content or ""
        assert text == "Hello world."
        raw = await client.embeddings.with_raw_response.create(
            model="local/m1", input=["a", "b"], encoding_format="float"
        )
        assert [item.embedding for item in raw.parse().data] == [[0.1, 0.2], [0.1, 0.2]]
        root, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
        assert (root.operation, child.operation) == ("embeddings", "embeddings")
        assert json.loads(root.input) == ["a", "b"]
        assert child.output == b""
        assert child.usage is not None
        assert (child.usage.input, child.cost) == (3, "0.00000045")
        models = [model.id async for model in client.models.list()]
        assert {"app:assistant", "local/m1"} <= set(models)
        assert (await client.models.retrieve("local/m1")).owned_by == "fake"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("local/none")


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("nope", openai.NotFoundError, "model_not_found"),
        ("local/error-400", openai.BadRequestError, "code_400"),
        ("local/error-429", openai.RateLimitError, "code_429"),
        ("local/error-500", openai.InternalServerError, "code_500"),
        ("local/error-401", openai.InternalServerError, "upstream_credential_refused"),
        ("local/plain-error", openai.InternalServerError, "upstream_error"),
        ("local/html", openai.InternalServerError, "upstream_broken"),
        ("local/garbage", openai.InternalServerError, "upstream_broken"),
        ("local/reset-0", openai.InternalServerError, "upstream_lost"),
        ("local/stall", openai.InternalServerError, "upstream_timeout"),
        ("local/down", openai.InternalServerError, "upstream_not_ready"),
    ],
)
def test_every_failure_is_an_error_that_the_client_understands_and_a_span(
    client: openai.OpenAI, gateway: GatewayProcess, model: str, error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert caught.value.code == code
    assert g.SECRET not in caught.value.message
    trace_id = caught.value.response.headers["x-tetrad-trace-id"]
    assert caught.value.request_id == trace_id, "what the client shows as the id is what is looked for"
    spans = spans_of(gateway, trace_id)
    assert spans[0].status == "error"
    assert spans[0].http_status == caught.value.status_code
    assert spans[0].error_type == code
    if model != "nope":
        assert (spans[1].kind, spans[1].status) == ("CLIENT", "error")


def test_a_client_does_not_try_again_with_a_secret_that_was_refused(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    before = len(upstream.requests)
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=3) as client,
        pytest.raises(openai.InternalServerError, match="refused this gateway's credential"),
    ):
        client.chat.completions.create(model="local/error-401", messages=MESSAGES)
    assert len(upstream.requests) == before + 1


def test_retry_after_of_an_upstream_reaches_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="local/error-429", messages=MESSAGES)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.body == {"message": "as scripted", "type": "scripted", "code": "code_429", "param": None}


def test_our_secret_never_comes_back(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="local/leak", messages=MESSAGES)
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {g.SECRET}"
    assert g.SECRET not in caught.value.response.text
    assert "[secret]" in caught.value.response.text


@pytest.mark.parametrize(
    ("model", "code"), [("local/reset-2", "upstream_lost"), ("local/stallmid", "upstream_timeout")]
)
def test_a_stream_that_breaks_raises_in_the_client_and_keeps_what_came(
    client: openai.OpenAI, gateway: GatewayProcess, model: str, code: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in raw.parse())
    text = "".join(pieces)
    assert caught.value.code == code
    assert text.startswith("Hel")
    root, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
    assert (root.status, child.status, child.error_type) == ("error", "error", code)
    assert json.loads(child.output)[0]["content"] == text


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("wrong", 401, "invalid_api_key"), (g.EXPIRED_KEY, 401, "expired_api_key"), (g.CONTROL_KEY, 403, "missing_scope")],
)
def test_wrong_keys_are_refused_counted_and_not_recorded(
    gateway: GatewayProcess, key: str, status: int, code: str
) -> None:
    before, counted = len(spooled(gateway.home)), gateway.metric("tetrad_gateway_errors_total")
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="local/m1", messages=MESSAGES)
        assert (caught.value.status_code, caught.value.code) == (status, code)
        with pytest.raises(openai.APIStatusError):
            client.models.list()
    assert len(spooled(gateway.home)) == before
    assert gateway.metric("tetrad_gateway_errors_total") == counted + 1


def test_content_is_recorded_as_the_keys_policy_says(gateway: GatewayProcess) -> None:
    secret = "my card is 4111"
    for key, policy in ((g.REDACTED_KEY, "redacted"), (g.OFF_KEY, "off")):
        body = {"model": "local/echo", "messages": [{"role": "user", "content": secret}]}
        _, headers, answer = gateway.post("/v1/chat/completions", body, key=key)
        assert secret in json.loads(answer)["choices"][0]["message"]["content"]
        spans = spans_of(gateway, headers["x-tetrad-trace-id"])
        assert len(spans) == 2
        for span in spans:
            assert b"4111" not in span.input + span.output
        if policy == "redacted":
            assert json.loads(spans[0].input) == [{"role": "user", "content": "[15 characters]"}]
        else:
            assert spans[0].input == spans[0].output == b""
        assert spans[1].usage is not None


def test_callers_headers_are_on_every_span(gateway: GatewayProcess) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    _, headers, _ = gateway.post(
        "/v1/chat/completions",
        {"model": "app:assistant@static", "messages": []},
        headers={
            "x-tetrad-session": "s1",
            "x-tetrad-user": "u1",
            "x-tetrad-unit": "n1",
            "x-tetrad-code": g.CODE,
            "traceparent": f"00-{trace_id}-{parent}-01",
        },
    )
    assert headers["x-tetrad-trace-id"] == trace_id
    root, child = wait_until(lambda: spans_of(gateway, trace_id))
    assert root.parent_id == parent
    for span in (root, child):
        assert (span.session, span.user, span.unit, span.code_digest) == ("s1", "u1", "n1", g.CODE)


def test_a_stream_ends_with_its_marker_even_if_the_upstream_lingers(
    client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    stream = client.chat.completions.create(model="local/lingering", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "hi"
    gone = upstream.aborted
    wait_until(lambda: upstream.aborted >= gone, what="the lingering upstream to be dropped")


@pytest.mark.parametrize(
    ("base", "hint"),
    [
        ("", "send it to /v1/chat/completions: the client's base URL ends in /v1, once"),
        ("/v1/v1", "send it to /v1/chat/completions: the client's base URL ends in /v1, once"),
        ("/azure/deployments/gpt", "send it to /v1/chat/completions: the client's base URL ends in /v1, once"),
    ],
)
def test_a_client_whose_base_url_is_another_is_told_the_right_place(
    gateway: GatewayProcess, base: str, hint: str
) -> None:
    with (
        openai.OpenAI(base_url=gateway.url + base, api_key=g.KEY, max_retries=0) as client,
        pytest.raises(openai.NotFoundError, match=hint),
    ):
        client.chat.completions.create(model="local/m1", messages=MESSAGES)


def test_what_the_gateway_leaves_to_providers_is_named_as_not_served(client: openai.OpenAI) -> None:
    asked = [
        client.vector_stores.list,
        client.containers.list,
        lambda: client.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="batch"),
        client.fine_tuning.jobs.list,
        lambda: client.chat.completions.retrieve("chatcmpl-1"),
        lambda: client.responses.input_tokens.count(model="local/m1", input="hi"),
    ]
    for ask in asked:
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert caught.value.code == "protocol_not_served"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.models.retrieve("nope"),
        lambda client: client.responses.retrieve("resp_12345678"),
        lambda client: client.responses.input_items.list("resp_12345678"),
        lambda client: client.files.list(),
        lambda client: client.batches.retrieve("batch_12345678"),
        lambda client: client.conversations.retrieve("conv_12345678"),
        lambda client: client.get("/chat/completions", cast_to=object),
        lambda client: client.post("/nothing", cast_to=object),
        lambda client: client.put("/files", cast_to=object),
        lambda client: client.with_options(api_key="wrong").models.list(),
        lambda client: client.with_options(api_key="wrong").files.list(),
        lambda client: client.with_options(api_key="wrong").embeddings.create(model="local/m1", input="hi"),
        lambda client: client.post("/embeddings", cast_to=object, options={"headers": {"content-encoding": "gzip"}}),
    ],
)
def test_every_refusal_has_an_id_where_the_client_looks(
    client: openai.OpenAI, ask: Callable[[openai.OpenAI], Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)
    assert re.fullmatch("[0-9a-f]{32}", caught.value.request_id or "")


def test_pages_have_an_id_of_their_own(client: openai.OpenAI) -> None:
    first, second = client.models.list(), client.models.list()
    assert re.fullmatch("[0-9a-f]{32}", first._request_id or "")
    assert first._request_id != second._request_id


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (
            b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 99999999\r\n\r\n",
            413,
        ),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 1\r\n\r\n%s", 400),
    ],
)
def test_what_is_refused_before_it_is_read_has_an_id_too(
    gateway: GatewayProcess, request_bytes: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.connect()
    connection.sock.sendall(request_bytes % g.KEY.encode())
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert (answer.status, bool(re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"]))) == (status, True)
    connection.close()


# Azure's clients


def azure(gateway: GatewayProcess, **options: Any) -> openai.AzureOpenAI:
    asked = {"azure_endpoint": gateway.url, "api_key": g.KEY, "api_version": "2024-10-21", "max_retries": 0, **options}
    return openai.AzureOpenAI(**asked)


def test_an_azure_client_names_deployments_in_the_path(gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    with azure(gateway) as client:
        raw = client.chat.completions.with_raw_response.create(model="local/m1", messages=MESSAGES)
        assert raw.parse().choices[0].message.content == "Hello world."
        assert upstream.requests[-1].body["model"] == "m1"
        _, child = spans_of(gateway, raw.headers["x-tetrad-trace-id"])
        assert (child.attributes["tetrad.model"], child.key_id) == ("local/m1", "key_full")
        stream = client.chat.completions.create(model="local/m1", messages=MESSAGES, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello world."
        released = client.chat.completions.with_raw_response.create(
            model="app:assistant", messages=MESSAGES, extra_body={"tetrad": {"variables": {"name": "Bo"}}}
        )
        assert released.headers["x-tetrad-release"] == g.RELEASE
        assert client.embeddings.create(model="local/m1", input="hi", encoding_format="float").data
        assert client.completions.create(model="local/native", prompt="hi").choices[0].text
        assert client.images.generate(model="local/m1", prompt="a cat").data
        assert "local/m1" in [model.id for model in client.models.list()]


def test_the_deployment_of_an_azure_client_counts_not_what_its_calls_say(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    with azure(gateway, azure_deployment="local/m1") as client:
        answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello world."
        assert upstream.requests[-1].body["model"] == "m1"
        said = client.audio.transcriptions.create(model="whisper", file=("a.mp3", b"\xff\xfb" * 50, "audio/mpeg"))
        assert said.text
    head = {"api-key": g.KEY, "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    path = "/openai/deployments/local%2Fm1/chat/completions?api-version=2024-10-21"
    for _ in range(3):  # heads that come again are read from memory
        connection.request("POST", path, json.dumps({"messages": MESSAGES}), head)
        got = connection.getresponse()
        assert (got.status, json.loads(got.read())["object"]) == (200, "chat.completion")
    connection.close()


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("nope", openai.NotFoundError, "model_not_found"),
        ("local/error-429", openai.RateLimitError, None),
    ],
)
def test_an_azure_client_gets_errors_that_it_understands(
    gateway: GatewayProcess, model: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    with azure(gateway) as client, pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert code is None or caught.value.code == code
    assert caught.value.request_id == caught.value.response.headers["x-tetrad-trace-id"]
    with azure(gateway, api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=model, messages=MESSAGES)


def test_an_azure_clients_bearer_token_and_its_newer_paths_work_too(gateway: GatewayProcess) -> None:
    with azure(gateway, api_key=None, azure_ad_token=g.KEY) as client:
        assert client.chat.completions.create(model="local/m1", messages=MESSAGES).choices
        assert client.responses.create(model="local/native", input="hi", store=False).output
        with pytest.raises(openai.APIStatusError) as caught:
            client.get("/deployments/local%2Fm1/chat/completions", cast_to=object)
        assert (caught.value.status_code, caught.value.response.headers["allow"]) == (405, "POST")
        with pytest.raises(openai.NotFoundError):
            client.post("/deployments/a%0d%0ab/chat/completions", cast_to=object)
    with openai.OpenAI(base_url=gateway.url + "/openai/v1/", api_key=g.KEY, max_retries=0) as client:
        for _ in range(3):
            assert client.chat.completions.create(model="local/m1", messages=MESSAGES).choices
        assert client.models.retrieve("local/m1").id == "local/m1"
