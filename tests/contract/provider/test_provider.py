"""What every provider promises (`tetrad.serving.ports.Provider`), run for each adapter that we ship."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from support.fake_openai import FakeOpenAI
from support.wait import async_wait_until
from tetrad.adapters.providers.openai import OpenAIProvider
from tetrad.kernel import InvalidInput, SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, Upstream
from tetrad.serving.ports import Endpoint, ModelCall, Provider

SECRET = "secret-0123456789"


@pytest.fixture(params=["tcp", "unix"])
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeOpenAI]:
    unix = tmp_path_factory.mktemp("s") / "s" if request.param == "unix" else None
    with FakeOpenAI(unix=unix) as fake:
        yield fake


@pytest.fixture(params=["openai"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    provider = {"openai": lambda: OpenAIProvider(Client(), SystemClock(), keep_bytes=2000)}[request.param]()
    yield provider
    await provider.close()


@pytest.fixture
def endpoint(provider: Provider, upstream: FakeOpenAI) -> Endpoint:
    return provider.endpoint(Upstream("up", upstream.base_url, secret=SECRET, first_byte_timeout_s=1, idle_timeout_s=1))


def chat(model: str, **fields: object) -> ModelCall:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    asked = bool((fields.get("stream_options") or {}).get("include_usage"))  # type: ignore[attr-defined]
    return ModelCall(CHAT, raw, bool(fields.get("stream")), asked)


async def read_all(answer) -> bytes:
    data = b""
    while not answer.done:
        data += await answer.read()
    return data


async def test_a_whole_answer_is_there_at_once_and_tells_its_outcome(endpoint: Endpoint) -> None:
    answer = await endpoint.call(chat("m1"))
    assert (answer.status, answer.stream, answer.done) == (200, False, True)
    assert json.loads(await answer.read())["choices"][0]["message"]["content"] == "Hello world."
    outcome = answer.outcome()
    assert outcome.usage == Usage(input=10, cache_read=2, output=4, reasoning=1)
    assert (outcome.response_id, outcome.response_model, outcome.finish_reasons) == ("chatcmpl-1", "m1-2026", ("stop",))
    assert json.loads(outcome.output) == [{"role": "assistant", "content": "Hello world."}]
    answer.close()


@pytest.mark.parametrize("model", ["m1", "split"])
async def test_a_stream_is_done_with_its_last_piece_and_usage_shows_only_if_asked(
    endpoint: Endpoint, model: str
) -> None:
    for asked in (False, True):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        answer = await endpoint.call(chat(model, stream=True, **options))
        assert (answer.stream, answer.done) == (True, False)
        data = await read_all(answer)
        assert data.endswith(b"data: [DONE]\n\n")
        assert (b'"usage"' in data) is asked
        outcome = answer.outcome()
        assert outcome.usage == Usage(input=10, cache_read=2, output=4, reasoning=1)
        assert json.loads(outcome.output) == [{"role": "assistant", "content": "Hello world."}]
        assert outcome.first_chunk_ns >= answer.received_ns
        answer.close()


async def test_connections_are_used_again_also_after_streams(endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    for i in range(6):
        answer = await endpoint.call(chat("m1", stream=i % 2 == 0))
        await read_all(answer) if answer.stream else await answer.read()
        answer.close()
        await asyncio.sleep(0.02)  # the end of a stream may come a moment after its marker
    assert upstream.accepted == 1


async def test_a_long_stream_is_kept_to_its_limit_and_its_end_is_still_known(endpoint: Endpoint) -> None:
    answer = await endpoint.call(chat("slow:0", stream=True))
    data = await read_all(answer)
    assert data.count(b"data: {") == 101
    outcome = answer.outcome()
    assert outcome.truncated
    assert (outcome.finish_reasons, outcome.usage) == (("stop",), Usage(input=10, cache_read=2, output=4, reasoning=1))
    assert json.loads(outcome.output)[0]["content"].startswith("w0 w1 w2 ")


@pytest.mark.parametrize(("stream", "model"), [(False, "stall"), (True, "stallmid")])
async def test_cancelling_closes_the_upstream_at_once(
    endpoint: Endpoint, upstream: FakeOpenAI, stream: bool, model: str
) -> None:
    async def ask() -> None:
        answer = await endpoint.call(chat(model, stream=stream))
        await read_all(answer)

    task = asyncio.create_task(ask())
    await async_wait_until(lambda: len(upstream.requests) == 1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=0.5)


async def test_closing_an_unread_answer_closes_the_upstream(endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    answer = await endpoint.call(chat("endless", stream=True))
    await answer.read()
    answer.close()
    answer.close()
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=0.5)


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
async def test_an_upstreams_error_is_an_answer_with_its_status_and_words(endpoint: Endpoint, status: int) -> None:
    answer = await endpoint.call(chat(f"error:{status}"))
    assert (answer.status, answer.done) == (status, True)
    assert json.loads(await answer.read())["error"]["message"] == "as scripted"
    assert (b"retry-after", b"7") in answer.headers
    assert answer.outcome().error_type == f"code_{status}"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("error:401", "upstream_credential_refused"),
        ("error:403", "upstream_credential_refused"),
        ("error:302", "upstream_broken"),
        ("html", "upstream_broken"),
        ("garbage", "upstream_broken"),
        ("reset:0", "upstream_lost"),
        ("stall", "upstream_timeout"),
    ],
)
async def test_no_answer_to_pass_on_is_an_error_of_ours(endpoint: Endpoint, model: str, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        await endpoint.call(chat(model))
    assert caught.value.code == code
    assert SECRET not in caught.value.message


async def test_a_secret_is_sent_and_never_shown(endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    answer = await endpoint.call(chat("leak"))
    assert upstream.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET.encode() not in await answer.read()


@pytest.mark.parametrize(
    "broken",
    [{"base_url": "ftp://x"}, {"secret": "a\r\nb: c"}, {"headers": (("x", "a\nb"),)}, {"headers": (("host", "x"),)}],
)
def test_an_upstream_that_cannot_be_is_refused_when_it_is_bound(provider: Provider, broken: dict) -> None:
    fields = {"base_url": "http://h/v1", **broken}
    with pytest.raises(InvalidInput) as caught:
        provider.endpoint(Upstream("up", **fields))
    assert "a\r\nb: c" not in caught.value.message
